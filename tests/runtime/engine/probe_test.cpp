/// The probe: perturb one key, and exactly the rows that may see it change, bit for bit; for gradients likewise.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "tests/runtime/engine/ring_case.hpp"
#include "tests/support/random_masks.hpp"

namespace annulus::test {
namespace {

struct Ring {
  int rank = 0;
  int size = 1;
  Ring() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
  }
};

RingCase probe_case(LayoutKind layout, const MaskSpec& mask) {
  RingCase test;
  test.spec = {.seq_q = 53, .seq_k = 53, .heads = 2, .kv_heads = 1, .head_dim = 24};
  test.spec.mask = mask;
  test.layout = {layout, 3};
  test.execution.threads = 1;
  test.execution.exchange = layout == LayoutKind::striped ? ExchangeKind::shared : ExchangeKind::messages;
  return test;
}

/// The rule, pair by pair: all positions are queries and keys.
bool sees(const MaskSpec& mask, std::int64_t i, std::int64_t j) { return oracle_mask(mask).visible(i, j); }

std::int64_t keys_seen(const MaskSpec& mask, std::int64_t seq_len, std::int64_t i) {
  std::int64_t seen = 0;
  for (std::int64_t j = 0; j < seq_len; ++j) seen += sees(mask, i, j) ? 1 : 0;
  return seen;
}

/// A query that sees both, and at least `keys` in all.
bool share_a_query(const MaskSpec& mask, std::int64_t seq_len, std::int64_t a, std::int64_t b, std::int64_t keys) {
  for (std::int64_t i = 0; i < seq_len; ++i) {
    if (sees(mask, i, a) && sees(mask, i, b) && keys_seen(mask, seq_len, i) >= keys) return true;
  }
  return false;
}

bool row_differs(const std::vector<float>& a, const std::vector<float>& b, std::size_t row, std::size_t width) {
  return std::memcmp(a.data() + row * width, b.data() + row * width, width * sizeof(float)) != 0;
}

void expect_exactly_the_allowed_rows_change(const RingCase& base, std::int64_t key) {
  const Ring ring;
  RingCase changed = base;
  changed.changed_key = key;
  const RingResult before = run_ring(MPI_COMM_WORLD, base);
  const RingResult after = run_ring(MPI_COMM_WORLD, changed);
  const AttentionSpec& spec = base.spec;
  const auto q_width = static_cast<std::size_t>(spec.heads * spec.head_dim);
  const auto k_width = static_cast<std::size_t>(spec.kv_heads * spec.head_dim);
  const auto positions = Layout(base.layout.kind, spec.seq_q, ring.size, base.layout.stripe).positions(ring.rank);
  for (std::size_t row = 0; row < positions.size(); ++row) {
    const std::int64_t pos = positions[row];
    const bool allowed = sees(spec.mask, pos, key);
    EXPECT_EQ(row_differs(before.out, after.out, row, q_width), allowed) << base.describe() << " out " << pos << " key " << key;
    // A row that sees one key has ds = 0 whatever that key says, but for rounding: it may change or not.
    if (!allowed || keys_seen(spec.mask, spec.seq_k, pos) > 1) {
      EXPECT_EQ(row_differs(before.dq, after.dq, row, q_width), allowed) << base.describe() << " dq " << pos;
    }
    const bool linked = share_a_query(spec.mask, spec.seq_q, pos, key, 2);
    if (linked || !share_a_query(spec.mask, spec.seq_q, pos, key, 1)) {
      EXPECT_EQ(row_differs(before.dk, after.dk, row, k_width), linked)
          << base.describe() << " dk " << pos << " key " << key;
    }
  }
}

TEST(Probe, OneKeyChangesExactlyTheRowsThatSeeIt) {
  const Ring ring;
  const std::int64_t edge = 53 / ring.size;
  for (const LayoutKind layout : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    for (const std::int64_t key : {std::int64_t{1}, edge - 1, edge, std::int64_t{51}}) {
      const std::int64_t inside = std::clamp<std::int64_t>(key, 0, 52);
      expect_exactly_the_allowed_rows_change(probe_case(layout, {.causal = true}), inside);
      expect_exactly_the_allowed_rows_change(probe_case(layout, {.cu_seqlens = {0, 20, 53}}), inside);
      const MaskSpec documents{.causal = true, .cu_seqlens = {0, 9, 30, 53}};
      expect_exactly_the_allowed_rows_change(probe_case(layout, documents), inside);
    }
  }
}

TEST(Probe, LocalMasksHideAllButWhatTheyName) {
  const Ring ring;
  const std::array masks{MaskSpec{.causal = true, .window_size = {4, 0}, .sink_tokens = 2},
                         MaskSpec{.window_size = {3, 2}, .chunk_size = 16, .global_tokens = 1},
                         MaskSpec{.window_size = {2, 1}, .global_tokens = 2, .cu_seqlens = {0, 27, 53}},
                         MaskSpec{.causal = true, .chunk_size = 8, .stride = 5, .cu_seqlens = {0, 20, 53}}};
  for (const LayoutKind layout : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    for (const MaskSpec& mask : masks) {
      for (const std::int64_t key : {std::int64_t{1}, std::int64_t{53 / ring.size}, std::int64_t{40}}) {
        expect_exactly_the_allowed_rows_change(probe_case(layout, mask), std::min<std::int64_t>(key, 52));
      }
    }
  }
}

void expect_only_its_keys_to_hear_of(std::int64_t query, const RingCase& base) {
  const Ring ring;
  RingCase changed = base;
  changed.changed_dout = query;
  const RingResult before = run_ring(MPI_COMM_WORLD, base);
  const RingResult after = run_ring(MPI_COMM_WORLD, changed);
  const auto k_width = static_cast<std::size_t>(base.spec.kv_heads * base.spec.head_dim);
  const auto q_width = static_cast<std::size_t>(base.spec.heads * base.spec.head_dim);
  const auto positions = Layout(base.layout.kind, 53, ring.size, base.layout.stripe).positions(ring.rank);
  for (std::size_t row = 0; row < positions.size(); ++row) {
    const bool seen = sees(base.spec.mask, query, positions[row]);
    EXPECT_EQ(row_differs(before.dv, after.dv, row, k_width), seen) << base.describe() << " dv " << positions[row];
    EXPECT_EQ(row_differs(before.dq, after.dq, row, q_width), positions[row] == query) << base.describe();
  }
}

TEST(Probe, OneDoutRowChangesOnlyTheGradientsOfItsKeys) {
  const MaskSpec causal{.causal = true, .window_size = {11, 0}, .sink_tokens = 1, .cu_seqlens = {0, 9, 53}};
  const MaskSpec global{.window_size = {2, 1}, .global_tokens = 2, .cu_seqlens = {0, 20, 53}};
  for (const LayoutKind layout : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    expect_only_its_keys_to_hear_of(26, probe_case(layout, causal));
    for (const std::int64_t query : {0, 1, 2, 19, 20, 21, 22, 52}) {
      expect_only_its_keys_to_hear_of(query, probe_case(layout, global));
    }
  }
}

}  // namespace
}  // namespace annulus::test
