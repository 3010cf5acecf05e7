/// Blocks stay where they were packed, in a window that all ranks of the node read in place: no copy, no messages.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "kernels/base/buffer.hpp"
#include "runtime/comm/shared_window.hpp"
#include "runtime/comm/transfer.hpp"
#include "runtime/exchange/exchange.hpp"

namespace annulus {

/// Gradients are added in place in their owner's segment. One-byte tokens run round the ring behind the adders, so each
/// owner's sum is added to in ring order, by one rank at a time.
class SharedExchange : public Exchange {
 public:
  SharedExchange(const Communicator& comm, RingSchedule ring) : comm_(comm), ring_(ring) {}
  ~SharedExchange() override;

  void begin(PassSizes sizes) override;
  std::byte* own_block() override { return blocks_->segment(ring_.rank); }
  void open() override { blocks_->sync(); }
  void start(int) override {}
  const std::byte* block(int step) override { return blocks_->segment(ring_.owner_at(step)); }
  void finish(int) override {}
  std::byte* share(int step) override;
  void add_share(int step, bool empty) override;
  const std::byte* home() override;
  void poll() override { token_out_.test(); }

 private:
  void pass_token();
  void await_token();

  const Communicator& comm_;
  RingSchedule ring_;
  PassSizes sizes_;
  std::unique_ptr<SharedWindow> blocks_;     ///< one packed block per rank
  std::unique_ptr<SharedWindow> gradients_;  ///< one gradient sum per rank; made by the first backward pass
  Buffer<std::byte> share_;
  std::byte token_{};
  Transfer token_out_;
};

}  // namespace annulus
