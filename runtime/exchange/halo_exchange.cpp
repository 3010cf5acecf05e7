/// Staging of rows and their transfers: every receive is posted before the first send.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/halo_exchange.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/base/checked.hpp"

namespace annulus {
namespace {

constexpr int fetch_tag = 14;
constexpr int home_tag = 15;

template <class View>
std::uint64_t row_bytes(std::span<const View> tensors) {
  std::uint64_t bytes = 0;
  for (const View& view : tensors) {
    bytes += checked_product({view.batch, view.heads, view.head_dim, static_cast<std::int64_t>(size_of(view.dtype))});
  }
  return bytes;
}

std::int64_t rows_of(const std::vector<HaloPart>& parts) {
  std::int64_t rows = 0;
  for (const HaloPart& part : parts) rows += part.rows.rows();
  return rows;
}

void grow(Buffer<std::byte>& buffer, std::uint64_t bytes) {
  if (static_cast<std::uint64_t>(buffer.size()) < bytes) buffer = Buffer<std::byte>(static_cast<std::int64_t>(bytes));
}

/// Calls visit(first element of one head's row, staged bytes) for every head of every row of a part, in message order.
/// `rows` numbers the rows of the views. Returns the end of the message.
template <class View, class Byte, class Visit>
Byte* for_each_row(const RowSet& part, const RowSet& rows, std::span<const View> tensors, Byte* staged, Visit&& visit) {
  for (const View& view : tensors) {
    const auto item = static_cast<std::int64_t>(size_of(view.dtype));
    for (std::int64_t b = 0; b < view.batch; ++b) {
      for (const Piece& piece : part.pieces()) {
        const std::int64_t first = rows.rows_before(piece.pos);
        for (std::int64_t row = first; row < first + piece.rows; ++row) {
          for (std::int64_t head = 0; head < view.heads; ++head) {
            auto* const at = view.data + (b * view.batch_stride + row * view.row_stride + head * view.head_stride) * item;
            visit(at, staged, view);
            staged += view.head_dim * item;
          }
        }
      }
    }
  }
  return staged;
}

void copy_in(std::byte* row, const std::byte* staged, const TensorView& view) {
  std::memcpy(row, staged, static_cast<std::size_t>(view.head_dim) * size_of(view.dtype));
}

void add_in(std::byte* row, const std::byte* staged, const TensorView& view) {
  add_gradients(view.dtype, row, staged, view.head_dim);
}

}  // namespace

std::uint64_t HaloExchange::staging_bytes(const HaloPlan& plan, std::uint64_t row_bytes) {
  return checked_product({rows_of(plan.arriving) + rows_of(plan.leaving), static_cast<std::int64_t>(row_bytes)});
}

void HaloExchange::reserve(std::uint64_t row_bytes) {
  const std::int64_t most = std::max(rows_of(plan_.arriving), rows_of(plan_.leaving));
  const std::uint64_t bytes = checked_product({most, static_cast<std::int64_t>(row_bytes)});
  for (Buffer<std::byte>* staged : {&in_, &out_}) grow(*staged, bytes);
}

void HaloExchange::start(Way way, std::span<const ConstTensorView> from, const RowSet& rows) {
  way_ = way;
  const std::uint64_t bytes = row_bytes(from);
  const int tag = way == Way::fetch ? fetch_tag : home_tag;
  const auto message = [bytes](const HaloPart& part) { return static_cast<std::uint64_t>(part.rows.rows()) * bytes; };
  grow(in_, static_cast<std::uint64_t>(rows_of(incoming())) * bytes);
  grow(out_, static_cast<std::uint64_t>(rows_of(outgoing())) * bytes);
  std::byte* next = in_.data();
  for (const HaloPart& part : incoming()) {
    receives_.push_back(Transfer::receive(comm_, {next, message(part)}, part.peer, tag));
    next += message(part);
  }
  next = out_.data();
  for (const HaloPart& part : outgoing()) {
    std::byte* const begin = next;
    next = for_each_row(part.rows, rows, from, next, [](const std::byte* row, std::byte* staged, const auto& view) {
      std::memcpy(staged, row, static_cast<std::size_t>(view.head_dim) * size_of(view.dtype));
    });
    Transfer& send = sends_.emplace_back(Transfer::send(comm_, {begin, message(part)}, part.peer, tag));
    traffic_.messages += send.messages();
    traffic_.bytes += message(part);
  }
}

void HaloExchange::finish(std::span<const TensorView> to, const RowSet& rows) {
  const double started = MPI_Wtime();
  for (Transfer& receive : receives_) receive.wait();
  for (Transfer& send : sends_) send.wait();
  traffic_.exposed_seconds += MPI_Wtime() - started;
  receives_.clear();
  sends_.clear();
  const std::byte* next = in_.data();
  for (const HaloPart& part : incoming()) {
    next = for_each_row(part.rows, rows, to, next, way_ == Way::fetch ? copy_in : add_in);
  }
}

void HaloExchange::poll() {
  for (Transfer& receive : receives_) receive.test();
  for (Transfer& send : sends_) send.test();
}

}  // namespace annulus
