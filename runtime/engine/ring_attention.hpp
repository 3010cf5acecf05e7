/// Exact attention over a sequence that is sharded over the ranks of a communicator, forward and backward.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/comm/timeline.hpp"
#include "runtime/exchange/exchange_kind.hpp"
#include "runtime/layout/layout.hpp"
#include "runtime/layout/mask.hpp"

namespace annulus {

/// What is computed: the same on every rank. Checked together at construction.
struct AttentionSpec {
  std::int64_t batch = 1;
  std::int64_t seq_q = 0;  ///< positions of the whole sequence, not of a shard
  std::int64_t seq_k = 0;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 64;
  DType dtype = DType::f32;  ///< of q, k, v
  MaskSpec mask{};
  std::optional<double> softmax_scale{};  ///< 1e-6 to 1e6; default 1/sqrt(head_dim)
  double softcap = 0;                   ///< 0: none; else 1e-6 to 1e6
  std::vector<float> alibi_slopes{};      ///< [heads], or empty: none
  bool sink = false;                    ///< calls bring one learned sink logit per head
};

/// How it is sharded: the same for queries and keys.
struct LayoutSpec {
  LayoutKind kind = LayoutKind::contiguous;
  std::int64_t stripe = 1;  ///< positions per stripe, read only by LayoutKind::striped
};

/// Where and how it runs. Backend, exchange and deterministic must be the same on every rank; threads may differ.
struct Execution {
  std::string backend = "auto";                 ///< a row of the kernel table, "simd" or "auto"
  ExchangeKind exchange = ExchangeKind::automatic;
  int threads = 0;                              ///< of this rank; 0: its share of the node's cores
  std::function<void(int step, int steps)> on_step{};  ///< called on this rank after each ring step; may be empty
  void* stream = nullptr;                       ///< a cudaStream_t, read only for tensors on a device
  Timeline* timeline = nullptr;                 ///< notes what this rank does when, if any; outlives what uses it
  int group_size = 0;                           ///< for exchange nodes alone: ranks that read in place; 0: all of a node
  /// No bit may depend on timing. The CPU backends are so in any case; backend cuda takes slower kernels on Hopper, where dq
  /// is else added up in the order in which processors come to it (docs/gpu.md).
  bool deterministic = false;
};

/// Tensors lie in host memory, or with backend cuda each in host or in device memory: inputs are then ready on
/// Execution::stream, results are complete when the call returns. Lists (sink, dsink) lie in host memory.
/// Rows of this rank's shards: q_layout().rows(rank) queries, k_layout().rows(rank) keys.
struct ForwardCall {
  ConstTensorView q;            ///< [batch, q_rows, heads, head_dim]
  ConstTensorView k;            ///< [batch, k_rows, kv_heads, head_dim]
  ConstTensorView v;            ///< [batch, k_rows, kv_heads, head_dim]
  TensorView out;               ///< [batch, q_rows, heads, head_dim], any dtype; must not alias an input
  RowStats lse;                 ///< [batch, heads, q_rows], natural log
  std::span<const float> sink{};  ///< [heads] if spec.sink, else empty
};

struct BackwardCall {
  ConstTensorView q;
  ConstTensorView k;
  ConstTensorView v;
  ConstTensorView out;          ///< what forward returned, any dtype (f32 keeps most)
  ConstTensorView dout;         ///< [batch, q_rows, heads, head_dim], any dtype
  ConstRowStats lse;            ///< what forward returned
  TensorView dq;                ///< [batch, q_rows, heads, head_dim], any dtype, written
  TensorView dk;                ///< [batch, k_rows, kv_heads, head_dim], any dtype, written
  TensorView dv;
  std::span<const float> sink{};  ///< [heads] if spec.sink, else empty
  std::span<float> dsink{};       ///< [heads] if spec.sink, else empty: summed over all ranks
};

/// What the last call cost this rank.
struct CallReport {
  std::uint64_t messages = 0;  ///< sent: blocks, rows and gradients; with shared memory one-byte tokens in backward
  std::uint64_t bytes_sent = 0;
  double flops = 0;              ///< useful: 4 (forward) or 10 (backward) * head_dim per visible pair and head
  double seconds = 0;
  double exposed_comm_seconds = 0;  ///< waiting for blocks and gradients, not computing
};

/// One ring over one communicator, for one spec. Construction and calls are collective: every rank makes the same calls
/// in the same order. Wrong arguments on any rank throw the same UsageError on all, before anything is sent; so do
/// specs that differ between ranks. Blocks of memory: two of K/V, and in backward three f32 ones of dK/dV, and up to
/// one more (causal zigzag: half) for rows that come home early (one and two where all ranks read in place); where rows come
/// directly from their owners (masks that hide some from every rank) five of K/V, or in backward four and six f32 ones.
class RingAttention {
 public:
  RingAttention(MPI_Comm comm, LayoutSpec layout, AttentionSpec spec, Execution execution = {});
  ~RingAttention();
  RingAttention(RingAttention&&) noexcept;
  RingAttention& operator=(RingAttention&&) noexcept;

  int rank() const;
  int size() const;
  const AttentionSpec& spec() const;
  const Layout& q_layout() const;
  const Layout& k_layout() const;
  std::string_view backend() const;   ///< resolved name
  ExchangeKind exchange() const;      ///< resolved: shared, nodes, messages or device
  std::string_view mover() const;     ///< how blocks move between devices; empty unless exchange() is device
  int threads() const;                ///< resolved

  /// out = softmax(scores) v over the whole sequence; see kernels/contract/attention.hpp for the formulas.
  void forward(const ForwardCall& call);
  /// Gradients of sum(out * dout); dk, dv and dsink are sums over all queries of all ranks.
  void backward(const BackwardCall& call);
  const CallReport& last_call() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Visible pairs * heads * batch * 4 * head_dim (forward) or 10 (backward), over all ranks.
double attention_flops(const AttentionSpec& spec, kernels::Direction direction);

/// Bytes that a call allocates on the rank that needs most, in pure arithmetic (no MPI, no allocation): blocks, carries,
/// gradients and masks. The caller's own tensors are not counted. Throws UsageError for an invalid spec.
std::uint64_t attention_bytes(const AttentionSpec& spec, LayoutSpec layout, int ranks, const kernels::KernelTable& table,
                              ExchangeKind exchange, kernels::Direction direction);

}  // namespace annulus
