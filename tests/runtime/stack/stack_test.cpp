/// A stack over any ranks, layout and exchange equals the same layers in plain f64, forward and backward; at one rank
/// count its bits depend on neither exchange nor threads.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/stack.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/runtime/stack/stack_case.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/message_counter.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

using stack::LocalHalo;

const std::vector<LayoutSpec> layouts{
    {LayoutKind::contiguous}, {LayoutKind::zigzag}, {LayoutKind::striped}, {LayoutKind::striped, 4}};
const std::vector<LocalHalo> halos{LocalHalo::resident, LocalHalo::exchange};

bool allows(const LayoutSpec& layout, LocalHalo halo) {
  return halo != LocalHalo::resident || layout.kind != LayoutKind::striped;
}

Communicator world() { return Communicator::duplicate(MPI_COMM_WORLD); }

/// Per layer: a rounding of q, k, v and x each, and sums of 8-bit or 11-bit numbers.
double tolerance(DType dtype) {
  if (dtype == DType::f32) return 1e-5;
  return dtype == DType::bf16 ? 2e-2 : 2.5e-3;
}

void expect_forward(const Communicator& comm, const StackCase& chosen, const std::vector<double>& expected) {
  StackRun run(comm, chosen);
  run.stack().forward({});
  EXPECT_LT(relative_error(run.output(), run.rows_of(expected), largest(expected)),
            tolerance(chosen.model.attention.dtype))
      << chosen.describe();
}

class StackModels : public testing::TestWithParam<bool> {
 protected:
  static StackCase of_length(std::int64_t seq_len) {
    return GetParam() ? StackCase::mixed(seq_len) : StackCase::small(seq_len);
  }
};
INSTANTIATE_TEST_SUITE_P(Stack, StackModels, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "mixed" : "equal"; });

TEST_P(StackModels, EqualPlainLayersInEveryLayoutAndExchange) {
  const Communicator comm = world();
  StackCase chosen = of_length(37);
  const PlainStack plain(chosen);
  const std::vector<double> expected = plain.forward(plain.input());
  for (const ExchangeKind exchange : {ExchangeKind::shared, ExchangeKind::messages}) {
    for (const LayoutSpec& layout : layouts) {
      chosen.exchange = exchange;
      chosen.layout = layout;
      for (const LocalHalo halo : halos) {
        chosen.local_halo = halo;
        if (GetParam() && !allows(layout, halo)) continue;
        expect_forward(comm, chosen, expected);
      }
    }
  }
}

TEST(Stack, KeepsDocumentsApart) {
  const Communicator comm = world();
  StackCase chosen = StackCase::mixed(61);
  const std::vector<std::int64_t> bounds{0, 5, 5, 33, 61};
  chosen.model.attention.mask.cu_seqlens = bounds;
  for (MaskSpec& mask : chosen.model.local_masks) mask.cu_seqlens = bounds;
  const PlainStack plain(chosen);
  const std::vector<double> expected = plain.forward(plain.input());
  for (const LayoutSpec& layout : layouts) {
    chosen.layout = layout;
    for (const LocalHalo halo : halos) {
      chosen.local_halo = halo;
      if (allows(layout, halo)) expect_forward(comm, chosen, expected);
    }
  }
}

TEST(Stack, TakesEveryTypeMaskAndScale) {
  const std::vector<std::function<void(stack::ModelSpec&)>> changes{[](auto& m) { m.attention.dtype = DType::bf16; },
                                                                    [](auto& m) { m.attention.dtype = DType::f16; },
                                                                    [](auto& m) { m.attention.mask.causal = false; },
                                                                    [](auto& m) {
                                                                      m.attention.softmax_scale = 0.7;
                                                                      m.attention.softcap = 3;
                                                                    },
                                                                    [](auto& m) {
                                                                      m.attention.head_dim = 7;
                                                                      m.attention.kv_heads = 1;
                                                                    }};
  const Communicator comm = world();
  for (const auto& change : changes) {
    StackCase chosen = StackCase::small(29);
    change(chosen.model);
    const PlainStack plain(chosen);
    expect_forward(comm, chosen, plain.forward(plain.input()));
  }
}

TEST(Stack, RunsOnFewerRowsThanRanks) {
  const Communicator comm = world();
  for (const std::int64_t seq : {1, 3}) {
    for (const LayoutSpec& layout : layouts) {
      StackCase chosen = StackCase::small(seq);
      chosen.layout = layout;
      const PlainStack plain(chosen);
      expect_forward(comm, chosen, plain.forward(plain.input()));
    }
  }
}

