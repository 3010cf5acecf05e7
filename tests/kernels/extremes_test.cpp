/// Every backend where softmax is delicate: block orders, far apart maxima, large logits, finite differences.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/kernels/available_backends.hpp"
#include "tests/kernels/contract_case.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

class Extremes : public testing::TestWithParam<BackendParam> {
 protected:
  const kernels::KernelTable& table() const { return *GetParam().table; }
  ContractCase small_case(std::int64_t seq_q, std::int64_t seq_k, std::int64_t head_dim) const {
    ContractCase test;
    test.problem = {.seq_q = seq_q, .seq_k = seq_k, .head_dim = GetParam().fit(head_dim)};
    test.dtype = GetParam().dtype;
    return test;
  }
  /// Adds level[block] to every score of a block: through the last coordinate, which is 1 in q and the level in k.
  void lift(ContractCase& test, const std::vector<double>& levels) const {
    test.problem.softmax_scale = 1;
    test.scale = 0.3;
    prepare(test);
    const auto d = static_cast<std::size_t>(test.problem.head_dim);
    for (std::size_t i = d - 1; i < test.tensors.q.size(); i += d) test.tensors.q[i] = 1;
    for (std::size_t i = 0; i < test.blocks.size(); ++i) {
      for (const std::int64_t key : test.blocks[i]) {
        test.tensors.k[static_cast<std::size_t>(key + 1) * d - 1] = levels[i];
      }
    }
  }
};

/// Deals keys 0..seq_k at random to `count` blocks and puts an empty one among them; rows ascend by position.
std::vector<BlockKeys> random_blocks(std::int64_t seq_k, std::size_t count, std::mt19937_64& random) {
  std::vector<BlockKeys> blocks(count);
  std::uniform_int_distribution<std::size_t> any(0, count - 1);
  for (std::int64_t key = 0; key < seq_k; ++key) blocks[any(random)].push_back(key);
  blocks.insert(blocks.begin() + static_cast<std::ptrdiff_t>(any(random)), BlockKeys{});
  return blocks;
}

TEST_P(Extremes, AnyPartitionInAnyOrder) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    std::mt19937_64 random(seed);
    ContractCase test = small_case(40, 130, 16);
    test.seed = seed;
    test.problem.mask.causal = true;
    test.blocks = random_blocks(130, 1 + seed, random);
    judge(table(), test, "dealt at random");
    std::ranges::shuffle(test.blocks, random);
    judge(table(), test, "shuffled");
  }
}

TEST_P(Extremes, GapsBetweenBlocks) {
  for (const double gap : {0.0, 50.0, -50.0, 200.0, -200.0, 1e4, -1e4}) {
    ContractCase test = small_case(20, 60, 16);
    test.blocks = cut_blocks(60, {20, 20, 40});
    test.gradient_scale = 1e-3;  // keys far below the maximum have no gradients at all
    lift(test, {0, 0, gap, gap / 2});
    const OracleResult ahead = judge(table(), test, "gap " + std::to_string(gap));
    std::ranges::reverse(test.blocks);
    const OracleResult back = judge(table(), test, "gap reversed " + std::to_string(gap));
    const double limit = GetParam().dtype == DType::bf16 ? 0.01 : GetParam().dtype == DType::f16 ? 2e-3 : 0;
    EXPECT_LE(relative_error(ahead.out, back.out), std::max(limit, f32_tolerance(std::abs(gap))));
  }
}

TEST_P(Extremes, LargeLogits) {
  ContractCase test = small_case(30, 90, 16);
  test.blocks = cut_blocks(90, {30, 60});
  test.gradient_scale = 1;
  lift(test, {-2e4, 1e4, 2e4});
  judge(table(), test, "rising to 2e4");
  lift(test, {2e4, -1e4, -2e4});
  judge(table(), test, "falling by 3e4 and 1e4");
  test.problem.mask.causal = true;
  judge(table(), test, "causal: some rows see the low blocks only");
}

TEST_P(Extremes, AllKeysOfAFirstBlockHidden) {
  ContractCase test = small_case(64, 64, 16);
  test.problem.mask = {.causal = true, .cu_seqlens = {0, 32, 64}};
  test.blocks = cut_blocks(64, {32});
  std::ranges::reverse(test.blocks);
  judge(table(), test, "the block of the other document comes first for half of the rows");
}

TEST_P(Extremes, FiniteDifferences) {
  const DType dtype = GetParam().dtype;
  if (size_of(dtype) == 2) GTEST_SKIP() << "a step of 16-bit inputs is too coarse for a difference";
  ContractCase test = small_case(24, 40, 12);
  test.problem.heads = 2;
  test.problem.mask.causal = true;
  test.problem.softcap = 5;
  test.blocks = cut_blocks(40, {13, 29});
  prepare(test);
  const OracleResult got = run_contract(table(), test);
  const auto loss = [&] {
    const OracleResult at = run_contract(table(), test, false);
    double sum = 0;
    for (std::size_t i = 0; i < at.out.size(); ++i) sum += at.out[i] * test.tensors.dout[i];
    return sum;
  };
  const double step = dtype == DType::f64 ? 0x1p-14 : 0x1p-6;
  const double limit = dtype == DType::f64 ? 1e-5 : 2e-3;
  std::mt19937_64 random(7);
  const auto check = [&](const char* name, std::vector<double>& tensor, const std::vector<double>& gradient) {
    for (int entry = 0; entry < 20; ++entry) {
      const std::size_t i = random() % tensor.size();
      const double kept = tensor[i];
      tensor[i] = kept + step;
      const double above = loss();
      tensor[i] = kept - step;
      const double slope = (above - loss()) / (2 * step);
      tensor[i] = kept;
      EXPECT_NEAR(gradient[i], slope, limit * largest(gradient)) << name << "[" << i << "]";
    }
  };
  check("dq", test.tensors.q, got.dq);
  check("dk", test.tensors.k, got.dk);
  check("dv", test.tensors.v, got.dv);
}

INSTANTIATE_TEST_SUITE_P(All, Extremes, testing::ValuesIn(suite_backends()), backend_name);

}  // namespace
}  // namespace annulus::test
