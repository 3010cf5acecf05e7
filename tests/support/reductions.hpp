/// Bulk reductions (cp.reduce.async.bulk) of the emulator, as late as the PTX ISA allows: shared memory is read when a wait asks
/// for it, and sums in global memory grow when the launch is over.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/support/proxy_order.hpp"

namespace annulus::test {

class EmulatedMemory;

/// One block's at a time; what blocks have added waits for settle(). Throws EmulationError.
class Reductions {
 public:
  explicit Reductions(const EmulatedMemory& memory) : memory_(memory) {}
  void restart(std::span<std::byte> shared);
  /// Throws if a reduction has not read: shared memory is gone with its block.
  void end() const;

  void add(int thread, float* to, std::uint32_t at, int bytes, ProxyOrder& order);
  void commit(int thread);
  /// All but the thread's newest `pending` batches read.
  void wait_read(int thread, int pending, ProxyOrder& order);
  /// All that was read is added, in the order of the reads.
  void settle();

 private:
  struct Reduction {
    int thread;
    int batch;  ///< 0: not committed, else ascending
    float* to;
    SharedRange from;
  };
  struct Sum {
    float* to;
    std::vector<float> terms;
  };

  void read(const Reduction& reduction);

  const EmulatedMemory& memory_;
  std::span<std::byte> shared_;
  std::vector<Reduction> under_way_;
  int batches_ = 0;
  std::vector<Sum> sums_;
};

}  // namespace annulus::test
