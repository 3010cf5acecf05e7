/// Causal attention through the installed package, compared with plain loops on every rank.
// SPDX-License-Identifier: Apache-2.0
#include <annulus/annulus.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

namespace {

constexpr std::int64_t seq_len = 37;
constexpr std::int64_t head_dim = 8;

enum class Role { q = 1, k = 2, v = 3 };

/// An element as a function of its global position: every rank can make any row.
float element(Role role, std::int64_t pos, std::int64_t c) {
  return std::sin(0.7F * static_cast<float>(pos) + 1.3F * static_cast<float>(c) * static_cast<float>(role));
}

std::vector<float> shard(Role role, const annulus::Layout& layout, int rank) {
  std::vector<float> rows;
  for (const std::int64_t pos : layout.positions(rank)) {
    for (std::int64_t c = 0; c < head_dim; ++c) rows.push_back(element(role, pos, c));
  }
  return rows;
}

/// Row `pos` of softmax(q k^T / sqrt(head_dim)) v under the causal mask.
std::vector<double> expected_row(std::int64_t pos) {
  std::vector<double> row(head_dim, 0.0);
  double denominator = 0;
  for (std::int64_t j = 0; j <= pos; ++j) {
    double score = 0;
    for (std::int64_t c = 0; c < head_dim; ++c) {
      score += static_cast<double>(element(Role::q, pos, c)) * static_cast<double>(element(Role::k, j, c));
    }
    const double weight = std::exp(score / std::sqrt(static_cast<double>(head_dim)));
    denominator += weight;
    for (std::int64_t c = 0; c < head_dim; ++c) {
      row[static_cast<std::size_t>(c)] += weight * static_cast<double>(element(Role::v, j, c));
    }
  }
  for (double& x : row) x /= denominator;
  return row;
}

/// The largest difference between this rank's rows and the plain loops.
double max_error(MPI_Comm comm) {
  annulus::AttentionSpec spec{.seq_q = seq_len, .seq_k = seq_len, .head_dim = head_dim};
  spec.mask.causal = true;
  annulus::RingAttention ring(comm, {annulus::LayoutKind::zigzag}, spec);
  const annulus::Layout& layout = ring.q_layout();
  const std::int64_t rows = layout.rows(ring.rank());
  std::vector<float> q = shard(Role::q, layout, ring.rank());
  std::vector<float> k = shard(Role::k, layout, ring.rank());
  std::vector<float> v = shard(Role::v, layout, ring.rank());
  std::vector<float> out(q.size());
  std::vector<float> lse(static_cast<std::size_t>(rows));
  const auto view = [rows](std::vector<float>& data) {
    return annulus::dense_view(reinterpret_cast<std::byte*>(data.data()), annulus::DType::f32, 1, rows, 1, head_dim);
  };
  ring.forward({.q = view(q),
                .k = view(k),
                .v = view(v),
                .out = view(out),
                .lse = annulus::dense_stats(lse.data(), 1, 1, rows)});

  double worst = 0;
  std::size_t at = 0;
  for (const std::int64_t pos : layout.positions(ring.rank())) {
    for (const double expected : expected_row(pos)) worst = std::fmax(worst, std::fabs(out[at++] - expected));
  }
  return worst;
}

}  // namespace

int main(int argc, char** argv) {
  int level = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  double worst = max_error(MPI_COMM_WORLD);
  MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  std::printf("%d ranks, largest error %.2e\n", size, worst);
  return size > 1 && worst < 1e-5 ? 0 : 1;
}
