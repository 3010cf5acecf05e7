/// Barriers, TMA and wgmma by the letter of the PTX ISA.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/async_units.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/cuda/matrix_descriptor.hpp"
#include "tests/support/emulated_machine.hpp"

namespace annulus::test {

using namespace kernels::cuda;

namespace {

constexpr int nan_byte = 0xff;
constexpr int chunk_bytes = 16;
constexpr std::uint32_t rows_of_swizzle = 8;

/// The pattern works on addresses: bits 4 to 6 are flipped by bits 7 to 9.
std::uint32_t swizzled(std::uint32_t address) { return address ^ (address >> 3 & 0x70U); }

/// The fields of a matrix descriptor, in bytes.
struct Matrix {
  std::uint32_t address;
  std::uint32_t leading;
  std::uint32_t stride;

  explicit Matrix(std::uint64_t descriptor)
      : address(static_cast<std::uint32_t>(descriptor & 0x3fff) << 4),
        leading(static_cast<std::uint32_t>(descriptor >> 16 & 0x3fff) << 4),
        stride(static_cast<std::uint32_t>(descriptor >> 32 & 0x3fff) << 4) {
    if (descriptor >> 62 != 1) throw EmulationError("a matrix descriptor without the 128-byte swizzle");
    if ((descriptor >> 49 & 7) != 0) throw EmulationError("a matrix descriptor with a base offset");
  }
  /// Of a K-major matrix.
  std::uint32_t at(std::uint32_t row, std::uint32_t k) const {
    return swizzled(address + row / rows_of_swizzle * stride + row % rows_of_swizzle * slab_row_bytes + 2 * k);
  }
  /// Of a transposed one, whose rows are k.
  std::uint32_t at_transposed(std::uint32_t k, std::uint32_t column) const {
    return swizzled(address + column / slab_columns * leading + k / rows_of_swizzle * stride +
                    k % rows_of_swizzle * slab_row_bytes + 2 * (column % slab_columns));
  }
};

/// A range of the shared state space.
SharedRange in_block(SharedRange range) {
  return {range.begin - AsyncUnits::shared_begin, range.end - AsyncUnits::shared_begin};
}

bool overlap(std::uint32_t begin_a, std::uint32_t end_a, std::uint32_t begin_b, std::uint32_t end_b) {
  return begin_a < end_b && begin_b < end_a;
}

}  // namespace

TensorMap EmulatedTensorMap::opaque() const {
  TensorMap map{};
  static_assert(sizeof(*this) <= sizeof(map.bytes));
  std::memcpy(map.bytes, this, sizeof(*this));
  return map;
}

bool WarpProduct::same_operands(const WarpProduct& other) const {
  return a_descriptor == other.a_descriptor && b_descriptor == other.b_descriptor && columns == other.columns &&
         from_registers == other.from_registers && transposed == other.transposed && add == other.add;
}

void AsyncUnits::restart(int warps, std::span<std::byte> shared) {
  shared_ = shared;
  barriers_.clear();
  boxes_.clear();
  landed_.clear();
  warps_.assign(static_cast<std::size_t>(warps), {});
  order_.restart(warps, shared.size());
  reductions_.restart(shared);
}

void AsyncUnits::end() const {
  if (!boxes_.empty()) throw EmulationError("the block ends before its boxes have landed");
  reductions_.end();
  for (std::size_t warp = 0; warp < warps_.size(); ++warp) {
    if (!warps_[warp].open.empty() || !warps_[warp].batches.empty()) {
      throw EmulationError("warp " + std::to_string(warp) + " ends before its products");
    }
    if (warps_[warp].history != warps_[warp / 4 * 4].history) {
      throw EmulationError("the warps of a warpgroup multiply different matrices");
    }
  }
}

void AsyncUnits::barrier_init(std::uint32_t at, int arrivals) {
  if (at % 8 != 0 || at + 8 > shared_.size()) throw EmulationError("a barrier at " + std::to_string(at));
  if (barriers_.contains(at)) throw EmulationError("a barrier is made twice");
  barriers_[at] = {.arrivals = arrivals, .missing = arrivals, .bytes = 0, .turn = 0, .made = Made::no};
}

void AsyncUnits::barrier_fence() {
  for (auto& [at, barrier] : barriers_) barrier.made = std::max(barrier.made, Made::fenced);
}

void AsyncUnits::synced() {
  for (auto& [at, barrier] : barriers_) {
    if (barrier.made == Made::fenced) barrier.made = Made::yes;
  }
  std::vector<int> all(warps_.size());
  std::iota(all.begin(), all.end(), 0);
  order_.meet(all);
}

const AsyncUnits::Barrier& AsyncUnits::barrier(std::uint32_t at) const {
  const auto found = barriers_.find(at);
  if (found == barriers_.end()) throw EmulationError("no barrier at " + std::to_string(at));
  if (found->second.made != Made::yes) throw EmulationError("a barrier is used without a fence and a sync after its init");
  return found->second;
}
AsyncUnits::Barrier& AsyncUnits::barrier(std::uint32_t at) {
  return const_cast<Barrier&>(std::as_const(*this).barrier(at));
}

void AsyncUnits::end_turn(Barrier& barrier) {
  if (barrier.missing > 0 || barrier.bytes != 0) return;
  barrier.missing = barrier.arrivals;
  barrier.known = barrier.told;
  ++barrier.turn;
}

void AsyncUnits::arrive(int thread, std::uint32_t at, int expected_bytes) {
  Barrier& here = barrier(at);
  ProxyOrder::join(here.told, order_.release(thread));
  here.bytes += expected_bytes;
  if (--here.missing < 0) throw EmulationError("more arrivals at a barrier than it awaits in a turn");
  end_turn(here);
}

bool AsyncUnits::is_over(std::uint32_t at, std::uint32_t parity) const { return (barrier(at).turn & 1U) != parity; }

void AsyncUnits::observe(int warp, std::uint32_t at) {
  warps_[static_cast<std::size_t>(warp)].observed[at] = barrier(at).turn;
  order_.acquire(warp, barrier(at).known);
}

void AsyncUnits::load_box(int thread, std::uint32_t at, const TensorMap& opaque, int x, int y, int z, std::uint32_t barrier_at) {
  EmulatedTensorMap map;
  std::memcpy(&map, opaque.bytes, sizeof(map));
  const auto bytes = static_cast<std::size_t>(map.box_rows) * slab_row_bytes;
  if (at % swizzle_bytes != 0 || at + bytes > shared_.size()) throw EmulationError("a box at " + std::to_string(at));
  Box box{at, barrier_at, std::vector<std::byte>(bytes)};  // zeros outside of the tensor
  for (std::int32_t row = 0; row < map.box_rows && y + row < map.rows && z < map.planes; ++row) {
    for (std::int32_t column = 0; column < slab_columns && x + column < map.columns; ++column) {
      const std::uint16_t* const from = map.data + ((z * map.rows + y + row) * map.columns + x + column);
      memory_.check(from, 2, 2);
      const std::uint32_t address = at + static_cast<std::uint32_t>(row * slab_row_bytes + column * 2);
      std::memcpy(&box.bytes[swizzled(address) - at], from, 2);
    }
  }
  start(thread, std::move(box));
}

void AsyncUnits::load_bytes(int thread, std::uint32_t at, const void* from, int bytes, std::uint32_t barrier_at) {
  const auto size = static_cast<std::size_t>(bytes);
  if (at % chunk_bytes != 0 || bytes % chunk_bytes != 0 || at + size > shared_.size()) {
    throw EmulationError(std::to_string(bytes) + " bytes at " + std::to_string(at));
  }
  memory_.check(from, size, chunk_bytes);
  const auto* const begin = static_cast<const std::byte*>(from);
  start(thread, {at, barrier_at, std::vector<std::byte>(begin, begin + size)});
}

void AsyncUnits::start(int thread, Box box) {
  const std::uint32_t begin = box.at + shared_begin;
  check_free({begin, begin + static_cast<std::uint32_t>(box.bytes.size())});
  order_.begin_write(thread / kernels::cuda::lanes, {box.at, box.at + static_cast<std::uint32_t>(box.bytes.size())});
  static_cast<void>(barrier(box.barrier));
  std::erase_if(landed_, [&](const Landed& old) {
    return overlap(old.begin, old.end, begin, begin + static_cast<std::uint32_t>(box.bytes.size()));
  });
  std::fill_n(shared_.data() + box.at, box.bytes.size(), std::byte{nan_byte});
  boxes_.push_back(std::move(box));
}

bool AsyncUnits::land(bool newest) {
  if (boxes_.empty()) return false;
  const auto which = newest ? std::prev(boxes_.end()) : boxes_.begin();
  std::ranges::copy(which->bytes, shared_.data() + which->at);
  Barrier& here = barrier(which->barrier);
  const std::uint32_t begin = which->at + shared_begin;
  landed_.push_back({begin, begin + static_cast<std::uint32_t>(which->bytes.size()), which->barrier, here.turn});
  here.bytes -= static_cast<std::int64_t>(which->bytes.size());
  end_turn(here);
  boxes_.erase(which);
  return true;
}

void AsyncUnits::begin_products(int warp) { warps_[static_cast<std::size_t>(warp)].begun = true; }

void AsyncUnits::multiply(int warp, const WarpProduct& product) {
  Warp& mine = warps_[static_cast<std::size_t>(warp)];
  if (!mine.begun) throw EmulationError("products without wgmma.fence after registers were touched");
  check_landed(mine, product);
  for (const Range& range : ranges(product)) order_.begin_read(warp, in_block(range));
  const int shape = product.columns * 4 + (product.transposed ? 2 : 0) + (product.add ? 1 : 0);
  for (const std::uint64_t word : {product.from_registers ? 0 : product.a_descriptor, product.b_descriptor,
                                   static_cast<std::uint64_t>(shape)}) {
    mine.history = (mine.history ^ word) * 0x9e3779b97f4a7c15ULL;
  }
  mine.open.push_back(product);
}

void AsyncUnits::commit_products(int warp) {
  Warp& mine = warps_[static_cast<std::size_t>(warp)];
  mine.batches.push_back(std::move(mine.open));
  mine.open.clear();
  mine.begun = false;
}

void AsyncUnits::wait_products(int warp, int pending) {
  Warp& mine = warps_[static_cast<std::size_t>(warp)];
  for (; std::ssize(mine.batches) > pending; mine.batches.pop_front()) {
    for (const WarpProduct& product : mine.batches.front()) {
      compute(warp, product);
      for (const Range& range : ranges(product)) order_.end_read(warp, in_block(range));
    }
  }
}

/// Whole swizzle patterns that a product may read.
std::vector<AsyncUnits::Range> AsyncUnits::ranges(const WarpProduct& product) {
  std::vector<Range> found;
  const auto add = [&](std::uint32_t address, std::uint32_t rows) {
    const std::uint32_t begin = address / swizzle_bytes * swizzle_bytes;
    found.push_back({begin, begin + rows / rows_of_swizzle * swizzle_bytes});
  };
  const Matrix b(product.b_descriptor);
  const auto columns = static_cast<std::uint32_t>(product.columns);
  if (!product.from_registers) add(Matrix(product.a_descriptor).address, 64);
  if (!product.transposed) add(b.address, columns);
  for (std::uint32_t slab = 0; product.transposed && slab < columns / slab_columns; ++slab) {
    add(b.address + slab * b.leading, 16);
  }
  return found;
}

void AsyncUnits::check_landed(const Warp& warp, const WarpProduct& product) const {
  for (const Range& range : ranges(product)) {
    if (range.begin < shared_begin || range.end > shared_begin + shared_.size()) {
      throw EmulationError("a matrix outside of shared memory");
    }
    for (const Box& box : boxes_) {
      const auto begin = box.at + shared_begin;
      if (overlap(range.begin, range.end, begin, begin + static_cast<std::uint32_t>(box.bytes.size()))) {
        throw EmulationError("products read a box that has not landed");
      }
    }
    check_observed(warp, range);
  }
}

void AsyncUnits::check_observed(const Warp& warp, const Range& range) const {
  for (const Landed& landed : landed_) {
    if (!overlap(range.begin, range.end, landed.begin, landed.end)) continue;
    const auto observed = warp.observed.find(landed.barrier);
    if (observed != warp.observed.end() && observed->second > landed.turn) continue;
    throw EmulationError("products read a box whose barrier their warp has not waited for");
  }
}

void AsyncUnits::check_free(const Range& range) const {
  const auto check = [&](const std::vector<WarpProduct>& products) {
    for (const WarpProduct& product : products) {
      for (const Range& read : ranges(product)) {
        if (!overlap(range.begin, range.end, read.begin, read.end)) continue;
        throw EmulationError("a box overwrites what products still read");
      }
    }
  };
  for (const Warp& warp : warps_) {
    check(warp.open);
    for (const auto& batch : warp.batches) check(batch);
  }
  for (const Box& box : boxes_) {
    const auto begin = box.at + shared_begin;
    if (overlap(range.begin, range.end, begin, begin + static_cast<std::uint32_t>(box.bytes.size()))) {
      throw EmulationError("a box overwrites one that has not landed");
    }
  }
}

float AsyncUnits::element(std::uint32_t address, const WarpProduct& product) const {
  std::uint16_t bits;
  std::memcpy(&bits, &shared_[address - shared_begin], sizeof(bits));
  return product.value(bits);
}

/// m64nNk16, the 16 rows of one warp. Registers of a and c are laid out as in mma.m16n8k16, for each 8 columns.
void AsyncUnits::compute(int warp, const WarpProduct& product) const {
  const auto columns = static_cast<std::uint32_t>(product.columns);
  const Matrix b(product.b_descriptor);
  float left[16][16];
  std::vector<float> right(16 * columns);
  for (std::uint32_t k = 0; k < 16; ++k) {
    for (std::uint32_t column = 0; column < columns; ++column) {
      right[k * columns + column] =
          element(product.transposed ? b.at_transposed(k, column) : b.at(column, k), product);
    }
    for (std::uint32_t row = 0; row < 16; ++row) {
      if (product.from_registers) {
        const std::uint32_t word = product.a[row % 8 * 4 + k % 8 / 2][k / 8 * 2 + row / 8];
        left[row][k] = product.value(static_cast<std::uint16_t>(word >> 16 * (k % 2)));
      } else {
        left[row][k] = element(Matrix(product.a_descriptor).at(static_cast<std::uint32_t>(warp % 4 * 16) + row, k), product);
      }
    }
  }
  std::vector<float> sums(columns);
  for (std::uint32_t row = 0; row < 16; ++row) {
    const auto place = [&](std::uint32_t column) -> float& {
      return product.c[row % 8 * 4 + column % 8 / 2][column / 8 * 4 + row / 8 * 2 + column % 2];
    };
    for (std::uint32_t column = 0; column < columns; ++column) sums[column] = product.add ? place(column) : 0;
    for (std::uint32_t k = 0; k < 16; ++k) {
      for (std::uint32_t column = 0; column < columns; ++column) sums[column] += left[row][k] * right[k * columns + column];
    }
    for (std::uint32_t column = 0; column < columns; ++column) place(column) = sums[column];
  }
}

}  // namespace annulus::test
