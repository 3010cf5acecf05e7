/// The scheduler of emulated threads and their warp operations.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/emulated_machine.hpp"

#include <algorithm>

namespace annulus::test {
namespace {

constexpr int lanes = kernels::cuda::lanes;
constexpr int nan_byte = 0xff;  ///< repeated, a NaN in every element type
constexpr std::size_t word_bytes = 4;

}  // namespace

void* EmulatedMemory::allocate(std::int64_t bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  constexpr std::size_t slack = 256;  // vectors are aligned to 16 bytes, device memory to 256
  std::vector<std::byte> block(size + slack, std::byte{nan_byte});
  void* begin = block.data();
  std::size_t space = block.size();
  std::align(slack, size, begin, space);
  auto* const aligned = static_cast<std::byte*>(begin);
  block.resize(static_cast<std::size_t>(aligned - block.data()) + size);  // smaller: stays in place
  blocks_.emplace(aligned, std::move(block));
  return aligned;
}

void EmulatedMemory::release(void* memory) {
  last_begin_ = last_end_ = nullptr;
  blocks_.erase(static_cast<std::byte*>(memory));
}

void EmulatedMemory::check(const void* p, std::size_t bytes, std::size_t alignment) const {
  const auto* const begin = static_cast<const std::byte*>(p);
  if (reinterpret_cast<std::uintptr_t>(p) % alignment != 0) throw EmulationError("misaligned access to global memory");
  if (last_begin_ <= begin && begin + bytes <= last_end_) return;
  auto block = blocks_.upper_bound(begin);
  if (block != blocks_.begin()) {
    --block;
    last_begin_ = block->first;
    last_end_ = block->second.data() + block->second.size();
    if (begin + bytes <= last_end_) return;
  }
  throw EmulationError("access outside of all global memory");
}

EmulatedBlock::EmulatedBlock(const EmulatedMemory& memory) : memory_(memory) {}

void EmulatedBlock::run(int threads, std::int64_t shared_bytes, bool descending, const std::function<void(int)>& body) {
  threads_ = threads;
  states_.assign(static_cast<std::size_t>(threads), State::runnable);
  warps_.assign(static_cast<std::size_t>(threads / lanes), Warp{});
  shared_.assign(static_cast<std::size_t>(shared_bytes), std::byte{nan_byte});
  accesses_.assign(shared_.size() / word_bytes, Access{});
  copies_.assign(static_cast<std::size_t>(threads), {});
  turns_.assign(static_cast<std::size_t>(threads), {});
  parts_.clear();
  async_.restart(threads / lanes, shared_);
  interval_ = 0;
  error_ = nullptr;
  const std::function<void(int)> guarded = [&](int thread) {
    try {
      body(thread);
      if (!copies_[static_cast<std::size_t>(thread)].empty()) fail(thread, "ends before its copies have");
    } catch (...) {
      error_ = std::current_exception();
    }
  };
  for (int thread = 0; thread < threads; ++thread) fibers_.restart(thread, guarded);
  const int warps = threads / lanes;
  const auto ended = [](State state) { return state == State::ended; };
  while (!std::ranges::all_of(states_, ended)) {
    for (int i = 0; i < warps; ++i) run_warp(descending ? warps - 1 - i : i, descending);
    release(descending);
  }
  async_.end();
}

/// Until no lane can go on.
void EmulatedBlock::run_warp(int warp, bool descending) {
  for (bool moved = true; moved;) {
    moved = false;
    for (int i = 0; i < lanes; ++i) {
      const int thread = warp * lanes + (descending ? lanes - 1 - i : i);
      State& state = states_[static_cast<std::size_t>(thread)];
      if (state != State::runnable) continue;
      moved = true;
      if (!fibers_.resume(thread)) state = State::ended;
      if (error_) std::rethrow_exception(error_);
    }
  }
}

/// Lets somebody go on, when nobody can: at barriers first, then by what is under way to them, at a sync last.
void EmulatedBlock::release(bool descending) {
  const auto waiting = std::ranges::count(states_, State::in_sync);
  if (std::ranges::count(states_, State::ended) == threads_) return;
  if (std::ranges::count(states_, State::runnable) > 0) return;  // others have let them go on
  if (release_barriers()) return;
  if (async_.land(descending)) return;
  if (waiting != threads_) throw EmulationError("deadlock: " + where());
  std::ranges::fill(states_, State::runnable);
  async_.synced();
  ++interval_;
}

/// True if a thread may go on.
bool EmulatedBlock::release_barriers() {
  bool any = false;
  for (std::size_t thread = 0; thread < states_.size(); ++thread) {
    if (states_[thread] != State::at_barrier) continue;
    if (!async_.is_over(turns_[thread].barrier, turns_[thread].parity)) continue;
    states_[thread] = State::runnable;
    any = true;
  }
  return any;
}

void EmulatedBlock::barrier_wait(int thread, std::uint32_t at, std::uint32_t parity) {
  if (!async_.is_over(at, parity)) {
    turns_[static_cast<std::size_t>(thread)] = {at, parity};
    states_[static_cast<std::size_t>(thread)] = State::at_barrier;
    fibers_.pause();
  }
  async_.observe(thread / lanes, at);
}

std::string EmulatedBlock::where() const {
  std::string text;
  for (int thread = 0; thread < threads_; ++thread) {
    const State state = states_[static_cast<std::size_t>(thread)];
    const char* const name = warps_[static_cast<std::size_t>(thread / lanes)].name;
    text += state == State::ended        ? "e"
            : state == State::in_sync    ? "s"
            : state == State::in_part    ? "p"
            : state == State::at_barrier ? "b"
            : name == nullptr            ? "?"
                                         : "c";
  }
  return text + " (per thread: e ended, s at a sync, p at one of a part, b at a barrier, c in an operation of its warp)";
}

void EmulatedBlock::fail(int thread, const std::string& what) const {
  throw EmulationError("thread " + std::to_string(thread) + " " + what);
}

void EmulatedBlock::sync(int thread) {
  states_[static_cast<std::size_t>(thread)] = State::in_sync;
  fibers_.pause();
}

/// The last to come lets all go on.
void EmulatedBlock::sync_part(int thread, int id, int threads) {
  constexpr int named_barriers = 16;
  if (id < 1 || id >= named_barriers || threads % lanes != 0) fail(thread, "syncs at no named barrier: " + std::to_string(id));
  Part& part = parts_[id];
  if (!part.here.empty() && part.threads != threads) fail(thread, "syncs with another number of threads than others");
  part.threads = threads;
  part.here.push_back(thread);
  if (std::ssize(part.here) < threads) {
    states_[static_cast<std::size_t>(thread)] = State::in_part;
    return fibers_.pause();
  }
  std::vector<int> warps;
  for (const int other : part.here) {
    states_[static_cast<std::size_t>(other)] = State::runnable;
    if (other % lanes == 0) warps.push_back(other / lanes);
  }
  if (std::ssize(warps) * lanes != threads) fail(thread, "syncs with a part of a warp");
  async_.order().meet(warps);
  part.here.clear();
}

void EmulatedBlock::collective(int thread, const char* name, void* slot, Execute execute) {
  Warp& warp = warps_[static_cast<std::size_t>(thread / lanes)];
  if (warp.arrived == 0) warp.name = name;
  if (warp.name != name && std::strcmp(warp.name, name) != 0)
    fail(thread, std::string("diverges: ") + name + " where others are at " + warp.name);
  warp.slots[static_cast<std::size_t>(thread % lanes)] = slot;
  if (++warp.arrived < lanes) {
    states_[static_cast<std::size_t>(thread)] = State::in_collective;
    return fibers_.pause();
  }
  execute(*this, warp.slots);
  warp.arrived = 0;
  const auto first = states_.begin() + thread / lanes * lanes;
  std::fill(first, first + lanes, State::runnable);
}

std::byte* EmulatedBlock::place(std::uint32_t at, std::size_t bytes, std::size_t alignment) {
  if ((at & (alignment - 1)) != 0 || at + bytes > shared_.size()) refuse(at, alignment);
  return shared_.data() + at;
}

void EmulatedBlock::refuse(std::uint32_t at, std::size_t alignment) {
  const std::string place = "access to shared memory at " + std::to_string(at);
  throw EmulationError(at % alignment != 0 ? "misaligned " + place : "out of range: " + place);
}

std::byte* EmulatedBlock::read(int thread, std::uint32_t at, std::size_t bytes, std::size_t alignment) {
  std::byte* const data = place(at, bytes, alignment);
  const auto self = static_cast<std::int16_t>(thread);
  for (std::size_t word = at / word_bytes; word < (at + bytes + word_bytes - 1) / word_bytes; ++word) {
    Access& access = accesses_[word];
    if (access.written == interval_ && access.writer != self) {
      fail(thread,
           "reads shared memory that thread " + std::to_string(access.writer) + " writes without a sync between");
    }
    access.reader = access.read == interval_ && access.reader != self ? many : self;
    access.read = interval_;
  }
  return data;
}

std::byte* EmulatedBlock::write(int thread, std::uint32_t at, std::size_t bytes, std::size_t alignment) {
  std::byte* const data = place(at, bytes, alignment);
  const auto self = static_cast<std::int16_t>(thread);
  for (std::size_t word = at / word_bytes; word < (at + bytes + word_bytes - 1) / word_bytes; ++word) {
    Access& access = accesses_[word];
    const bool read = access.read == interval_ && access.reader != self;
    const bool written = access.written == interval_ && access.writer != self;
    if (read || written) {
      fail(thread,
           "writes shared memory that others " + std::string(read ? "read" : "write") + " without a sync between");
    }
    access.writer = self;
    access.written = interval_;
  }
  return data;
}

void EmulatedBlock::copy_async(int thread, std::uint32_t at, const void* from, bool valid) {
  Copy copy{at, {}};
  memory_.check(from, valid ? copy.bytes.size() : 1, copy.bytes.size());
  if (valid) std::memcpy(copy.bytes.data(), from, copy.bytes.size());
  std::memset(write(thread, at, copy.bytes.size(), copy.bytes.size()), nan_byte, copy.bytes.size());
  copies_[static_cast<std::size_t>(thread)].push_back(copy);
}

void EmulatedBlock::wait(int thread) {
  auto& copies = copies_[static_cast<std::size_t>(thread)];
  for (const Copy& copy : copies) {
    std::memcpy(write(thread, copy.at, copy.bytes.size(), copy.bytes.size()), copy.bytes.data(), copy.bytes.size());
  }
  copies.clear();
}

void EmulatedMachine::warp_operation(const char* name, WarpWork work) const {
  struct Slot {
    WarpWork work;
    int warp;
  } slot{work, warp()};
  owner_.collective(thread_, name, &slot, [](EmulatedBlock& block, const std::array<void*, 32>& slots) {
    const Slot& any = *static_cast<const Slot*>(slots[0]);
    any.work(block.async(), any.warp);
  });
}

void EmulatedMachine::multiply_group(const WarpProduct& operands, float* c, const std::uint32_t* a) const {
  struct Slot {
    const WarpProduct* operands;
    float* c;
    const std::uint32_t* a;
    int warp;
  } slot{&operands, c, a, warp()};
  owner_.collective(thread_, "wgmma", &slot, [](EmulatedBlock& block, const std::array<void*, 32>& slots) {
    const Slot& first = *static_cast<const Slot*>(slots[0]);
    WarpProduct product = *first.operands;
    for (std::size_t lane = 0; lane < slots.size(); ++lane) {
      const Slot& from = *static_cast<const Slot*>(slots[lane]);
      if (!from.operands->same_operands(product)) throw EmulationError("lanes of a warp multiply different matrices");
      product.c[lane] = from.c;
      if (from.a != nullptr) std::copy_n(from.a, 4, product.a[lane].begin());
    }
    block.async().multiply(first.warp, product);
  });
}

float EmulatedMachine::exchange(const char* name, float x, int source) const {
  struct Slot {
    float x;
    int source;
    float result;
  } slot{x, source, 0};
  owner_.collective(thread_, name, &slot, [](EmulatedBlock&, const std::array<void*, 32>& slots) {
    for (void* const of_lane : slots) {
      Slot& mine = *static_cast<Slot*>(of_lane);
      mine.result = static_cast<const Slot*>(slots[static_cast<std::size_t>(mine.source)])->x;
    }
  });
  return slot.result;
}

bool EmulatedMachine::all(bool x) const {
  owner_.collective(thread_, "all", &x, [](EmulatedBlock&, const std::array<void*, 32>& slots) {
    const bool every = std::ranges::all_of(slots, [](void* slot) { return *static_cast<bool*>(slot); });
    for (void* const slot : slots) *static_cast<bool*>(slot) = every;
  });
  return x;
}

/// Lanes 8i to 8i + 7 give the addresses of the eight rows of matrix i; lane 4g + t receives elements 2t and 2t + 1 of
/// row g in r[i], transposed elements g of rows 2t and 2t + 1.
void EmulatedMachine::matrices(const char* name, std::uint32_t at, std::uint32_t (&r)[4], bool transposed) const {
  struct Slot {
    int thread;
    std::uint32_t at;
    std::uint32_t* r;
    bool transposed;
  } slot{thread_, at, r, transposed};
  owner_.collective(thread_, name, &slot, [](EmulatedBlock& block, const std::array<void*, 32>& slots) {
    for (std::size_t matrix = 0; matrix < 4; ++matrix) {
      std::array<std::array<std::uint16_t, 8>, 8> rows;
      for (std::size_t row = 0; row < 8; ++row) {
        const Slot& from = *static_cast<const Slot*>(slots[8 * matrix + row]);
        std::memcpy(rows[row].data(), block.read(from.thread, from.at, 16, 16), 16);
      }
      for (std::size_t lane = 0; lane < 32; ++lane) {
        const Slot& to = *static_cast<const Slot*>(slots[lane]);
        const std::size_t g = lane / 4;
        const std::size_t t = lane % 4;
        const std::uint32_t low = to.transposed ? rows[2 * t][g] : rows[g][2 * t];
        const std::uint32_t high = to.transposed ? rows[2 * t + 1][g] : rows[g][2 * t + 1];
        to.r[matrix] = low | high << 16;
      }
    }
  });
}

/// The inverse of matrices(): lanes 8i to 8i + 7 say where rows of matrix i go, whose elements are spread over all lanes.
void EmulatedMachine::store_matrices_transposed(std::uint32_t at, const std::uint32_t (&r)[4]) const {
  struct Slot {
    int thread;
    std::uint32_t at;
    const std::uint32_t* r;
  } slot{thread_, at, r};
  owner_.collective(thread_, "stmatrix.trans", &slot, [](EmulatedBlock& block, const std::array<void*, 32>& slots) {
    constexpr std::uint32_t row_bytes = 16;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const Slot& to = *static_cast<const Slot*>(slots[i]);
      std::array<std::uint16_t, 8> row;
      for (std::size_t g = 0; g < row.size(); ++g) {  // element (g, i % 8) of matrix i / 8 is lane 4g + (i % 8) / 2's
        const Slot& from = *static_cast<const Slot*>(slots[4 * g + i % 8 / 2]);
        row[g] = static_cast<std::uint16_t>(from.r[i / 8] >> 16 * (i % 2));
      }
      std::memcpy(block.write(to.thread, to.at, row_bytes, row_bytes), row.data(), row_bytes);
      block.async().order().write(to.thread, {to.at, to.at + row_bytes});
    }
  });
}

