/// Stacks that take turns on one thread: what emulated CUDA threads run on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace annulus::test {

/// Runs functions on stacks of their own. Not for several threads; a fiber's function must not let exceptions out.
class Fibers {
 public:
  explicit Fibers(int count);
  ~Fibers();
  Fibers(const Fibers&) = delete;
  Fibers& operator=(const Fibers&) = delete;

  /// Makes fiber `index` begin anew with body(index) when it is next resumed, whatever it was doing.
  void restart(int index, const std::function<void(int)>& body);
  /// From outside: runs a fiber until it pauses (true) or its function returns (false).
  bool resume(int index);
  /// From inside a fiber: gives the turn back to the one who resumed it.
  void pause();

 private:
  struct Fiber;
  struct Home;
  static void enter();

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::unique_ptr<Home> home_;
  Fiber* current_ = nullptr;
};

}  // namespace annulus::test
