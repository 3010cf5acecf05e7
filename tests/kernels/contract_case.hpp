/// Runs one attention through a backend's contract, block by block, and judges it by the oracle.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/contract/attention.hpp"
#include "tests/kernels/padded_tensor.hpp"
#include "tests/support/oracle.hpp"

namespace annulus::test {

/// Keys of one block, by position, in the order of its rows.
using BlockKeys = std::vector<std::int64_t>;

struct ContractCase {
  OracleProblem problem;
  DType dtype = DType::f32;
  std::vector<BlockKeys> blocks;  ///< together every key once; attended in this order
  Gaps gaps = Gaps::none;
  int workers = 1;
  bool deterministic = false;
  std::int64_t part_tiles = 0;  ///< backward takes parts of so many key tiles; 0: whole blocks
  std::uint64_t seed = 1;
  double scale = 1;                   ///< of random q and k
  std::optional<DType> result_dtype;  ///< of out, dq, dk, dv; default: f32, f64 for f64
  std::optional<DType> dout_dtype;    ///< default: `dtype`; its values are rounded to that in any case
  double gradient_scale =
      0;  ///< least magnitude that errors of dq and dk are relative to, where they cancel to nothing
  double sink_scale = 0;  ///< the same of dsink, a few sums of as many terms as there are rows
  OracleTensors tensors;  ///< empty: random; rounded to `dtype`
};

/// Fills what is empty: random tensors, rounded to the dtype; one block of all keys.
void prepare(ContractCase& test);

/// Consecutive keys cut at `cuts`; equal cuts give blocks without rows.
std::vector<BlockKeys> cut_blocks(std::int64_t seq_k, const std::vector<std::int64_t>& cuts);

/// Dense results in position order, as doubles. `progress` is passed on. Gradients if `backward`.
OracleResult run_contract(const kernels::KernelTable& table, const ContractCase& test, bool backward = true,
                          const Progress& progress = {});

/// Prepares, runs forward and backward and expects every result within tolerance of the oracle. Returns the results.
OracleResult judge(const kernels::KernelTable& table, ContractCase test, const std::string& what);

}  // namespace annulus::test
