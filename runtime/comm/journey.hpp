/// Bytes on their way to or from another rank, however they go.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "runtime/comm/transfer.hpp"

namespace annulus {

/// Move-only; an empty one is over. What it moves must stay until it is over: the destructor waits.
class Journey {
 public:
  /// A way to go. Its destructor waits, as that of Transfer.
  class Way {
   public:
    virtual ~Way() = default;
    virtual bool test() = 0;
    virtual void wait() = 0;
  };

  Journey() = default;
  Journey(std::unique_ptr<Way> way, std::uint64_t messages, std::uint64_t bytes)
      : messages_(messages), bytes_(bytes), way_(std::move(way)) {}
  explicit Journey(Transfer transfer)
      : messages_(transfer.messages()), bytes_(transfer.bytes()), way_(std::make_unique<ByTransfer>(std::move(transfer))) {}

  /// Moves it on; true once over. Local, does not block.
  bool test() { return way_ == nullptr || way_->test(); }
  /// Blocks until it is over, but not for ever (set_comm_timeout). Local.
  void wait() {
    if (way_ != nullptr) way_->wait();
  }
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct ByTransfer final : Way {
    explicit ByTransfer(Transfer its_transfer) : transfer(std::move(its_transfer)) {}
    bool test() override { return transfer.test(); }
    void wait() override { transfer.wait(); }
    Transfer transfer;
  };

  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
  std::unique_ptr<Way> way_;
};

}  // namespace annulus
