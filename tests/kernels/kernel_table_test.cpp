/// Choosing a backend: what each word means, and what the refusals say.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/base/error.hpp"

namespace annulus::kernels {
namespace {

std::string refusal(std::string_view wanted, DType dtype) {
  try {
    kernel_table(wanted, dtype);
  } catch (const UsageError& error) {
    return error.what();
  }
  ADD_FAILURE() << wanted << " was not refused";
  return {};
}

const KernelTable& row(std::string_view name) { return *std::ranges::find(kernel_tables(), name, &KernelTable::name); }

TEST(KernelTable, ListsEveryBackendOnce) {
  std::vector<std::string_view> names;
  for (const KernelTable& table : kernel_tables()) names.push_back(table.name);
  EXPECT_EQ(names, (std::vector<std::string_view>{"reference", "portable", "avx2", "avx512", "avx512-bf16", "cuda"}));
}

TEST(KernelTable, AvailableRowsAreWhole) {
  for (const KernelTable& table : kernel_tables()) {
    if (!table.unavailable.empty()) continue;
    EXPECT_TRUE(table.packed_bytes && table.pack && table.pass_bytes && table.forward && table.backward) << table.name;
    EXPECT_TRUE(table.gradient_elements && table.unpack_gradient) << table.name;
  }
}

TEST(KernelTable, FindsRowsByName) {
  EXPECT_EQ(kernel_table("reference", DType::f64).name, "reference");
  EXPECT_EQ(kernel_table("portable", DType::bf16).name, "portable");
}

TEST(KernelTable, AutoIsTheLastCpuRowThatRunsHereAndPairsServeBf16Alone) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    std::string_view best;
    for (const KernelTable& table : kernel_tables()) {
      const bool served = table.name != "avx512-bf16" || dtype == DType::bf16;
      if (table.unavailable.empty() && table.name != "cuda" && served) best = table.name;
    }
    EXPECT_NE(best, "reference");
    EXPECT_EQ(kernel_table("auto", dtype).name, best);
    EXPECT_EQ(kernel_table("simd", dtype).name, best);
  }
  EXPECT_EQ(kernel_table("auto", DType::f64).name, "reference");
}

TEST(KernelTable, RefusesF64OutsideTheReference) {
  EXPECT_NE(refusal("simd", DType::f64).find("try reference"), std::string::npos);
  EXPECT_NE(refusal("portable", DType::f64).find("does not take f64"), std::string::npos);
}

TEST(KernelTable, RefusalsListWhatRunsHere) {
  EXPECT_NE(refusal("fpga", DType::f32).find("unknown backend 'fpga'"), std::string::npos);
  EXPECT_NE(refusal("fpga", DType::f32).find(available_backends()), std::string::npos);
  EXPECT_NE(refusal("", DType::f32).find("unknown backend"), std::string::npos);
}

TEST(KernelTable, AbsentRowsSayWhy) {
  if (row("cuda").unavailable.empty()) GTEST_SKIP() << "there is a GPU";
  EXPECT_NE(refusal("cuda", DType::f32).find(row("cuda").unavailable), std::string::npos);
  EXPECT_EQ(available_backends().find("cuda"), std::string::npos);
}

TEST(KernelTable, SizesAreChecked) {
  const std::int64_t huge = std::int64_t{1} << 40;
  for (const KernelTable& table : kernel_tables()) {
    if (!table.unavailable.empty()) continue;
    const BlockShape block{.batch = huge, .rows = huge, .kv_heads = 2, .head_dim = 64};
    EXPECT_THROW(table.packed_bytes(block, Direction::forward), ResourceError) << table.name;
    const BlockShape empty{.batch = 2, .rows = 0, .kv_heads = 2, .head_dim = 64};
    EXPECT_EQ(table.packed_bytes(empty, Direction::forward), 0U) << table.name;
    EXPECT_EQ(table.gradient_elements(empty), 0) << table.name;
    Problem problem;
    problem.q_rows = huge;
    problem.heads = huge;
    EXPECT_THROW(table.pass_bytes(problem, Direction::forward), ResourceError) << table.name;
    EXPECT_THROW(table.pass_bytes(problem, Direction::backward), ResourceError) << table.name;
  }
}

}  // namespace
}  // namespace annulus::kernels
