/// Attention of one rank over keys that it keeps itself, halo rows included: it sends nothing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "runtime/engine/ring_attention.hpp"
#include "runtime/layout/row_set.hpp"

namespace annulus {

/// What a rank keeps for local layers, as positions in the whole sequence.
struct LocalRows {
  RowSet queries;   ///< the rows of q, out, dout and dq
  RowSet computed;  ///< the queries that are computed; others get out = 0, lse = -infinity and no gradients
  RowSet keys;      ///< the rows of k, v, dk and dv
};

/// The rows around a rank's own with which its local layers are exact: for `mask`, its shard and the halo that its
/// queries see. Pure arithmetic.
LocalRows local_rows(const MaskSpec& mask, const Layout& layout, int rank);

/// Bytes that a LocalAttention over `rows` queries and as many keys allocates: block, carries, gradients and mask. Pure
/// arithmetic; checked.
std::uint64_t local_attention_bytes(const AttentionSpec& spec, std::int64_t rows, const kernels::KernelTable& table,
                                    kernels::Direction direction);

/// Exact for every computed query, whose visible keys must all be among `rows.keys`. Needs no MPI; every method is local.
/// dk and dv hold the shares of these queries alone: gradients of halo rows are to be added up at their owners
/// (HaloExchange); dsink likewise.
class LocalAttention {
 public:
  /// Throws UsageError for an invalid spec or backend, for an exchange other than automatic (there is none), for queries
  /// and keys outside [0, seq_q) and [0, seq_k), for computed rows that are no queries, and for computed queries that see
  /// a key which is not held. execution.threads 0: the cores this process may use.
  LocalAttention(AttentionSpec spec, LocalRows rows, Execution execution = {});
  ~LocalAttention();
  LocalAttention(LocalAttention&&) noexcept;
  LocalAttention& operator=(LocalAttention&&) noexcept;

  const LocalRows& rows() const;
  /// Other rows from the next call on; throws UsageError as the constructor.
  void keep(LocalRows rows);
  std::string_view backend() const;  ///< resolved name

  void forward(const ForwardCall& call);
  void backward(const BackwardCall& call);
  int threads() const;  ///< resolved
  /// Flops are those of all computed queries, halo rows included.
  const CallReport& last_call() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace annulus
