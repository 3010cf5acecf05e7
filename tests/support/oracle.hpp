/// The oracle: plain softmax attention in double, straight from the formulas, sharing no code with what it judges.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/base/dtype.hpp"

namespace annulus::test {

/// Who sees whom, as a predicate on one pair of positions (both in key coordinates).
struct OracleMask {
  bool causal = false;
  std::int64_t left = -1;  ///< of the window; -1: open
  std::int64_t right = -1;
  std::int64_t chunk_size = 0;  ///< 0: none, as all below
  std::int64_t sink_tokens = 0;
  std::int64_t global_tokens = 0;
  std::int64_t stride = 0;
  std::vector<std::int64_t> cu_seqlens = {};  ///< empty: one document

  bool visible(std::int64_t i, std::int64_t j) const;
};

/// One attention over the whole sequence. Queries sit at positions offset by seq_k - seq_q.
struct OracleProblem {
  std::int64_t batch = 1;
  std::int64_t seq_q = 0;
  std::int64_t seq_k = 0;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 64;
  OracleMask mask = {};
  std::optional<double> softmax_scale = {};  ///< default 1/sqrt(head_dim)
  double softcap = 0;                        ///< 0: none
  std::vector<float> alibi_slopes = {};      ///< [heads], or empty
  std::vector<float> sink = {};              ///< [heads], or empty
};

/// Dense tensors [batch, seq, heads or kv_heads, head_dim]; dout empty: forward only.
struct OracleTensors {
  std::vector<double> q;
  std::vector<double> k;
  std::vector<double> v;
  std::vector<double> dout;
};

struct OracleResult {
  std::vector<double> out;    ///< like q
  std::vector<double> lse;    ///< [batch, heads, seq_q]
  std::vector<double> dq;     ///< like q; empty without dout, as all gradients
  std::vector<double> dk;     ///< like k
  std::vector<double> dv;     ///< like v
  std::vector<double> dsink;  ///< [heads]; empty without a sink
  double max_abs_score = 0;   ///< over visible pairs: f32 tolerances grow with it
};

/// The truth, in double.
OracleResult oracle(const OracleProblem& problem, const OracleTensors& tensors);

/// What plain attention gives when S, P (and in backward dP, dS) and the results are stored in `dtype` between sums in
/// double: the yardstick of 16-bit tolerances. lse is that of the rounded S.
OracleResult plain_attention_rounded(const OracleProblem& problem, const OracleTensors& tensors, DType dtype);

}  // namespace annulus::test
