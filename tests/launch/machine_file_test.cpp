/// Machine descriptions: what is written is read again, and whatever no machine has is refused by file, line and key.
// SPDX-License-Identifier: Apache-2.0
#include "launch/machine_file.hpp"

#include <gtest/gtest.h>

#include "kernels/base/error.hpp"
#include "tests/launch/example_machine.hpp"

namespace annulus::launch {
namespace {

using forecast::Machine;
using kernels::Direction;
using test::example_machine;
using test::replaced;

TEST(MachineFile, ReadsEveryFigure) {
  const test::Folder folder;
  const Machine machine = read_machine(test::write_machine(folder));
  EXPECT_EQ(machine.name, "two nodes");
  EXPECT_EQ(machine.source, "made up");
  EXPECT_EQ(machine.backend, "auto");
  EXPECT_EQ(machine.cores_per_node, 4);
  EXPECT_EQ(machine.memory_per_node, 1000000000U);
  EXPECT_EQ(machine.node->latency_seconds, 1e-6);
  EXPECT_EQ(machine.node->bytes_per_second, 1e10);
  EXPECT_EQ(machine.node->busy_share, 0.5);
  EXPECT_EQ(machine.network->latency_seconds, 1e-5);
  EXPECT_EQ(machine.network->bytes_per_second, 1e9);
  EXPECT_EQ(machine.network->busy_share, 0);
  EXPECT_EQ(machine.node_ports_bytes_per_second, 2e9);
  EXPECT_EQ(machine.projection_flops_per_second, 5e10);
  EXPECT_EQ(machine.weights_per_second, 1e9);
  EXPECT_EQ(machine.file_write_bytes_per_second, 0);
  ASSERT_EQ(machine.kernels.size(), 2U);
  EXPECT_EQ(machine.kernels[0].flops_per_second, 1e11);
  EXPECT_EQ(machine.kernels[0].edge_keys, 20);
  EXPECT_EQ(machine.kernels[0].row_seconds, 1e-7);
  EXPECT_EQ(machine.kernels[0].step_row_seconds, 2e-8);
  EXPECT_EQ(machine.kernels[1].direction, Direction::backward);
  EXPECT_EQ(machine.kernels[1].edge_keys, 0);
}

TEST(MachineFile, ReadsWhatItWrites) {
  const test::Folder folder;
  Machine machine = read_machine(test::write_machine(folder));
  machine.name = "a \"quoted\" \\ name\nof two lines";
  machine.file_write_bytes_per_second = 1.25e9;
  const std::string text = machine_text(machine);
  const Machine again = read_machine(test::write_machine(folder, text));
  EXPECT_EQ(again.name, "a \"quoted\" \\ name of two lines");
  EXPECT_EQ(again.file_write_bytes_per_second, 1.25e9);
  machine.name = again.name;
  EXPECT_EQ(machine_text(again), machine_text(machine));
}

TEST(MachineFile, WritesNoNameThatItCannotRead) {
  const test::Folder folder;
  Machine machine = read_machine(test::write_machine(folder));
  machine.name = "M\xc3\xbcller's \x7f\xff\t machine";
  EXPECT_EQ(read_machine(test::write_machine(folder, machine_text(machine))).name, "M\xc3\xbcller's  \xef\xbf\xbd  machine");
}

TEST(MachineFile, KnowsWhatWasNotMeasured) {
  const test::Folder folder;
  std::string text = example_machine;
  text.erase(text.find("[network]"), text.find("[rows]") - text.find("[network]"));
  EXPECT_FALSE(read_machine(test::write_machine(folder, text)).network);
  Machine alone = read_machine(test::write_machine(folder));
  alone.node = alone.network = std::nullopt;
  const Machine again = read_machine(test::write_machine(folder, machine_text(alone)));
  EXPECT_FALSE(again.node);
  EXPECT_FALSE(again.network);
}

TEST(MachineFile, RefusesWhatNoMachineHas) {
  const test::Folder folder;
  const auto expect_refusal = [&](const std::string& what, const std::string& with, const std::string& said) {
    const std::string path = test::write_machine(folder, replaced(example_machine, what, with));
    try {
      (void)read_machine(path);
      ADD_FAILURE() << "read with " << with;
    } catch (const InputError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with(path)) << error.what();
      EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
    }
  };
  expect_refusal("busy_share", "busy_shares", ":9: node.busy_shares is unknown");
  expect_refusal("cores = 4", "cores = 0", ":5: node.cores is no whole number above 0");
  expect_refusal("cores = 4", "cores = 4.5", "node.cores is no whole number");
  expect_refusal("bytes_per_second = 1e10", "bytes_per_second = 0", ":8: node.bytes_per_second is no number");
  expect_refusal("bytes_per_second = 1e10", "bytes_per_second = nan", "node.bytes_per_second is no number");
  expect_refusal("latency_seconds = 1e-6", "latency_seconds = -1", "node.latency_seconds is no number");
  expect_refusal("latency_seconds = 1e-6\n", "", "node.latency_seconds is missing");
  expect_refusal("cores = 4", "cores = 99999999999", ":5: node.cores is more than");
  expect_refusal("busy_share = 0.5", "busy_share = 2", "node.busy_share is no number in [0, 1]");
  expect_refusal("backend = \"auto\"", "backend = \"abacus\"", "backend 'abacus' is unknown");
  expect_refusal("name = \"two nodes\"", "name = 2", ":1: name is no text");
  expect_refusal("[node]", "[nodes]", "nodes is unknown");
  expect_refusal("dtype = \"f32\"", "dtype = \"f64\"", "'f64' is unknown");
  expect_refusal("direction = \"backward\"", "direction = \"back\"", "'back' is unknown");
  expect_refusal("flops_per_second = 9e10", "flops_per_second = inf", "kernel.flops_per_second");
  expect_refusal("source = \"made up\"", "source = \"made up", ":2:");
  EXPECT_THROW((void)read_machine(folder / "absent.toml"), InputError);
  EXPECT_THROW((void)read_machine(folder / ""), InputError);
  const std::string all = example_machine;
  EXPECT_THROW((void)read_machine(test::write_machine(folder, all.substr(0, all.find("[[kernel]]")))), InputError);
}

}  // namespace
}  // namespace annulus::launch
