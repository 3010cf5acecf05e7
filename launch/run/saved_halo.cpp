/// Halo rows between a stack and a tensor that is sharded like any other.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run/saved_halo.hpp"

#include <fmt/format.h>

#include <array>

#include "kernels/base/checked.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/engine/row_copy.hpp"

namespace annulus::launch {

SavedHalo::SavedHalo(const Communicator& world, stack::Stack& stack, std::int64_t layer)
    : world_(world), stack_(stack), layer_(layer), rows_(stack.halo_behind(layer)) {
  std::array<std::uint64_t, 1> most{static_cast<std::uint64_t>(rows_.rows())};
  world.max(most);
  most_rows_ = static_cast<std::int64_t>(most[0]);
  if (empty()) return;
  name_ = fmt::format("layers/{:06}/halo-{}-{}", layer + 1, annulus::name(stack.layout().kind()), world.size());
  const AttentionSpec& spec = stack.model().attention;
  together(world, [&] {
    memory_ = Buffer<std::byte>(static_cast<std::int64_t>(checked_product(
        {spec.batch, most_rows_, stack.model().width(), static_cast<std::int64_t>(size_of(spec.dtype))})));
  });
}

Layout SavedHalo::layout() const {
  return Layout(LayoutKind::contiguous, most_rows_ * world_.size(), world_.size());
}

TensorView SavedHalo::room() const {
  const AttentionSpec& spec = stack_.model().attention;
  return dense_view(memory_.data(), spec.dtype, spec.batch, most_rows_, 1, stack_.model().width());
}

TensorView SavedHalo::filled() const { return some_rows(room(), 0, rows_.rows()); }

ConstTensorView SavedHalo::copy_out() {
  memory_.clear();
  convert(rows_, stack_.behind(layer_), stack_.rows_behind(layer_), filled(), rows_);
  return room();
}

void SavedHalo::copy_in() { convert(rows_, filled(), rows_, stack_.behind(layer_), stack_.rows_behind(layer_)); }

}  // namespace annulus::launch
