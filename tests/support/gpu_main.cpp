/// The main of tests that need a GPU: without one the program says so by its exit code, 77, which ctest reports as skipped; with
/// ANNULUS_NEED_GPU in the environment that is a failure.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "kernels/kernel_table.hpp"

namespace {

constexpr int skipped = 77;

/// A run in which every test skipped itself has shown nothing.
int run_tests() {
  const int failed = RUN_ALL_TESTS();
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  if (all.test_to_run_count() == 0) {
    std::fprintf(stderr, "no test ran: the filter matches none\n");
    return 1;
  }
  return failed == 0 && all.skipped_test_count() == all.test_to_run_count() ? skipped : failed;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const auto& table = annulus::kernels::kernel_tables().back();  // cuda
  if (table.unavailable.empty()) return run_tests();
  std::fprintf(stderr, "%s does not run here: %s\n", std::string(table.name).c_str(), std::string(table.unavailable).c_str());
  return std::getenv("ANNULUS_NEED_GPU") == nullptr ? skipped : 1;
}
