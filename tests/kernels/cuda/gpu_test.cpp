/// The CUDA row on a GPU: all suites of the CPU rows.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "kernels/cuda/cuda_table.hpp"
#include "tests/kernels/available_backends.hpp"
#include "tests/kernels/contract_case.hpp"

namespace annulus::test {

std::vector<BackendParam> suite_backends() { return with_each_dtype(std::span(&kernels::cuda_table(), 1), 8); }

namespace {

class Gpu : public testing::TestWithParam<BackendParam> {};

TEST_P(Gpu, SameBitsEveryTimeWhereDeterministic) {
  ContractCase test;
  test.problem = {
      .batch = 2, .seq_q = 700, .seq_k = 900, .heads = 8, .kv_heads = 2, .head_dim = 128, .mask = {.causal = true}};
  test.dtype = GetParam().dtype;
  test.blocks = cut_blocks(900, {300, 600});
  test.deterministic = true;
  prepare(test);
  const OracleResult first = run_contract(*GetParam().table, test);
  for (int repeat = 0; repeat < 5; ++repeat) {
    const OracleResult again = run_contract(*GetParam().table, test);
    EXPECT_EQ(first.out, again.out);
    EXPECT_EQ(first.dq, again.dq);
    EXPECT_EQ(first.dk, again.dk);
    EXPECT_EQ(first.dv, again.dv);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Gpu, testing::ValuesIn(suite_backends()), backend_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Gpu);

}  // namespace
}  // namespace annulus::test
