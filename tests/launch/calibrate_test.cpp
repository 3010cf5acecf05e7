/// `annulus calibrate` as a user meets it. What it measures depends on the machine; that it is a machine does not.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "launch/machine_file.hpp"
#include "launch/machine_name.hpp"
#include "runtime/forecast/attention_forecast.hpp"
#include "tests/launch/program.hpp"
#include "tests/launch/refusal.hpp"

namespace annulus::test {
namespace {

using kernels::Direction;
using Words = std::vector<std::string>;

TEST(Calibrate, DescribesTheMachine) {
  const Folder folder;
  const std::string path = folder / "here.toml";
  std::ofstream(path) << "# A machine for `annulus plan` and `annulus study`. Cut sho";
  const Outcome outcome = run_program(2, {"calibrate", path, "--name", "a \"test\"", "--samples", "1", "--folder", folder / "."});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("not measured (one node)"), std::string::npos) << outcome.out;
  EXPECT_EQ(folder.names(), std::set<std::string>{"here.toml"}) << "what was written to measure is gone";
  const forecast::Machine machine = launch::read_machine(path);
  EXPECT_EQ(machine.name, "a \"test\"");
  EXPECT_NE(machine.source.find("2 ranks, 2 on a node"), std::string::npos) << machine.source;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const Direction direction : {Direction::forward, Direction::backward}) {
      for (const std::int64_t head_dim : {64, 128}) {
        const forecast::KernelSpeed& speed = forecast::kernel_speed(machine, dtype, head_dim, direction);
        EXPECT_EQ(speed.head_dim, head_dim);
        EXPECT_GT(speed.flops_per_second, 1e8);
        EXPECT_LT(speed.flops_per_second, 1e13) << "of one core";
        EXPECT_LT(speed.row_seconds, 1e-3);
        EXPECT_LT(speed.edge_keys, 2000);
      }
    }
  }
  EXPECT_GT(machine.node.value().bytes_per_second, 1e7);
  EXPECT_LT(machine.node.value().latency_seconds, 1);
  EXPECT_GT(machine.projection_flops_per_second, 1e8);
  EXPECT_GT(machine.weights_per_second, 1e6);
  EXPECT_GT(machine.file_write_bytes_per_second, 1e6);
  EXPECT_GT(machine.memory_per_node, std::uint64_t{1} << 28);
  EXPECT_EQ(run_program(plainly, {"plan", "--seq-len", "64k", "--machine", path}).code, 0);
}

TEST(Calibrate, SaysNothingOfLinksThatItDoesNotMeasure) {
  const Folder folder;
  const std::string path = folder / "alone.toml";
  ASSERT_EQ(run_program(plainly, {"calibrate", path, "--samples", "1"}).code, 0);
  const forecast::Machine machine = launch::read_machine(path);
  EXPECT_FALSE(machine.node);
  EXPECT_FALSE(machine.network);
  const Outcome planned = run_program(plainly, {"plan", "--seq-len", "64k", "--machine", path});
  EXPECT_EQ(planned.code, 0) << planned.err;
  EXPECT_NE(planned.out.find("how fast the network between nodes is"), std::string::npos) << planned.out;
  EXPECT_EQ(planned.out.find("hides behind"), std::string::npos) << "no link, no threshold";
  const Outcome near = run_program(plainly, {"plan", "--seq-len", "64k", "--machine", path, "--ranks", "1,2"});
  EXPECT_NE(near.out.find("how fast a message between ranks of a node is"), std::string::npos) << near.out;
  const Words unknown{"plan", "--seq-len", "64k", "--machine", path, "--compare", "--ranks", "2", "--ranks-per-node"};
  Words within = unknown;
  within.emplace_back("2");
  expect_refusal(run_program(plainly, within), 3, "has no link between ranks of a node");
  Words between = unknown;
  between.emplace_back("1");
  expect_refusal(run_program(plainly, between), 3, "has no link between nodes");
}

TEST(Calibrate, KeepsWhatIsNoMachine) {
  const Folder folder;
  const std::string path = folder / "thesis.txt";
  std::ofstream(path) << "an old one\n";
  expect_refusal(run_program(3, {"calibrate", path, "--samples", "1"}), 2, "describes no machine");
  std::string line;
  std::getline(std::ifstream(path), line);
  EXPECT_EQ(line, "an old one");
}

TEST(Calibrate, SaysThatRanksShareCores) {
  const Folder folder;
  const int many = launch::node_cores() + 1;
  const Outcome outcome = run_program(many, {"calibrate", folder / "x", "--samples", "1"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_NE(outcome.err.find(std::to_string(many) + " ranks share"), std::string::npos) << outcome.err;
}

TEST(Calibrate, RefusesBeforeItMeasures) {
  const Folder folder;
  expect_refusal(run_program(plainly, {"calibrate"}), 2, "FILE.toml is missing");
  expect_refusal(run_program(3, {"calibrate", folder / "x", "--samples", "0"}), 2, "--samples");
  expect_refusal(run_program(plainly, {"calibrate", folder / "x", "--samples", "1001"}), 2, "--samples");
  expect_refusal(run_program(plainly, {"calibrate", folder / "x", "--backend", "fast"}), 2, "fast");
  expect_refusal(run_program(3, {"calibrate", folder / "absent/x"}), 4, "absent/x");
  expect_refusal(run_program(plainly, {"calibrate", folder / "x", "--folder", folder / "absent", "--samples", "1"}), 4, "absent");
  EXPECT_EQ(folder.names(), std::set<std::string>{});
}

}  // namespace
}  // namespace annulus::test
