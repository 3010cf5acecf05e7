/// Input files for `attend` and what must come out of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "tests/runtime/checkpoint/plain_hdf5.hpp"
#include "tests/support/oracle.hpp"

namespace annulus::test {

/// A small problem whose file has every dataset; the values depend on the seed alone.
struct AttendCase {
  OracleProblem problem{.batch = 2, .seq_q = 11, .seq_k = 11, .heads = 4, .kv_heads = 2, .head_dim = 8};
  std::string type = "f32";  ///< of the stored tensors
  bool dout = true;
  std::uint64_t seed = 1;
};

/// The datasets of a case, to be spoiled before they are written.
std::vector<PlainDataset> attend_datasets(const AttendCase& attend);
void write_attend_input(const std::string& path, const AttendCase& attend);

/// The oracle's tensors: the values as stored, rounding included.
OracleTensors stored_tensors(const std::string& path);

}  // namespace annulus::test
