/// Blocks travel rank -> rank - 1 as messages: two K/V buffers and a swap; in backward three for gradients.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/base/buffer.hpp"
#include "runtime/comm/transfer.hpp"
#include "runtime/exchange/exchange.hpp"

namespace annulus {

class MessageExchange : public Exchange {
 public:
  MessageExchange(const Communicator& comm, RingSchedule ring) : comm_(comm), ring_(ring) {}

  void begin(PassSizes sizes) override;
  std::byte* own_block() override { return current_.data(); }
  void open() override {}
  void start(int step) override;
  const std::byte* block(int) override { return current_.data(); }
  void finish(int step) override;
  std::byte* share(int) override { return share_.data(); }
  void add_share(int step, bool empty) override;
  const std::byte* home() override;
  void poll() override;

 private:
  Transfer send(std::span<const std::byte> bytes, int tag);
  void wait(Transfer& transfer);

  const Communicator& comm_;
  RingSchedule ring_;
  PassSizes sizes_;
  Buffer<std::byte> current_;   ///< the block in hand
  Buffer<std::byte> spare_;     ///< the next one lands here
  Buffer<std::byte> share_;     ///< this rank's share of the gradients of the block in hand
  Buffer<std::byte> arriving_;  ///< the sum of the ranks before this one
  Buffer<std::byte> leaving_;   ///< the sum including this rank's share
  Transfer block_in_;           // transfers are declared after the buffers they use: they wait before those are freed
  Transfer block_out_;
  Transfer gradient_in_;
  Transfer gradient_out_;
};

}  // namespace annulus
