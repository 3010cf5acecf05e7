/// Owned, aligned host memory whose size is checked before it is allocated.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/checked.hpp"

namespace annulus {

inline constexpr std::size_t buffer_alignment = 64;  ///< one cache line, one zmm register

/// Aligned memory that its buffers give back here when they end: the next buffer of that size takes it, so that pages are
/// touched once and not in every call. Outlives its buffers. Not for several threads.
class BufferPool {
 public:
  BufferPool() = default;
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool() {
    for (const Free& block : free_) std::free(block.data);
  }

  void* take(std::size_t bytes) {
    const auto found = std::find_if(free_.begin(), free_.end(), [&](const Free& block) { return block.bytes == bytes; });
    if (found == free_.end()) {
      free_.reserve(++blocks_);  // so that give() has room: it is called from destructors
      return allocate(bytes);
    }
    void* const data = found->data;
    free_.erase(found);
    return data;
  }
  void give(void* data, std::size_t bytes) noexcept { free_.push_back({data, bytes}); }

  /// Throws ResourceError with the bytes asked for, a multiple of the alignment.
  static void* allocate(std::size_t bytes) {
    void* const data = std::aligned_alloc(buffer_alignment, bytes);
    if (data == nullptr) throw ResourceError("cannot allocate " + std::to_string(bytes) + " bytes (out of memory)");
    return data;
  }

 private:
  struct Free {
    void* data;
    std::size_t bytes;
  };
  std::vector<Free> free_;
  std::size_t blocks_ = 0;  ///< free or taken
};

/// `size` elements of a trivial T, aligned to a cache line, uninitialised. Throws ResourceError with the bytes asked for.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t size) : Buffer(size, nullptr) {}
  /// From `pool`, which outlives the buffer.
  Buffer(std::int64_t size, BufferPool& pool) : Buffer(size, &pool) {}
  T* data() const { return data_.get(); }
  std::int64_t size() const { return size_; }
  T& operator[](std::int64_t i) const { return data_.get()[i]; }
  std::span<T> span() const { return {data_.get(), static_cast<std::size_t>(size_)}; }
  void clear() const {
    if (size_ > 0) std::memset(static_cast<void*>(data_.get()), 0, static_cast<std::size_t>(size_) * sizeof(T));
  }

 private:
  struct GiveBack {
    BufferPool* pool = nullptr;
    std::size_t bytes = 0;
    void operator()(T* p) const {
      if (pool == nullptr) {
        std::free(p);
      } else {
        pool->give(p, bytes);
      }
    }
  };

  Buffer(std::int64_t size, BufferPool* pool) : size_(size) {
    const std::uint64_t bytes = checked_product({size, static_cast<std::int64_t>(sizeof(T))});
    if (bytes == 0) return;
    const std::size_t padded = round_up(static_cast<std::int64_t>(bytes), buffer_alignment);
    void* const data = pool == nullptr ? BufferPool::allocate(padded) : pool->take(padded);
    data_ = std::unique_ptr<T, GiveBack>(static_cast<T*>(data), {pool, padded});
  }

  std::unique_ptr<T, GiveBack> data_;
  std::int64_t size_ = 0;
};

}  // namespace annulus
