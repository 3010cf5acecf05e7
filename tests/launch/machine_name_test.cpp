/// What tells nodes apart, and what must not.
// SPDX-License-Identifier: Apache-2.0
#include "launch/machine_name.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/launch/program.hpp"

namespace annulus::launch {
namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

TEST(BuiltInGib, IsTheSameForNodesThatKeepMoreOrLessForThemselves) {
  EXPECT_EQ(built_in_gib(23745 * mib), 24U);
  EXPECT_EQ(built_in_gib(24010 * mib), 24U);
  EXPECT_EQ(built_in_gib(31 * 1024 * mib), 32U);
  EXPECT_EQ(built_in_gib(32 * 1024 * mib), 32U);
  EXPECT_EQ(built_in_gib(376 * 1024 * mib), 384U);
  EXPECT_EQ(built_in_gib(503 * 1024 * mib), 512U);
}

TEST(BuiltInGib, TellsSizesApart) {
  EXPECT_EQ(built_in_gib(1), 1U);
  EXPECT_EQ(built_in_gib(1900 * mib), 2U);
  EXPECT_EQ(built_in_gib(2900 * mib), 3U);
  EXPECT_EQ(built_in_gib(7900 * mib), 8U);
  EXPECT_EQ(built_in_gib(15900 * mib), 16U);
}

TEST(CacheSizes, AreOfDataByLevel) {
  const test::Folder folder;
  const auto add = [&](const std::string& name, const std::string& level, const std::string& type, const std::string& size) {
    const std::filesystem::path one = folder / name;
    std::filesystem::create_directory(one);
    std::ofstream(one / "level") << level << "\n";
    std::ofstream(one / "type") << type << "\n";
    std::ofstream(one / "size") << size << "\n";
  };
  EXPECT_EQ(cache_sizes(folder / "absent"), "");
  add("index0", "1", "Data", "48K");
  add("index1", "1", "Instruction", "32K");
  add("index2", "2", "Unified", "1024K");
  add("index3", "3", "Unified", "32768K");
  EXPECT_EQ(cache_sizes(folder / ""), " 48K 1024K 32768K");
}

TEST(NodeText, SaysTheSameTwice) {
  EXPECT_NE(node_text().find(" cores"), std::string::npos);
  EXPECT_EQ(node_text(), node_text());
}

}  // namespace
}  // namespace annulus::launch