/// mma.m16n8k16. Of A lane 4g + t holds rows g, g + 8, g, g + 8 at columns 2t, 2t, 2t + 8, 2t + 8 and their right
/// neighbours; of B column g at rows 2t, 2t + 1 and 2t + 8, 2t + 9; of C rows g and g + 8 at columns 2t, 2t + 1.
template <class T>
void EmulatedMachine::multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) const {
  struct Slot {
    float* c;
    const std::uint32_t* a;
    std::uint32_t b[2];
  } slot{c, a, {b0, b1}};
  owner_.collective(thread_, "mma", &slot, [](EmulatedBlock&, const std::array<void*, 32>& slots) {
    float left[16][16];
    float right[16][8];
    const auto value = [](std::uint32_t word, std::size_t half) {
      return to_float(T{static_cast<std::uint16_t>(word >> 16 * half)});
    };
    for (std::size_t lane = 0; lane < 32; ++lane) {
      const Slot& from = *static_cast<const Slot*>(slots[lane]);
      const std::size_t g = lane / 4;
      const std::size_t t = lane % 4;
      for (std::size_t half = 0; half < 2; ++half) {
        for (std::size_t i = 0; i < 4; ++i) left[g + i % 2 * 8][2 * t + i / 2 * 8 + half] = value(from.a[i], half);
        for (std::size_t i = 0; i < 2; ++i) right[2 * t + i * 8 + half][g] = value(from.b[i], half);
      }
    }
    for (std::size_t lane = 0; lane < 32; ++lane) {
      const Slot& to = *static_cast<const Slot*>(slots[lane]);
      for (std::size_t e = 0; e < 4; ++e) {
        const float* const row = left[lane / 4 + e / 2 * 8];
        const std::size_t column = 2 * (lane % 4) + e % 2;
        float sum = to.c[e];
        for (std::size_t k = 0; k < 16; ++k) sum += row[k] * right[k][column];
        to.c[e] = sum;
      }
    }
  });
}
template void EmulatedMachine::multiply<bf16>(float (&)[4], const std::uint32_t (&)[4], std::uint32_t,
                                              std::uint32_t) const;
template void EmulatedMachine::multiply<f16>(float (&)[4], const std::uint32_t (&)[4], std::uint32_t,
                                             std::uint32_t) const;

}  // namespace annulus::test
