/// Where that lies which travels round a ring, what is done with it there, and how it leaves and arrives.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "kernels/contract/attention.hpp"
#include "runtime/comm/journey.hpp"

namespace annulus {

/// Memory of a carrier, owned; aligned to 64 bytes.
using Room = std::unique_ptr<std::byte, std::function<void(std::byte*)>>;

/// One for blocks and one for sums of gradients: each has its readers, who work on what has arrived. On a device readers
/// and journeys go on after a call has returned, in the order that these calls say. All is local.
class Carrier {
 public:
  using Runs = std::span<const kernels::ByteRun>;

  virtual ~Carrier() = default;
  virtual kernels::Memory memory() const = 0;
  /// Throws ResourceError. What has been told so far may still use a room that ends.
  virtual Room allocate(std::uint64_t bytes) = 0;

  /// The host's view of a room: its bytes, which push() shows to readers and journeys, or those of the room as they are
  /// once all that was told before is done. Of a device there is one view at a time.
  virtual std::byte* view(std::byte* room, std::uint64_t bytes) = 0;
  virtual void push(std::byte* room, std::uint64_t bytes) = 0;
  virtual const std::byte* pull(const std::byte* room, std::uint64_t bytes) = 0;

  /// To and from ranks of the exchange's communicator. What is sent is as earlier calls leave it; what is received lands when
  /// readers told so far are done. Every rank makes its calls in the same order.
  virtual Journey send(const std::byte* array, Runs runs, int to, int tag) = 0;
  virtual Journey receive(std::byte* array, Runs runs, int from, int tag) = 0;
  /// Journeys that start() begins, not one after the other.
  template <class Start>
  void together(Start&& start) {
    begin_group();
    start();
    end_group();
  }
  /// Readers told from here on see what has been waited for.
  virtual void landed() = 0;

  /// By the readers of sums. `runs` are the same of both arrays; elements are f32 (f64 in host memory only).
  virtual void clear(std::byte* to, Runs runs) = 0;
  virtual void add(DType dtype, std::byte* to, const std::byte* from, Runs runs) = 0;
  virtual void copy(std::byte* to, Runs to_runs, const std::byte* from, Runs from_runs) = 0;

 private:
  virtual void begin_group() {}
  virtual void end_group() {}
};

/// The two of one exchange.
struct Carriers {
  std::unique_ptr<Carrier> blocks;
  std::unique_ptr<Carrier> sums;
};

}  // namespace annulus