/// Digests of the output and of the input's gradient. 300 rows a batch: several row blocks on few ranks.
std::pair<std::string, std::string> digests(const Communicator& comm, ExchangeKind exchange, int threads,
                                            StackCase chosen = StackCase::small(300)) {
  chosen.exchange = exchange;
  chosen.threads = threads;
  chosen.direction = kernels::Direction::backward;
  StackRun run(comm, chosen);
  run.stack().forward({});
  stack::seed_gradient(run.stack(), 3, comm.rank());
  run.stack().backward({});
  return {run.output_digest(), run.gradient_digest()};
}

TEST(Stack, HasTheSameBitsWithAnyExchangeAndThreads) {
  const Communicator comm = world();
  const auto expected = digests(comm, ExchangeKind::messages, 1);
  EXPECT_EQ(digests(comm, ExchangeKind::messages, 1), expected) << "again";
  EXPECT_EQ(digests(comm, ExchangeKind::shared, 1), expected) << "shared";
  EXPECT_EQ(digests(comm, ExchangeKind::shared, 3), expected) << "shared, 3 threads";
  EXPECT_EQ(digests(comm, ExchangeKind::messages, 3), expected) << "messages, 3 threads";
}

TEST(Stack, HasTheSameBitsWithAnyThreadsInLocalLayers) {
  const Communicator comm = world();
  for (const LocalHalo halo : halos) {
    StackCase chosen = StackCase::mixed(300);
    chosen.local_halo = halo;
    const auto expected = digests(comm, ExchangeKind::messages, 1, chosen);
    EXPECT_EQ(digests(comm, ExchangeKind::shared, 3, chosen), expected) << chosen.describe();
  }
}

TEST_P(StackModels, HaveTheGradientOfTheirInput) {
  const Communicator comm = world();
  StackCase chosen = of_length(GetParam() ? 5 : 9);  // three layers take longer: differences cost a forward per number
  chosen.direction = kernels::Direction::backward;
  const AttentionSpec& spec = chosen.model.attention;
  const std::vector<double> dout = values(
      random_tensor(DType::f32, 21, Role::dout, spec.batch, all_positions(spec.seq_q), 1, chosen.model.width()).view());
  const std::vector<double> expected = PlainStack(chosen).gradient(dout);
  for (const LayoutSpec& layout : layouts) {
    chosen.layout = layout;
    chosen.local_halo = allows(layout, LocalHalo::resident) ? LocalHalo::resident : LocalHalo::exchange;
    StackRun run(comm, chosen);
    run.stack().forward({});
    const std::vector<double> own = run.rows_of(dout);
    std::transform(own.begin(), own.end(), run.stack().gradient().begin(),
                   [](double x) { return static_cast<float>(x); });
    run.stack().backward({});
    EXPECT_LT(relative_error(run.gradient(), run.rows_of(expected), largest(expected)), 1e-5) << chosen.describe();
  }
}

TEST(Stack, SeedsItsGradientByGlobalPosition) {
  const Communicator comm = world();
  const Communicator alone = Communicator::duplicate(MPI_COMM_SELF);
  StackCase chosen = StackCase::small(23);
  chosen.direction = kernels::Direction::backward;
  StackRun whole(alone, chosen);  // on one rank every layout is in order
  stack::seed_gradient(whole.stack(), 9, 0);
  for (const LayoutSpec& layout : layouts) {
    chosen.layout = layout;
    StackRun run(comm, chosen);
    stack::seed_gradient(run.stack(), 9, comm.rank());
    EXPECT_EQ(run.gradient(), run.rows_of(whole.gradient())) << chosen.describe();
  }
}

TEST(Stack, HasTheSameWeightsOnEveryRank) {
  const Communicator comm = world();
  const StackCase chosen = StackCase::small(8);
  Workers workers(1 + comm.rank() % 3);
  std::uint64_t hash = 0;
  for (std::int64_t layer = 0; layer < 3; ++layer) {
    const stack::LayerWeights weights = stack::layer_weights(chosen.model, layer, workers);
    for (const float w : weights.qkv.span()) hash = mix(hash ^ std::bit_cast<std::uint32_t>(w));
    for (const float w : weights.out.span()) hash = mix(hash ^ std::bit_cast<std::uint32_t>(w));
  }
  for (const std::uint64_t other : comm.all_gather(hash)) EXPECT_EQ(other, hash);
}

