/// Bodies on the emulator, and what it finds wrong with them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/emulated_machine.hpp"

namespace annulus::test {

using Body = std::function<void(EmulatedMachine&)>;

inline void run(int threads, std::int64_t shared_bytes, const Body& body, bool descending = false) {
  const EmulatedMemory memory;
  EmulatedBlock block(memory);
  block.run(threads, shared_bytes, descending, [&](int thread) {
    EmulatedMachine machine(block, thread, 0);
    body(machine);
  });
}

inline std::string fault(int threads, std::int64_t shared_bytes, const Body& body) {
  try {
    run(threads, shared_bytes, body);
  } catch (const EmulationError& error) {
    return error.what();
  }
  return "no fault";
}

inline void expect_fault(const char* words, const std::string& got) { EXPECT_NE(got.find(words), std::string::npos) << got; }

}  // namespace annulus::test
