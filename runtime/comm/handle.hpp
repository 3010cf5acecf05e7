/// One owner for every raw handle of a C library.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

namespace annulus {

/// Move-only, empty by default. Traits: Raw, empty(), release(Raw) noexcept. `empty` is a function because the null
/// handles of Open MPI are no constant expressions.
template <class Traits>
class Handle {
 public:
  using Raw = typename Traits::Raw;
  Handle() = default;
  explicit Handle(Raw raw) : raw_(raw) {}
  Handle(Handle&& other) noexcept : raw_(std::exchange(other.raw_, Traits::empty())) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  ~Handle() {
    if (raw_ != Traits::empty()) Traits::release(raw_);
  }
  Raw get() const { return raw_; }

 private:
  Raw raw_ = Traits::empty();
};

}  // namespace annulus
