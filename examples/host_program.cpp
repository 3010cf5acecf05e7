/// A program that already runs MPI gives some of its ranks to Annulus: mpirun -n 5 host_program
// SPDX-License-Identifier: Apache-2.0
#include <annulus/annulus.hpp>

#include <cstdio>
#include <vector>

namespace {

/// Non-causal cross-attention of 100 queries over 1000 keys on the ranks of `comm`; all values are 1, so out is 1.
float attend(MPI_Comm comm) {
  constexpr std::int64_t head_dim = 32;
  annulus::RingAttention ring(comm, {annulus::LayoutKind::contiguous}, {.seq_q = 100, .seq_k = 1000, .head_dim = head_dim});
  const std::int64_t q_rows = ring.q_layout().rows(ring.rank());
  const std::int64_t k_rows = ring.k_layout().rows(ring.rank());
  std::vector<float> q(static_cast<std::size_t>(q_rows * head_dim), 0.5F);
  std::vector<float> kv(static_cast<std::size_t>(k_rows * head_dim), 1.0F);
  std::vector<float> out(q.size());
  std::vector<float> lse(static_cast<std::size_t>(q_rows));
  const auto view = [](std::vector<float>& data, std::int64_t rows) {
    return annulus::dense_view(reinterpret_cast<std::byte*>(data.data()), annulus::DType::f32, 1, rows, 1, head_dim);
  };
  ring.forward({.q = view(q, q_rows),
                .k = view(kv, k_rows),
                .v = view(kv, k_rows),
                .out = view(out, q_rows),
                .lse = annulus::dense_stats(lse.data(), 1, 1, q_rows)});
  return out.empty() ? 1.0F : out.back();
}

}  // namespace

int main(int argc, char** argv) {
  int level = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);

  // The last rank has other work; the others form the ring.
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const bool in_ring = size == 1 || rank + 1 < size;
  MPI_Comm part = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, in_ring ? 0 : 1, rank, &part);
  float value = 0;
  try {
    if (in_ring) value = attend(part);
  } catch (const annulus::Error& error) {  // e.g. wrong arguments: thrown on every rank of the ring alike
    std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
    MPI_Abort(MPI_COMM_WORLD, static_cast<int>(error.code()));
  }
  MPI_Comm_free(&part);
  if (rank == 0) std::printf("the ring's ranks computed %.3f (1.000 expected)\n", static_cast<double>(value));
  MPI_Finalize();
}
