/// Hops as the ring makes them, alone and beside a core that computes.
// SPDX-License-Identifier: Apache-2.0
#include "launch/calibrate/links.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/base/buffer.hpp"
#include "kernels/base/stopwatch.hpp"
#include "launch/samples.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/transfer.hpp"

namespace annulus::launch {
namespace {

constexpr int hop_tag = 21;
constexpr std::int64_t small_message = 64;  ///< bytes

/// Works on registers for as long as told, and looks after messages about every 100 us as kernels do.
class Work {
 public:
  explicit Work(double seconds) {
    constexpr std::int64_t probe = 20'000'000;
    const Stopwatch watch;
    turn(probe);
    const double turns_per_second = static_cast<double>(probe) / watch.seconds();
    turns_ = static_cast<std::int64_t>(seconds * turns_per_second);
    between_polls_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(1e-4 * turns_per_second));
  }
  template <class Poll>
  void run(Poll&& poll) {
    for (std::int64_t done = 0; done < turns_; done += between_polls_) {
      turn(std::min(between_polls_, turns_ - done));
      poll();
    }
  }

 private:
  void turn(std::int64_t count) {
    double value = value_;
    for (std::int64_t i = 0; i < count; ++i) value = value * 0.999999 + 1e-6;
    value_ = value;
  }
  volatile double value_ = 1;  ///< so that the work is done
  std::int64_t turns_ = 0;
  std::int64_t between_polls_ = 1;
};

class Hops {
 public:
  Hops(const Communicator& ring, std::int64_t bytes) : ring_(ring) {
    together(ring, [&] {
      out_ = Buffer<std::byte>(bytes);
      in_ = Buffer<std::byte>(bytes);
    });
    std::fill_n(out_.data(), bytes, std::byte{1});
    std::fill_n(in_.data(), bytes, std::byte{0});
  }

  /// Of the slowest rank; `meanwhile(poll)` runs between start and wait.
  template <class Meanwhile>
  double seconds(std::int64_t bytes, Meanwhile&& meanwhile) {
    const auto size = static_cast<std::size_t>(bytes);
    ring_.barrier();
    const Stopwatch watch;
    Transfer in = Transfer::receive(ring_, in_.span().first(size), (ring_.rank() + 1) % ring_.size(), hop_tag);
    Transfer out = Transfer::send(ring_, out_.span().first(size), (ring_.rank() + ring_.size() - 1) % ring_.size(), hop_tag);
    meanwhile([&] {
      in.test();
      out.test();
    });
    in.wait();
    out.wait();
    std::array<double, 1> slowest{watch.seconds()};
    ring_.max(slowest);
    return slowest[0];
  }
  template <class Meanwhile>
  double median(std::int64_t bytes, int samples, Meanwhile&& meanwhile) {
    Samples all;
    for (int i = 0; i < samples; ++i) all.add(seconds(bytes, meanwhile));
    return all.median();
  }

 private:
  const Communicator& ring_;
  Buffer<std::byte> out_;
  Buffer<std::byte> in_;
};

}  // namespace

forecast::LinkSpeed measure_ring_link(const Communicator& ring, std::int64_t bytes, int samples) {
  Hops hops(ring, bytes);
  const auto nothing = [](auto&&) {};
  (void)hops.seconds(bytes, nothing);  // touches the memory, connects the ranks
  const double latency = hops.median(small_message, 5 * samples, nothing);
  const double whole = hops.median(bytes, samples, nothing);
  // Beside others on the machine a small message may take as long as a block: then all of the time is the block's.
  const double moving = whole > 2 * latency ? whole - latency : whole;
  Work work(3 * whole);
  const double alone = hops.median(0, samples, [&](auto&& poll) { work.run(poll); });
  const double beside = hops.median(bytes, samples, [&](auto&& poll) { work.run(poll); });
  return {.latency_seconds = latency,
          .bytes_per_second = static_cast<double>(bytes) / moving,
          .busy_share = std::clamp((beside - alone) / whole, 0.0, 1.0)};
}

}  // namespace annulus::launch
