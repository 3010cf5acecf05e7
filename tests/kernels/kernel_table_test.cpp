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
    EXPECT_TRUE(table.packed_rows && table.pack && table.pass_bytes && table.forward && table.backward) << table.name;
    EXPECT_TRUE(table.gradient_rows && table.unpack_gradient) << table.name;
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

/// What the ring relies on where only the first rows of a block travel on.
TEST(KernelTable, TheFirstRowsOfAPackedBlockArePackedAlone) {
  constexpr std::int64_t batch = 2;
  constexpr std::int64_t heads = 3;
  constexpr std::int64_t head_dim = 40;
  constexpr std::int64_t rows = 150;
  Workers workers(1);
  std::vector<std::byte> elements(batch * rows * heads * head_dim * 4);
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<std::byte>(i * 2654435761U >> 13 & 0x3f);
  for (const KernelTable& table : kernel_tables()) {
    if (!table.unavailable.empty()) continue;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const Direction direction : {Direction::forward, Direction::backward}) {
        const auto pack = [&](std::int64_t first_rows) {
          const BlockShape shape{batch, first_rows, heads, head_dim, dtype};
          const ConstTensorView view{.data = elements.data(),
                                     .dtype = dtype,
                                     .batch = batch,
                                     .rows = first_rows,
                                     .heads = heads,
                                     .head_dim = head_dim,
                                     .batch_stride = rows * heads * head_dim,
                                     .row_stride = heads * head_dim,
                                     .head_stride = head_dim};
          std::vector<std::byte> packed(table.packed_bytes(shape, direction) + buffer_alignment);
          const auto address = reinterpret_cast<std::uintptr_t>(packed.data());
          std::byte* const aligned = packed.data() + (buffer_alignment - address % buffer_alignment);
          table.pack(shape, direction, view, view, aligned, workers);
          return std::vector<std::byte>(aligned, aligned + table.packed_bytes(shape, direction));
        };
        const RowArray array = table.packed_rows({batch, rows, heads, head_dim, dtype}, direction);
        const std::vector<std::byte> whole = pack(rows);
        for (const std::int64_t first : {array.granule, 3 * array.granule, rows}) {
          std::vector<std::byte> cut;
          for (const ByteRun& run : array.runs(rows, 0, first)) {
            const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(run.offset);
            cut.insert(cut.end(), begin, begin + static_cast<std::ptrdiff_t>(run.bytes));
          }
          EXPECT_EQ(cut, pack(first)) << table.name << ", " << name(dtype) << ", " << first << " rows";
        }
        EXPECT_EQ(table.gradient_rows({batch, rows, heads, head_dim, dtype}).granule, 1) << table.name;
      }
    }
  }
}

TEST(RowArray, CutsAndCopiesRunsOfAnyLength) {
  const RowArray array{.heads = 2, .k_bytes = 2, .v_bytes = 3, .granule = 4};
  EXPECT_EQ(array.bytes(5), 2U * 8 * 5);
  EXPECT_EQ(array.runs(5, 0, 5), (std::vector<ByteRun>{{0, 80}}));
  EXPECT_EQ(array.runs(5, 4, 5), (std::vector<ByteRun>{{8, 8}, {28, 12}, {48, 8}, {68, 12}}));
  EXPECT_TRUE(array.runs(5, 4, 4).empty());
  const std::string_view from = "0123456789";
  std::string to = "..........";
  copy_runs(reinterpret_cast<std::byte*>(to.data()), std::vector<ByteRun>{{1, 4}, {9, 1}},
            reinterpret_cast<const std::byte*>(from.data()), std::vector<ByteRun>{{0, 1}, {3, 0}, {5, 4}});
  EXPECT_EQ(to, ".0567....8");
}

}  // namespace
}  // namespace annulus::kernels
