/// Ours and theirs in turns.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/peer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/cuda/cudnn_attention.hpp"
#include "launch/table.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;
using kernels::cuda::PeerAttention;

std::unique_ptr<PeerAttention> make_peer(const KernelShape& shape, const BenchTensors& tensors) {
  const kernels::cuda::PeerShape wanted{shape.dtype,    1,                  shape.heads,    shape.rows,
                                        shape.head_dim, shape.mask.causal, shape.direction};
  return kernels::cuda::cudnn_attention(wanted, {tensors.q, tensors.k, tensors.v, tensors.dout});
}

/// `theirs` holds the results of ours one behind the other.
template <class T>
double difference_of(const std::vector<ConstTensorView>& ours, const std::vector<std::byte>& theirs) {
  const T* other = reinterpret_cast<const T*>(theirs.data());
  double difference = 0;
  double largest = 0;
  for (const ConstTensorView& view : ours) {
    const T* own = reinterpret_cast<const T*>(view.data);
    const std::int64_t elements = view.batch * view.rows * view.heads * view.head_dim;
    for (std::int64_t i = 0; i < elements; ++i, ++own, ++other) {
      difference = std::max(difference, std::abs(to_double(*own) - to_double(*other)));
      largest = std::max(largest, std::abs(to_double(*other)));
    }
  }
  return difference / largest;
}

double difference_of(const KernelShape& shape, const BenchTensors& tensors, PeerAttention& peer) {
  std::vector<ConstTensorView> ours{tensors.out};
  if (shape.direction == Direction::backward) ours = {tensors.dq, tensors.dk, tensors.dv};
  double difference = 0;
  with_dtype(shape.dtype, [&](auto element) { difference = difference_of<decltype(element)>(ours, peer.results()); });
  return difference;
}

std::vector<std::string> cells_of(const PeerRate& peer) {
  if (!peer.refusal.empty()) return {"-", "-", "-"};
  return {fmt::format("{:.1f}", peer.gflops.median() / 1000), fmt::format("{:.2f}", peer.ours_to_theirs.median()),
          fmt::format("{:.1e}", peer.difference)};
}

}  // namespace

bool has_peer(const KernelShape& shape) {
  const bool sixteen_bits = shape.dtype == DType::bf16 || shape.dtype == DType::f16;
  return shape.table->take_device_seconds != nullptr && sixteen_bits && shape.steps == 1 && kernels::cuda::has_cudnn();
}

PeerRate measure_peer(const KernelShape& shape, std::int64_t samples) {
  PeerRate rate{shape, {}, {}, 0, {}};
  KernelBench bench(shape);
  bench.run();
  try {
    const auto peer = make_peer(shape, bench.tensors());
    peer->run();
    rate.difference = difference_of(shape, bench.tensors(), *peer);
    for (std::int64_t i = 0; i < samples; ++i) {
      const double ours = bench.run().attend;
      const double theirs = peer->run();
      rate.gflops.add(bench.flops() / theirs * 1e-9);
      rate.ours_to_theirs.add(theirs / ours);
    }
  } catch (const Error& error) {
    rate.refusal = error.what();
  }
  return rate;
}

std::string gpu_table(const std::vector<KernelRate>& rates, const std::vector<PeerRate>& peers) {
  std::vector<std::string> columns{"dtype", "head_dim", "rows", "mask", "direction", "TFLOP/s", "p10..p90"};
  if (!peers.empty()) columns.insert(columns.end(), {"cudnn", "ours to cudnn", "difference"});
  Table table(columns);
  auto peer = peers.begin();
  for (const KernelRate& rate : rates) {
    const KernelShape& shape = rate.shape;
    std::vector<std::string> cells{std::string(name(shape.dtype)),
                                   std::to_string(shape.head_dim),
                                   std::to_string(shape.rows),
                                   mask_word(shape),
                                   std::string(word(shape.direction)),
                                   fmt::format("{:.1f}", rate.attend.median() / 1000),
                                   fmt::format("{:.1f}..{:.1f}", rate.attend.quantile(0.1) / 1000,
                                               rate.attend.quantile(0.9) / 1000)};
    if (!peers.empty()) {
      const std::vector<std::string> theirs = has_peer(shape) ? cells_of(*peer++) : std::vector<std::string>{"-", "-", "-"};
      cells.insert(cells.end(), theirs.begin(), theirs.end());
    }
    table.add(cells);
  }
  std::string text = table.text();
  for (const PeerRate& refused : peers) {
    if (!refused.refusal.empty()) {
      text += fmt::format("cudnn, {} head_dim {}: {}\n", word(refused.shape.direction), refused.shape.head_dim, refused.refusal);
    }
  }
  return text;
}

Json peers_to_json(const std::vector<PeerRate>& peers) {
  Json entries = Json::array();
  for (const PeerRate& peer : peers) {
    Json entry{{"peer", "cudnn"},
               {"version", kernels::cuda::cudnn_version()},
               {"dtype", name(peer.shape.dtype)},
               {"head_dim", peer.shape.head_dim},
               {"rows", peer.shape.rows},
               {"mask", mask_word(peer.shape)},
               {"direction", word(peer.shape.direction)},
               {"refusal", peer.refusal.empty() ? Json(nullptr) : Json(peer.refusal)}};
    for (const char* key : {"gflops", "gflops_p10", "gflops_p90", "ours_to_theirs", "difference"}) entry[key] = nullptr;
    if (peer.refusal.empty()) {
      entry["gflops"] = peer.gflops.median();
      entry["gflops_p10"] = peer.gflops.quantile(0.1);
      entry["gflops_p90"] = peer.gflops.quantile(0.9);
      entry["ours_to_theirs"] = peer.ours_to_theirs.median();
      entry["difference"] = peer.difference;
    }
    entries.push_back(entry);
  }
  return entries;
}

}  // namespace annulus::launch
