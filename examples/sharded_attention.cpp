/// Forward and backward over one sequence that no rank holds whole: mpirun -n 4 sharded_attention
// SPDX-License-Identifier: Apache-2.0
#include <annulus/annulus.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

namespace {

constexpr std::int64_t seq_len = 4099;  // not a multiple of anything: shards may differ by a row
constexpr std::int64_t heads = 4;
constexpr std::int64_t kv_heads = 2;
constexpr std::int64_t head_dim = 64;

/// A smooth function of the global position, so that every rank can make its own rows.
std::vector<float> make_rows(const annulus::Layout& layout, int rank, std::int64_t width, float phase) {
  std::vector<float> rows;
  for (const std::int64_t pos : layout.positions(rank)) {
    for (std::int64_t c = 0; c < width; ++c) rows.push_back(std::sin(0.01F * static_cast<float>(pos * (c + 3)) + phase));
  }
  return rows;
}

annulus::TensorView view(std::vector<float>& rows, std::int64_t count, std::int64_t n_heads) {
  return annulus::dense_view(reinterpret_cast<std::byte*>(rows.data()), annulus::DType::f32, 1, count, n_heads, head_dim);
}

void attend_and_differentiate(MPI_Comm comm) {
  annulus::AttentionSpec spec{.seq_q = seq_len, .seq_k = seq_len, .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim};
  spec.mask.causal = true;
  annulus::RingAttention ring(comm, {annulus::LayoutKind::zigzag}, spec);

  const annulus::Layout& layout = ring.q_layout();
  const std::int64_t rows = layout.rows(ring.rank());
  std::vector<float> q = make_rows(layout, ring.rank(), heads * head_dim, 0.0F);
  std::vector<float> k = make_rows(layout, ring.rank(), kv_heads * head_dim, 1.0F);
  std::vector<float> v = make_rows(layout, ring.rank(), kv_heads * head_dim, 2.0F);
  std::vector<float> out(q.size());
  std::vector<float> lse(static_cast<std::size_t>(heads * rows));
  const annulus::RowStats lse_view = annulus::dense_stats(lse.data(), 1, heads, rows);
  ring.forward({.q = view(q, rows, heads),
                .k = view(k, rows, kv_heads),
                .v = view(v, rows, kv_heads),
                .out = view(out, rows, heads),
                .lse = lse_view});

  std::vector<float> dout(out.size(), 1.0F);
  std::vector<float> dq(q.size());
  std::vector<float> dk(k.size());
  std::vector<float> dv(v.size());
  ring.backward({.q = view(q, rows, heads),
                 .k = view(k, rows, kv_heads),
                 .v = view(v, rows, kv_heads),
                 .out = view(out, rows, heads),
                 .dout = view(dout, rows, heads),
                 .lse = lse_view,
                 .dq = view(dq, rows, heads),
                 .dk = view(dk, rows, kv_heads),
                 .dv = view(dv, rows, kv_heads)});

  double sum = 0;  // every query spreads weight 1 over its keys, so the elements of dv add up to heads * seq_len * head_dim
  for (const float x : dv) sum += x;
  double total = 0;
  MPI_Reduce(&sum, &total, 1, MPI_DOUBLE, MPI_SUM, 0, comm);
  if (ring.rank() == 0) {
    std::printf("%d ranks, %s kernels, %s exchange: sum of dv = %.3f, expected %lld\n", ring.size(),
                std::string(ring.backend()).c_str(), std::string(annulus::name(ring.exchange())).c_str(), total,
                static_cast<long long>(heads * seq_len * head_dim));
  }
}

}  // namespace

int main(int argc, char** argv) {
  int level = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
  attend_and_differentiate(MPI_COMM_WORLD);
  MPI_Finalize();
}
