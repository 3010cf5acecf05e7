/// Local attention over a shard and its halo equals the ring, forward and, once gradients are home, backward.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/local_attention.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>

#include "runtime/exchange/halo_exchange.hpp"
#include "tests/runtime/engine/ring_case.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/message_counter.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

RingCase local_case(MaskSpec mask, LayoutKind layout) {
  RingCase test;
  test.spec = {.seq_q = 157, .seq_k = 157, .heads = 4, .kv_heads = 2, .head_dim = 24};
  test.spec.mask = std::move(mask);
  test.layout = {layout, 3};
  test.execution.threads = 1;
  test.seed = 11;
  return test;
}

std::vector<MaskSpec> local_masks() {
  return {{.causal = true, .window_size = {15, 0}},
          {.causal = false, .window_size = {9, 4}},
          {.causal = true, .chunk_size = 16},
          {.causal = true, .window_size = {20, -1}, .sink_tokens = 3},
          {.causal = true, .window_size = {8, 0}, .cu_seqlens = {0, 40, 40, 41, 157}}};
}

/// As run_ring, by a LocalAttention whose halo rows are made here: only gradients travel.
RingResult run_local(const Communicator& comm, const RingCase& test) {
  const AttentionSpec& spec = test.spec;
  const Layout layout(test.layout.kind, spec.seq_k, comm.size(), test.layout.stripe);
  LocalAttention attention(spec, local_rows(spec.mask, layout, comm.rank()), test.execution);
  const LocalRows& rows = attention.rows();
  const auto make = [&](Role role, const RowSet& at, std::int64_t heads) {
    return random_tensor(spec.dtype, test.seed, role, spec.batch, at.positions(), heads, spec.head_dim);
  };
  const Tensor q = make(Role::q, rows.queries, spec.heads);
  const Tensor k = make(Role::k, rows.keys, spec.kv_heads);
  const Tensor v = make(Role::v, rows.keys, spec.kv_heads);
  const Tensor dout = make(Role::dout, rows.queries, spec.heads);
  const auto empty = [&](const RowSet& at, std::int64_t heads) {
    return Tensor(DType::f32, spec.batch, at.rows(), heads, spec.head_dim);
  };
  const Tensor out = empty(rows.queries, spec.heads);
  RingResult result;
  result.lse.resize(static_cast<std::size_t>(spec.batch * spec.heads * rows.queries.rows()));
  const RowStats lse = dense_stats(result.lse.data(), spec.batch, spec.heads, rows.queries.rows());
  take_mpi_calls();
  attention.forward({.q = q.view(), .k = k.view(), .v = v.view(), .out = out.view(), .lse = lse});

  const Tensor dq = empty(rows.queries, spec.heads);
  const Tensor dk = empty(rows.keys, spec.kv_heads);
  const Tensor dv = empty(rows.keys, spec.kv_heads);
  attention.backward({.q = q.view(), .k = k.view(), .v = v.view(), .out = out.view(), .dout = dout.view(), .lse = lse,
                      .dq = dq.view(), .dk = dk.view(), .dv = dv.view()});
  const MpiCalls calls = take_mpi_calls();
  EXPECT_EQ(calls.messages, 0U);
  EXPECT_EQ(calls.others, 0U) << "not even an agreement";
  EXPECT_EQ(attention.last_call().messages, 0U);

  const HaloPlan plan = halo_plan(layout, comm.rank(), [&](int rank) { return local_rows(spec.mask, layout, rank).keys; });
  EXPECT_EQ(plan.held(), rows.keys);
  HaloExchange home(comm, plan);
  home.start(HaloExchange::Way::home, std::array<ConstTensorView, 2>{dk.view(), dv.view()}, rows.keys);
  home.finish(std::array<TensorView, 2>{dk.view(), dv.view()}, rows.keys);
  const auto floats = [&](const Tensor& tensor, const RowSet& at, const RowSet& wanted) {
    const std::vector<double> wide = values(tensor.view());
    std::vector<std::int64_t> chosen = wanted.positions();
    for (std::int64_t& pos : chosen) pos = at.rows_before(pos);
    const std::vector<double> rows_of = select_rows(wide, spec.batch, at.rows(), tensor.view().heads * spec.head_dim, chosen);
    return std::vector<float>(rows_of.begin(), rows_of.end());
  };
  result.out = floats(out, rows.queries, rows.queries);
  result.dq = floats(dq, rows.queries, rows.queries);
  result.dk = floats(dk, rows.keys, plan.own);
  result.dv = floats(dv, rows.keys, plan.own);
  return result;
}