TEST(Stack, ReportsTheWorkOfAllRanks) {
  const Communicator comm = world();
  StackCase chosen = StackCase::small(40);
  chosen.exchange = ExchangeKind::messages;
  StackRun run(comm, chosen);
  std::vector<std::int64_t> seen;
  run.stack().forward([&](const stack::LayerView& view) { seen.push_back(view.index); });
  EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 1}));
  const std::vector<stack::LayerCost> costs = run.stack().costs();
  ASSERT_EQ(costs.size(), 2U);
  for (const stack::LayerCost& cost : costs) {
    EXPECT_EQ(cost.index, &cost - costs.data());
    EXPECT_EQ(cost.flops, attention_flops(chosen.model.attention, kernels::Direction::forward));
    EXPECT_EQ(cost.messages > 0, comm.size() > 1);
    EXPECT_GE(cost.seconds, cost.attention_seconds);
  }
}

/// A stack of local layers alone, forward: not a single call of MPI that reaches another rank.
TEST(Stack, IsSilentInLocalLayersWithAResidentHalo) {
  const Communicator comm = world();
  StackCase chosen = StackCase::mixed(90);
  chosen.model.pattern = "LLL";
  chosen.local_halo = LocalHalo::resident;
  chosen.direction = kernels::Direction::backward;
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag}) {
    chosen.layout = {kind};
    StackRun run(comm, chosen);
    comm.barrier();
    take_mpi_calls();
    run.stack().forward({});
    const MpiCalls calls = take_mpi_calls();
    EXPECT_EQ(calls.messages, 0U) << chosen.describe();
    EXPECT_EQ(calls.others, 0U) << chosen.describe();
    stack::seed_gradient(run.stack(), 3, comm.rank());
    run.stack().backward({});
    EXPECT_EQ(take_mpi_calls().others, 0U) << chosen.describe();
    for (const stack::LayerCost& cost : run.stack().costs()) {
      const bool brings_gradients_home = cost.direction == kernels::Direction::backward && cost.index == 0;
      EXPECT_EQ(cost.messages > 0, brings_gradients_home && comm.size() > 1) << chosen.describe();
    }
  }
}

/// In a hybrid, one exchange of x behind the global layer, one of its gradient on the way back.
TEST(Stack, ExchangesOncePerRunOfLocalLayers) {
  const Communicator comm = world();
  StackCase chosen = StackCase::mixed(200);  // LLGL
  chosen.layout = {LayoutKind::contiguous};
  chosen.local_halo = LocalHalo::resident;
  chosen.exchange = ExchangeKind::shared;
  for (MaskSpec& mask : chosen.model.local_masks) mask.sink_tokens = 0;
  chosen.direction = kernels::Direction::backward;
  StackRun run(comm, chosen);
  run.stack().forward({});
  stack::seed_gradient(run.stack(), 3, comm.rank());
  run.stack().backward({});
  const auto neighbours = static_cast<std::uint64_t>(comm.size() - 1);
  const std::int64_t row_elements = chosen.model.attention.batch * chosen.model.width();
  for (const stack::LayerCost& cost : run.stack().costs()) {
    SCOPED_TRACE(cost.index);
    if (cost.direction == kernels::Direction::forward) {
      EXPECT_EQ(cost.messages, cost.index == 2 ? neighbours : 0) << "x for the run that follows";
      const auto bytes = static_cast<std::uint64_t>(4 * row_elements) * sizeof(float);  // a window of 5 reaches 4 rows
      EXPECT_EQ(cost.bytes_sent, cost.index == 2 ? neighbours * bytes : 0);
    } else if (cost.index != 2) {  // the ring passes tokens
      EXPECT_EQ(cost.messages, cost.index == 3 || cost.index == 0 ? neighbours : 0);
    }
  }
}

TEST(Stack, RefusesResidentHalosThatNoRankCouldHold) {
  const Communicator comm = world();
  const auto refuses = [&](const StackCase& chosen) { EXPECT_THROW(StackRun(comm, chosen), UsageError); };
  StackCase chosen = StackCase::mixed(60);
  chosen.local_halo = LocalHalo::resident;
  StackCase striped = chosen;
  striped.layout = {LayoutKind::striped};
  refuses(striped);
  StackCase strided = chosen;
  strided.model.local_masks.front().stride = 8;
  refuses(strided);
  StackCase global = chosen;
  global.model.local_masks.front().global_tokens = 1;
  refuses(global);
}

}  // namespace
}  // namespace annulus::test
