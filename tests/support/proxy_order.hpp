/// The order between threads and what works beside them on shared memory (TMA, wgmma: the "async proxy" of the PTX ISA): who
/// may read what threads have written, and who may write over what has been read. Vector clocks of warps.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace annulus::test {

/// Bytes [begin, end) of a block's shared memory, from its begin.
struct SharedRange {
  std::uint32_t begin;
  std::uint32_t end;
};

/// Of one block. Throws EmulationError.
class ProxyOrder {
 public:
  static constexpr std::size_t most_warps = 12;
  /// How far each warp has come, as far as somebody knows.
  using Clock = std::array<std::uint32_t, most_warps>;

  void restart(int warps, std::size_t shared_bytes);

  /// A thread writes. Throws if units read the range, or have done so without this warp's knowing that they are done.
  void write(int thread, SharedRange range);
  /// What the thread has written, units may read once they know of it.
  void fence(int thread);

  /// The lanes of these warps have met.
  void meet(std::span<const int> warps);
  /// A thread arrives somewhere: what it makes known there. Of the other lanes' writes, only those before they met.
  Clock release(int thread);
  /// A warp has waited there.
  void acquire(int warp, const Clock& known);

  /// Units read, for a warp. Throws at words that were written without a fence, or without this warp's knowing of it.
  void begin_read(int warp, SharedRange range);
  void end_read(int warp, SharedRange range);
  /// TMA writes, for a warp. Throws as write().
  void begin_write(int warp, SharedRange range);

  static void join(Clock& clock, const Clock& other);

 private:
  enum class Stage : std::uint8_t { none, written, fenced, shown };
  struct Word {
    Stage stage = Stage::none;
    std::int16_t thread = 0;
    std::uint32_t at = 0;  ///< of the writer's warp's clock, when shown
  };
  /// A piece of shared memory of granule_bytes, and who of each warp reads it.
  struct Granule {
    std::array<std::int32_t, most_warps> reading{};
    Clock read{};
    bool written = false;  ///< some word by a thread
  };
  static constexpr std::uint32_t granule_bytes = 1024;
  static constexpr std::uint32_t word_bytes = 4;

  void check_unread(int warp, SharedRange range) const;
  void check_word(int warp, const Word& word) const;
  void show(int thread);
  template <class Use>
  void for_each_granule(SharedRange range, Use&& use);

  std::vector<Clock> clocks_;  ///< of each warp
  std::vector<Word> words_;
  std::vector<Granule> granules_;
  std::vector<std::vector<std::uint32_t>> written_;  ///< words of each thread that wait for its fence
  std::vector<std::vector<std::uint32_t>> fenced_;   ///< and, then, for others to know
};

}  // namespace annulus::test