TEST(LocalAttention, EqualsTheOracleWithoutAMessage) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  for (const LayoutKind layout : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    for (const MaskSpec& mask : local_masks()) {
      const RingCase test = local_case(mask, layout);
      const RingError worst = judge(test, comm.rank(), comm.size(), run_local(comm, test));
      EXPECT_LE(worst.share, 1) << worst.where << " is off by " << worst.error << " in " << test.describe();
    }
  }
}

TEST(LocalAttention, LeavesOutQueriesThatAreNotComputed) {
  AttentionSpec spec{.seq_q = 40, .seq_k = 40, .heads = 1, .kv_heads = 1, .head_dim = 8};
  spec.mask = {.causal = true, .window_size = {5, 0}};
  const RowSet rows({{10, 30}});
  const RowSet computed({{15, 30}});
  LocalAttention attention(spec, {rows, computed, rows}, {.threads = 1});
  const Tensor x = random_tensor(DType::f32, 3, Role::q, 1, rows.positions(), 1, 8);
  const Tensor out(DType::f32, 1, 20, 1, 8);
  std::vector<float> lse(20);
  attention.forward({.q = x.view(), .k = x.view(), .v = x.view(), .out = out.view(),
                     .lse = dense_stats(lse.data(), 1, 1, 20)});
  for (std::size_t row = 0; row < 20; ++row) EXPECT_EQ(lse[row] == -INFINITY, row < 5) << row;
  EXPECT_EQ(attention.last_call().flops, 4.0 * 8 * 15 * 6);
}

TEST(LocalAttention, RefusesWhatMakesNoSense) {
  const AttentionSpec spec{.seq_q = 8, .seq_k = 8, .heads = 1, .kv_heads = 1, .head_dim = 8};
  const RowSet all({{0, 8}});
  EXPECT_THROW(LocalAttention(spec, {RowSet({{0, 4}}), all, all}, {}), UsageError);
  EXPECT_THROW(LocalAttention(spec, {all, all, all}, {.exchange = ExchangeKind::messages}), UsageError);
  EXPECT_THROW(LocalAttention(spec, {all, all, all}, {.threads = -1}), UsageError);
}

/// All of these would give results, and wrong ones.
TEST(LocalAttention, RefusesRowsThatAreNotThere) {
  AttentionSpec spec{.seq_q = 8, .seq_k = 12, .heads = 1, .kv_heads = 1, .head_dim = 8};
  spec.mask = {.causal = true, .window_size = {2, 0}};
  const RowSet some({{2, 6}});  // whose last one stands at key 9 and sees 7, 8 and 9
  const RowSet seen({{4, 10}});
  LocalAttention attention(spec, {some, some, seen}, {.threads = 1});
  const auto refusal = [&](const LocalRows& rows) -> std::string {
    try {
      attention.keep(rows);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal({RowSet({{0, 8}}), some, RowSet({{0, 12}})}), "");
  EXPECT_EQ(refusal({some, RowSet({{4, 5}}), RowSet({{6, 9}})}), "") << "keys that only rows see that are not computed";
  EXPECT_NE(refusal({RowSet({{2, 9}}), some, seen}).find("queries at positions 2 to 8"), std::string::npos);
  EXPECT_NE(refusal({RowSet({{-1, 6}}), some, seen}).find("queries at positions -1 to 5"), std::string::npos);
  EXPECT_NE(refusal({some, some, RowSet({{4, 13}})}).find("keys at positions 4 to 12"), std::string::npos);
  EXPECT_NE(refusal({some, some, RowSet({{-2, 10}})}).find("keys at positions -2 to 9"), std::string::npos);
  EXPECT_NE(refusal({some, RowSet({{1, 3}}), seen}).find("no rows of q"), std::string::npos);
  EXPECT_NE(refusal({some, some, RowSet({{5, 10}})}).find("1 keys that computed queries see"), std::string::npos);
  EXPECT_NE(refusal({some, some, RowSet({{4, 7}, {8, 10}})}).find("first at position 7"), std::string::npos);
  EXPECT_EQ(attention.rows().keys, RowSet({{6, 9}})) << "what is refused changes nothing";
}

}  // namespace
}  // namespace annulus::test
