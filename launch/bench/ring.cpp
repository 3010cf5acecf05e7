/// Times the ring beside one rank that does all the work.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/ring.hpp"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "launch/bench/tensors.hpp"
#include "launch/table.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/placement.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

constexpr LayoutSpec layout{LayoutKind::zigzag};

AttentionSpec spec_of(const RingShape& shape, int ranks) {
  AttentionSpec spec;
  spec.seq_q = spec.seq_k = static_cast<std::int64_t>(checked_product({shape.rows_per_rank, ranks}));
  spec.heads = spec.kv_heads = shape.heads;
  spec.head_dim = shape.head_dim;
  spec.dtype = shape.dtype;
  spec.mask.causal = true;
  return spec;
}

/// A ring with its tensors, ready to run again and again. Collective over its communicator.
class RingBench {
 public:
  RingBench(const Communicator& comm, const RingShape& shape, const AttentionSpec& spec, const Execution& execution)
      : direction_(shape.direction), ring_(comm.raw(), layout, spec, execution) {
    together(comm,
             [&] { tensors_.emplace(shape.dtype, ring_.q_layout().rows(ring_.rank()), shape.heads, shape.head_dim); });
    forward();
    if (direction_ == Direction::backward) backward();  // touches the memory
  }

  const CallReport& run() {
    direction_ == Direction::forward ? forward() : backward();
    return ring_.last_call();
  }
  const RingAttention& ring() const { return ring_; }

 private:
  void forward() {
    ring_.forward(
        {.q = tensors_->q, .k = tensors_->k, .v = tensors_->v, .out = tensors_->out, .lse = tensors_->lse, .sink = {}});
  }
  void backward() {
    BenchTensors& t = *tensors_;
    ring_.backward({.q = t.q,
                    .k = t.k,
                    .v = t.v,
                    .out = t.out,
                    .dout = t.dout,
                    .lse = t.lse,
                    .dq = t.dq,
                    .dk = t.dk,
                    .dv = t.dv,
                    .sink = {},
                    .dsink = {}});
  }

  Direction direction_;
  RingAttention ring_;
  std::optional<BenchTensors> tensors_;
};

}  // namespace

std::uint64_t ring_bench_bytes(const RingShape& shape, const Execution& execution, int ranks) {
  const AttentionSpec spec = spec_of(shape, ranks);
  const kernels::KernelTable& table = kernels::kernel_table(execution.backend, shape.dtype);
  const auto ring = [&](int size) {
    return attention_bytes(spec, layout, size, table, execution.exchange, shape.direction) +
           BenchTensors::bytes(shape.dtype, ceil_div(spec.seq_q, size), shape.heads, shape.head_dim);
  };
  return ring(1) + ring(ranks);
}

RingRate measure_ring(const Communicator& world, const RingShape& shape, const Execution& execution,
                      std::int64_t samples) {
  const AttentionSpec spec = spec_of(shape, world.size());
  RingBench all(world, shape, spec, execution);
  Execution same_threads = execution;
  same_threads.threads = all.ring().threads();
  const Communicator self = world.split(world.rank());
  std::optional<RingBench> alone;
  together(world, [&] {
    if (world.rank() == 0) alone.emplace(self, shape, spec, same_threads);
  });
  const int threads = all.ring().threads();
  std::array<std::uint64_t, 1> own_cores{cores_suffice(world.node(), threads) ? 1U : 0U};
  world.min(own_cores);
  RingRate rate{shape, world.size(), threads, own_cores[0] == 1, std::string(name(all.ring().exchange())), {}, {}};
  for (std::int64_t i = 0; i < samples; ++i) {
    double one_rank = 0;
    together(world, [&] {
      if (alone) one_rank = alone->run().seconds;
    });
    const CallReport& mine = all.run();
    std::array<double, 3> slowest{mine.seconds, mine.exposed_comm_seconds, one_rank};
    world.max(slowest);
    rate.efficiency.add(slowest[2] / (world.size() * slowest[0]));
    rate.exposed_fraction.add(slowest[1] / slowest[0]);
  }
  return rate;
}

std::string ring_table(const std::vector<RingRate>& rates) {
  Table table(
      {"ring", "ranks", "rows per rank", "dtype", "head_dim", "direction", "efficiency", "p10..p90", "exposed"});
  for (const RingRate& rate : rates) {
    table.add({fmt::format("{}, {}", name(layout.kind), rate.exchange), std::to_string(rate.ranks),
               std::to_string(rate.shape.rows_per_rank), std::string(name(rate.shape.dtype)),
               std::to_string(rate.shape.head_dim), std::string(word(rate.shape.direction)),
               fmt::format("{:.1f} %", 100 * rate.efficiency.median()),
               fmt::format("{:.1f}..{:.1f}", 100 * rate.efficiency.quantile(0.1), 100 * rate.efficiency.quantile(0.9)),
               fmt::format("{:.1f} %", 100 * rate.exposed_fraction.median())});
  }
  return table.text();
}

Json rings_to_json(const std::vector<RingRate>& rates) {
  Json entries = Json::array();
  for (const RingRate& rate : rates) {
    entries.push_back({{"ranks", rate.ranks},
                       {"rows_per_rank", rate.shape.rows_per_rank},
                       {"dtype", name(rate.shape.dtype)},
                       {"head_dim", rate.shape.head_dim},
                       {"direction", word(rate.shape.direction)},
                       {"layout", name(layout.kind)},
                       {"exchange", rate.exchange},
                       {"efficiency", rate.efficiency.median()},
                       {"efficiency_p10", rate.efficiency.quantile(0.1)},
                       {"efficiency_p90", rate.efficiency.quantile(0.9)},
                       {"exposed_comm_fraction", rate.exposed_fraction.median()}});
  }
  return entries;
}

}  // namespace annulus::launch
