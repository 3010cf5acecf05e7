/// Layers with a window, over keys that a rank keeps with the rows before its own: mpirun -n 4 local_layers
// SPDX-License-Identifier: Apache-2.0
#include <annulus/annulus.hpp>

#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

namespace {

constexpr std::int64_t seq_len = 4099;
constexpr std::int64_t head_dim = 64;

using Rows = std::vector<float>;

annulus::TensorView view(Rows& rows) {
  const auto count = static_cast<std::int64_t>(rows.size()) / head_dim;
  return annulus::dense_view(reinterpret_cast<std::byte*>(rows.data()), annulus::DType::f32, 1, count, 1, head_dim);
}

Rows of_size(const annulus::RowSet& rows) { return Rows(static_cast<std::size_t>(rows.rows() * head_dim)); }

/// What a rank keeps of keys and values: its own rows, and a halo that comes from their owners.
struct Keys {
  Rows k;
  Rows v;
  std::array<annulus::TensorView, 2> views() { return {view(k), view(v)}; }
};

/// Every rank makes its own rows, moved to their place among those that it keeps; all values are 1.
void fill(Keys& keys, const annulus::HaloPlan& plan, const annulus::RowSet& kept) {
  for (const std::int64_t pos : plan.own.positions()) {
    const auto first = static_cast<std::size_t>(kept.rows_before(pos) * head_dim);
    for (std::size_t c = first; c < first + head_dim; ++c) {
      keys.k[c] = std::sin(0.01F * static_cast<float>(pos));
      keys.v[c] = 1.0F;
    }
  }
}

void attend(MPI_Comm raw) {
  const annulus::Communicator comm = annulus::Communicator::duplicate(raw);
  annulus::AttentionSpec spec{.seq_q = seq_len, .seq_k = seq_len, .head_dim = head_dim};
  spec.mask = {.causal = true, .window_size = {255, 0}};
  const annulus::Layout layout(annulus::LayoutKind::contiguous, seq_len, comm.size());
  const auto rows_of = [&](int rank) { return annulus::local_rows(spec.mask, layout, rank); };
  const annulus::LocalRows rows = rows_of(comm.rank());

  // One exchange fetches the halo; from then on nothing is sent, whatever is attended to.
  const annulus::HaloPlan plan = annulus::halo_plan(layout, comm.rank(), [&](int rank) { return rows_of(rank).keys; });
  annulus::HaloExchange exchange(comm, plan);
  exchange.reserve(2 * head_dim * sizeof(float));
  Keys keys{of_size(rows.keys), of_size(rows.keys)};
  fill(keys, plan, rows.keys);
  const std::array<annulus::ConstTensorView, 2> own{view(keys.k), view(keys.v)};
  exchange.start(annulus::HaloExchange::Way::fetch, own, rows.keys);
  exchange.finish(keys.views(), rows.keys);

  annulus::LocalAttention attention(spec, rows);
  Rows q(of_size(rows.queries).size(), 0.5F);
  Rows out(q.size());
  Rows lse(q.size() / head_dim);
  const annulus::RowStats stats = annulus::dense_stats(lse.data(), 1, 1, rows.queries.rows());
  attention.forward({.q = view(q), .k = view(keys.k), .v = view(keys.v), .out = view(out), .lse = stats});

  // Backward: a rank's dk and dv have shares of halo rows, which one exchange brings home and adds up.
  Rows dout(out.size(), 1.0F);
  Rows dq(q.size());
  Keys gradients{of_size(rows.keys), of_size(rows.keys)};
  attention.backward({.q = view(q), .k = view(keys.k), .v = view(keys.v), .out = view(out), .dout = view(dout),
                      .lse = stats, .dq = view(dq), .dk = view(gradients.k), .dv = view(gradients.v)});
  const std::array<annulus::ConstTensorView, 2> shares{view(gradients.k), view(gradients.v)};
  exchange.start(annulus::HaloExchange::Way::home, shares, rows.keys);
  exchange.finish(gradients.views(), rows.keys);

  double sum = 0;  // every query spreads weight 1 over its keys
  for (const std::int64_t pos : plan.own.positions()) {
    const auto first = static_cast<std::size_t>(rows.keys.rows_before(pos) * head_dim);
    for (std::size_t c = first; c < first + head_dim; ++c) sum += static_cast<double>(gradients.v[c]);
  }
  double total = 0;
  MPI_Reduce(&sum, &total, 1, MPI_DOUBLE, MPI_SUM, 0, raw);
  if (comm.rank() == 0) {
    std::printf("%d ranks, windows of 256: sum of dv = %.3f, expected %lld\n", comm.size(), total,
                static_cast<long long>(seq_len * head_dim));
  }
}

}  // namespace

int main(int argc, char** argv) {
  int level = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
  attend(MPI_COMM_WORLD);
  MPI_Finalize();
}
