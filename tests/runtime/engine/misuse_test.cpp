/// Wrong arguments on any rank are the same error on all ranks, and the ring still works afterwards.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/runtime/engine/ring_case.hpp"

namespace annulus::test {
namespace {

struct Ring {
  int rank = 0;
  int size = 1;
  Ring() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
  }
  bool last() const { return rank + 1 == size; }
};

AttentionSpec valid_spec() { return {.seq_q = 16, .seq_k = 16, .heads = 2, .kv_heads = 1, .head_dim = 8}; }

std::string usage_error_of(const AttentionSpec& spec, LayoutSpec layout = {}, const Execution& how = {}) {
  try {
    const RingAttention ring(MPI_COMM_WORLD, layout, spec, how);
  } catch (const UsageError& error) {
    return error.what();
  } catch (const ResourceError& error) {
    return error.what();
  }
  return "";
}

void expect_refused(const AttentionSpec& spec, const std::string& words, LayoutSpec layout = {}, const Execution& how = {}) {
  const std::string message = usage_error_of(spec, layout, how);
  EXPECT_NE(message.find(words), std::string::npos) << "'" << message << "' lacks '" << words << "'";
}

TEST(Misuse, SpecsThatMakeNoAttentionAreRefusedEverywhere) {
  const auto with = [](auto change) {
    AttentionSpec spec = valid_spec();
    change(spec);
    return spec;
  };
  expect_refused(with([](auto& s) { s.kv_heads = 3; s.heads = 8; }), "8 heads cannot share 3 kv_heads");
  expect_refused(with([](auto& s) { s.heads = 0; }), "0 heads");
  expect_refused(with([](auto& s) { s.head_dim = 257; }), "head_dim 257");
  expect_refused(with([](auto& s) { s.head_dim = 0; }), "head_dim 0");
  expect_refused(with([](auto& s) { s.batch = -1; }), "batch -1");
  expect_refused(with([](auto& s) { s.seq_q = -5; }), "-5 queries");
  expect_refused(with([](auto& s) { s.softmax_scale = std::nan(""); }), "softmax_scale");
  expect_refused(with([](auto& s) { s.softmax_scale = 0; }), "softmax_scale");
  expect_refused(with([](auto& s) { s.softmax_scale = -0.1; }), "softmax_scale");
  expect_refused(with([](auto& s) { s.softmax_scale = 1e-320; }), "softmax_scale");
  expect_refused(with([](auto& s) { s.softmax_scale = 1e300; }), "softmax_scale");
  expect_refused(with([](auto& s) { s.softcap = -1; }), "softcap");
  expect_refused(with([](auto& s) { s.softcap = 1e-300; }), "softcap");
  expect_refused(with([](auto& s) { s.alibi_slopes = {1}; }), "1 ALiBi slopes for 2 heads");
  expect_refused(with([](auto& s) { s.mask.cu_seqlens = {0, 9, 5, 16}; }), "cu_seqlens decreases from 9 to 5");
  expect_refused(with([](auto& s) { s.mask.window_size = {-3, 0}; }), "window_size (-3, 0) is negative");
  expect_refused(with([](auto& s) { s.mask.sink_tokens = 4; }), "without a window or chunk");
  expect_refused(with([](auto& s) { s.dtype = DType::f64; }), "", {}, {.backend = "simd"});
  expect_refused(with([](auto& s) { s.batch = s.seq_q = std::numeric_limits<std::int64_t>::max() / 2; }), "63 bits");
  expect_refused(valid_spec(), "stripes of 0", {LayoutKind::striped, 0});
  expect_refused(valid_spec(), "no-such-backend", {}, {.backend = "no-such-backend"});
  expect_refused(valid_spec(), "needs a backend that computes on a device", {}, {.exchange = ExchangeKind::device});
  expect_refused(valid_spec(), "without exchange nodes", {}, {.group_size = 1});
  expect_refused(valid_spec(), "negative number of ranks", {}, {.exchange = ExchangeKind::nodes, .group_size = -1});
  expect_refused(valid_spec(), "groups of as many ranks", {}, {.exchange = ExchangeKind::nodes, .group_size = 1000});
  expect_refused(valid_spec(), "negative number of threads", {}, {.threads = -2});
}

TEST(Misuse, OneRankWithAnotherMaskIsNamed) {
  const Ring ring;
  if (ring.size < 3) GTEST_SKIP() << "two ranks have no majority";
  const MaskSpec common{.causal = true, .window_size = {3, 1}, .chunk_size = 8, .sink_tokens = 1, .global_tokens = 1, .stride = 2};
  for (std::int64_t MaskSpec::*size :
       {&MaskSpec::chunk_size, &MaskSpec::sink_tokens, &MaskSpec::global_tokens, &MaskSpec::stride}) {
    AttentionSpec spec = valid_spec();
    spec.mask = common;
    if (ring.last()) ++(spec.mask.*size);
    expect_refused(spec, "rank " + std::to_string(ring.size - 1) + " differ");
  }
  for (std::int64_t WindowSize::*side : {&WindowSize::left, &WindowSize::right}) {
    AttentionSpec spec = valid_spec();
    spec.mask = common;
    if (ring.last()) ++(spec.mask.window_size.*side);
    expect_refused(spec, "rank " + std::to_string(ring.size - 1) + " differ");
  }
}

TEST(Misuse, OneRankThatDisagreesIsNamed) {
  const Ring ring;
  if (ring.size < 3) GTEST_SKIP() << "two ranks have no majority";
  AttentionSpec spec = valid_spec();
  if (ring.last()) spec.softcap = 30;
  expect_refused(spec, "rank " + std::to_string(ring.size - 1) + " differ");
  LayoutSpec layout{LayoutKind::striped, ring.last() ? 2 : 1};
  expect_refused(valid_spec(), "disagree", layout);
  expect_refused(valid_spec(), "rank " + std::to_string(ring.size - 1) + " differ", {}, {.deterministic = ring.last()});
}

/// Buffers for one call on the valid spec.
struct Call {
  std::vector<float> q, k, v, out, lse, grads;
  std::int64_t rows;
  explicit Call(const RingAttention& ring) : rows(ring.q_layout().rows(ring.rank())) {
    const auto size = static_cast<std::size_t>(rows * 2 * 8);
    for (auto* tensor : {&q, &k, &v, &out, &lse, &grads}) tensor->assign(size + 1, 0.5F);
  }
  TensorView view(std::vector<float>& data, std::int64_t heads) const {
    return dense_view(reinterpret_cast<std::byte*>(data.data()), DType::f32, 1, rows, heads, 8);
  }
  ForwardCall forward() {
    return {view(q, 2), view(k, 1), view(v, 1), view(out, 2), dense_stats(lse.data(), 1, 2, rows)};
  }
  BackwardCall backward() {
    return {view(q, 2),   view(k, 1), view(v, 1), view(out, 2), view(out, 2), dense_stats(lse.data(), 1, 2, rows),
            view(grads, 2), view(grads, 1), view(grads, 1)};
  }
};

TEST(Misuse, AWrongViewOnOneRankIsAnErrorOnAllAndTheRingLivesOn) {
  const Ring ring;
  RingAttention attention(MPI_COMM_WORLD, {}, valid_spec());
  Call call(attention);
  ForwardCall wrong = call.forward();
  if (ring.last()) wrong.k.head_dim = 7;
  EXPECT_THROW(attention.forward(wrong), UsageError);
  wrong = call.forward();
  if (ring.last()) wrong.v.dtype = DType::bf16;
  EXPECT_THROW(attention.forward(wrong), UsageError);
  const std::vector<float> sink{1, 2};
  wrong = call.forward();
  if (ring.last()) wrong.sink = sink;
  EXPECT_THROW(attention.forward(wrong), UsageError);
  EXPECT_NO_THROW(attention.forward(call.forward()));
}

TEST(Misuse, DifferentCallsOnDifferentRanksAreFoundOut) {
  const Ring ring;
  if (ring.size < 2) GTEST_SKIP() << "one rank cannot disagree";
  RingAttention attention(MPI_COMM_WORLD, {}, valid_spec());
  Call call(attention);
  if (ring.last()) {
    EXPECT_THROW(attention.backward(call.backward()), UsageError);
  } else {
    EXPECT_THROW(attention.forward(call.forward()), UsageError);
  }
  EXPECT_NO_THROW(attention.forward(call.forward()));
}

TEST(Misuse, RingsComeAndGoWithoutLeavingCommunicatorsOrWindowsBehind) {
  for (int round = 0; round < 300; ++round) {  // Open MPI dies of leaked communicators well before
    RingAttention attention(MPI_COMM_WORLD, {}, valid_spec(), {.threads = 1});
    Call call(attention);
    attention.forward(call.forward());
  }
}

}  // namespace
}  // namespace annulus::test
