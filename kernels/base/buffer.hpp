/// Owned, aligned host memory whose size is checked before it is allocated.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "kernels/base/checked.hpp"

namespace annulus {

inline constexpr std::size_t buffer_alignment = 64;  ///< one cache line, one zmm register

/// `size` elements of a trivial T, aligned to a cache line, uninitialised. Throws ResourceError with the bytes asked for.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t size) : size_(size) {
    const std::uint64_t bytes = checked_product({size, static_cast<std::int64_t>(sizeof(T))});
    if (bytes == 0) return;
    data_.reset(static_cast<T*>(std::aligned_alloc(buffer_alignment, round_up(bytes, buffer_alignment))));
    if (!data_) throw ResourceError("cannot allocate " + std::to_string(bytes) + " bytes (out of memory)");
  }
  T* data() const { return data_.get(); }
  std::int64_t size() const { return size_; }
  T& operator[](std::int64_t i) const { return data_.get()[i]; }
  std::span<T> span() const { return {data_.get(), static_cast<std::size_t>(size_)}; }
  void clear() const {
    if (size_ > 0) std::memset(static_cast<void*>(data_.get()), 0, static_cast<std::size_t>(size_) * sizeof(T));
  }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  std::int64_t size_ = 0;
};

}  // namespace annulus
