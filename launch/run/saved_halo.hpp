/// The halo of a run of local layers in a checkpoint.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "kernels/base/buffer.hpp"
#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/stack/stack.hpp"

namespace annulus::launch {

/// Rows of a resident halo behind a layer. A rank computes them itself, in tiles with other edges than the owner's: a run
/// that resumed with the owner's rows would differ in the last bits from one that was never interrupted. Other numbers of
/// ranks and other layouts have no use for them.
class SavedHalo {
 public:
  /// Collective: the ranks agree on the size. Throws ResourceError together.
  SavedHalo(const Communicator& world, stack::Stack& stack, std::int64_t layer);

  /// Behind a run, without a resident halo, and where nobody has one. The same on every rank.
  bool empty() const { return most_rows_ == 0; }
  /// Of the tensor in a checkpoint: it names layout and ranks.
  const std::string& name() const { return name_; }
  /// As many rows of every rank, rank by rank.
  Layout layout() const;

  /// [batch, rows, 1, width]: the halo, and zeros where other ranks have more of it. Local.
  ConstTensorView copy_out();
  /// To be loaded, and then put in its place. Local.
  TensorView room() const;
  void copy_in();

 private:
  TensorView filled() const;

  const Communicator& world_;
  stack::Stack& stack_;
  std::int64_t layer_;
  RowSet rows_;
  std::int64_t most_rows_ = 0;
  std::string name_;
  Buffer<std::byte> memory_;
};

}  // namespace annulus::launch
