/// The calling thread does it all at once.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/host_carrier.hpp"

#include <cstdlib>
#include <cstring>

#include "kernels/base/buffer.hpp"
#include "runtime/exchange/gradient_sum.hpp"

namespace annulus {
namespace {

class HostCarrier final : public Carrier {
 public:
  explicit HostCarrier(const Communicator& comm) : comm_(comm) {}

  kernels::Memory memory() const override { return kernels::Memory::host; }
  Room allocate(std::uint64_t bytes) override {
    if (bytes == 0) return {};
    void* const memory = BufferPool::allocate(round_up(static_cast<std::int64_t>(bytes), buffer_alignment));
    return {static_cast<std::byte*>(memory), [](std::byte* room) { std::free(room); }};
  }

  std::byte* view(std::byte* room, std::uint64_t) override { return room; }
  void push(std::byte*, std::uint64_t) override {}
  const std::byte* pull(const std::byte* room, std::uint64_t) override { return room; }

  Journey send(const std::byte* array, Runs runs, int to, int tag) override {
    return Journey(Transfer::send(comm_, array, runs, to, tag));
  }
  Journey receive(std::byte* array, Runs runs, int from, int tag) override {
    return Journey(Transfer::receive(comm_, array, runs, from, tag));
  }
  void landed() override {}

  void clear(std::byte* to, Runs runs) override {
    for (const kernels::ByteRun& run : runs) std::memset(to + run.offset, 0, run.bytes);
  }
  void add(DType dtype, std::byte* to, const std::byte* from, Runs runs) override {
    for (const kernels::ByteRun& run : runs) {
      add_gradients(dtype, to + run.offset, from + run.offset, static_cast<std::int64_t>(run.bytes / size_of(dtype)));
    }
  }
  void copy(std::byte* to, Runs to_runs, const std::byte* from, Runs from_runs) override {
    kernels::copy_runs(to, to_runs, from, from_runs);
  }

 private:
  const Communicator& comm_;
};

}  // namespace

Carriers host_carriers(const Communicator& comm) {
  return {std::make_unique<HostCarrier>(comm), std::make_unique<HostCarrier>(comm)};
}

}  // namespace annulus
