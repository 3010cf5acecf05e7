/// Staging of rows and their transfers: receives are posted before the first send.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/halo_exchange.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "kernels/base/checked.hpp"
#include "kernels/base/stopwatch.hpp"
#include "runtime/exchange/gradient_sum.hpp"
#include "runtime/exchange/tags.hpp"

namespace annulus {
namespace {

std::uint64_t row_bytes(std::span<const ConstTensorView> tensors) {
  std::uint64_t bytes = 0;
  for (const ConstTensorView& view : tensors) {
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
/// `rows` numbers the rows of the views. Returns the end of the part.
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

void copy_out(const std::byte* row, std::byte* staged, const ConstTensorView& view) {
  std::memcpy(staged, row, static_cast<std::size_t>(view.head_dim) * size_of(view.dtype));
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

/// By ascending peer; none is empty.
std::vector<HaloExchange::Message> HaloExchange::messages(Parts parts, std::span<const std::uint64_t> row_bytes) const {
  std::map<int, Message> by_peer;
  for (std::size_t plan = 0; plan < plans_.size(); ++plan) {
    if (row_bytes[plan] == 0) continue;
    for (const HaloPart& part : plans_[plan]->*parts) {
      Message& message = by_peer.try_emplace(part.peer, Message{part.peer, {}, 0}).first->second;
      message.parts.resize(plans_.size());
      message.parts[plan] = &part.rows;
      message.bytes += checked_product({part.rows.rows(), static_cast<std::int64_t>(row_bytes[plan])});
    }
  }
  std::vector<Message> all;
  for (auto& [peer, message] : by_peer) all.push_back(std::move(message));
  return all;
}

bool HaloExchange::same_rows(const Message& a, const Message& b) {
  return std::equal(a.parts.begin(), a.parts.end(), b.parts.begin(),
                    [](const RowSet* x, const RowSet* y) { return x == nullptr || y == nullptr ? x == y : *x == *y; });
}

/// Message i lands where message i - most_receives has landed and is read.
HaloExchange::Room HaloExchange::landing_room(const std::vector<Message>& messages) {
  std::vector<std::uint64_t> lanes(std::min(messages.size(), most_receives));
  for (std::size_t i = 0; i < messages.size(); ++i) {
    std::uint64_t& lane = lanes[i % most_receives];
    lane = std::max(lane, messages[i].bytes);
  }
  Room room;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    room.begin.push_back(i < most_receives ? room.bytes : room.begin[i - most_receives]);
    if (i < most_receives) room.bytes += lanes[i];
  }
  return room;
}

/// What says the same to several ranks is staged once: the first rows of a sequence, which all others see.
HaloExchange::Room HaloExchange::staging_room(const std::vector<Message>& messages) {
  Room room;
  for (auto message = messages.begin(); message != messages.end(); ++message) {
    const auto same = std::find_if(messages.begin(), message, [&](const Message& m) { return same_rows(m, *message); });
    const bool is_new = same == message;
    room.begin.push_back(is_new ? room.bytes : room.begin[static_cast<std::size_t>(same - messages.begin())]);
    if (is_new) room.bytes += message->bytes;
  }
  return room;
}

void HaloExchange::reserve(std::uint64_t row_bytes) {
  const std::vector<std::uint64_t> bytes(plans_.size(), row_bytes);
  for (const Way way : {Way::fetch, Way::home}) reserve(way, bytes);
}

void HaloExchange::reserve(Way way, std::span<const std::uint64_t> row_bytes) {
  grow(in_, landing_room(messages(incoming(way), row_bytes)).bytes);
  grow(out_, staging_room(messages(outgoing(way), row_bytes)).bytes);
}

int HaloExchange::tag() const { return way_ == Way::fetch ? halo_fetch_tag : halo_home_tag; }

void HaloExchange::post_receive(std::size_t index) {
  const Message& message = arriving_[index];
  receives_[index] =
      Transfer::receive(comm_, {in_.data() + landing_room_.begin[index], message.bytes}, message.peer, tag());
}

void HaloExchange::stage(const Message& message, std::span<const Leaving> leaving, std::byte* staged) const {
  for (std::size_t plan = 0; plan < plans_.size(); ++plan) {
    if (message.parts[plan] == nullptr) continue;
    staged = for_each_row(*message.parts[plan], leaving[plan].rows, leaving[plan].from, staged, copy_out);
  }
}

void HaloExchange::land(const Message& message, std::span<const Landing> landing, const std::byte* staged) const {
  for (std::size_t plan = 0; plan < plans_.size(); ++plan) {
    if (message.parts[plan] == nullptr) continue;
    const Meet usual = way_ == Way::fetch ? copy_in : add_in;
    const Meet meet = landing[plan].meet != nullptr ? landing[plan].meet : usual;
    staged = for_each_row(*message.parts[plan], landing[plan].rows, landing[plan].to, staged, meet);
  }
}

void HaloExchange::start(Way way, std::initializer_list<Leaving> leaving) {
  ANNULUS_EXPECT(leaving.size() == plans_.size());
  way_ = way;
  std::vector<std::uint64_t> bytes;
  for (const Leaving& part : leaving) bytes.push_back(row_bytes(part.from));
  arriving_ = messages(incoming(way), bytes);
  landing_room_ = landing_room(arriving_);
  grow(in_, landing_room_.bytes);
  receives_.resize(arriving_.size());
  for (std::size_t i = 0; i < std::min(arriving_.size(), most_receives); ++i) post_receive(i);
  send(messages(outgoing(way), bytes), leaving);
}

void HaloExchange::send(const std::vector<Message>& messages, std::span<const Leaving> leaving) {
  const Room room = staging_room(messages);
  grow(out_, room.bytes);
  std::uint64_t staged = 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    std::byte* const begin = out_.data() + room.begin[i];
    if (room.begin[i] == staged) {
      stage(messages[i], leaving, begin);
      staged += messages[i].bytes;
    }
    Transfer& send = sends_.emplace_back(Transfer::send(comm_, {begin, messages[i].bytes}, messages[i].peer, tag()));
    traffic_.messages += send.messages();
    traffic_.bytes += messages[i].bytes;
  }
}

void HaloExchange::finish(std::initializer_list<Landing> landing) {
  const auto wait = [this](Transfer& transfer) {
    const Stopwatch watch;
    transfer.wait();
    traffic_.exposed_seconds += watch.seconds();
  };
  for (std::size_t i = 0; i < arriving_.size(); ++i) {
    wait(receives_[i]);
    land(arriving_[i], landing, in_.data() + landing_room_.begin[i]);
    if (i + most_receives < arriving_.size()) post_receive(i + most_receives);
  }
  for (Transfer& send : sends_) wait(send);
  receives_.clear();
  sends_.clear();
}

void HaloExchange::poll() {
  for (Transfer& receive : receives_) receive.test();
  for (Transfer& send : sends_) send.test();
}

}  // namespace annulus
