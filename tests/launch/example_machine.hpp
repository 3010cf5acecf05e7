/// A machine description for tests, written where they want it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <string>

#include "tests/launch/program.hpp"

namespace annulus::test {

inline constexpr const char* example_machine = R"(name = "two nodes"
source = "made up"
backend = "auto"
[node]
cores = 4
memory_bytes = 1000000000
latency_seconds = 1e-6
bytes_per_second = 1e10
busy_share = 0.5
[network]
latency_seconds = 1e-5
bytes_per_second = 1e9
node_ports_bytes_per_second = 2e9
[rows]
projection_flops_per_second = 5e10
weights_per_second = 1e9
[[kernel]]
dtype = "f32"
head_dim = 64
direction = "forward"
flops_per_second = 1e11
edge_keys = 20
row_seconds = 1e-7
step_row_seconds = 2e-8
[[kernel]]
dtype = "f32"
head_dim = 64
direction = "backward"
flops_per_second = 9e10
)";

inline std::string write_machine(const Folder& folder, const std::string& text = example_machine,
                                 const std::string& name = "machine.toml") {
  std::ofstream(folder / name) << text;
  return folder / name;
}

inline std::string replaced(std::string text, const std::string& what, const std::string& with) {
  return text.replace(text.find(what), what.size(), with);
}

}  // namespace annulus::test
