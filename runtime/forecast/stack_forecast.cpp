/// Layers of one variant at one place of their run cost the same: each is computed once.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/forecast/stack_forecast.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace annulus::forecast {
namespace {

using kernels::Direction;
using stack::LayerKind;
using stack::StackRows;

class Forecaster {
 public:
  Forecaster(const stack::ModelSpec& model, const StackPlan& plan, const kernels::KernelTable& table,
             const Machine& machine)
      : model_(model), plan_(plan), table_(table), machine_(machine), variants_(model) {
    const int ranks = plan.placement.ranks;
    // Ranks at the ends have half a halo; those in between have the same, up to a row.
    const std::set<int> alike{0, ranks / 2, ranks - 1};
    for (const int rank : alike) {
      rows_.emplace_back(model, plan.layout, rank, ranks, plan.local_halo);
      stand_for_.push_back(1);
    }
    stand_for_[stand_for_.size() / 2] += ranks - static_cast<int>(alike.size());
  }

  LayerForecast layer(std::int64_t index, Direction direction) {
    LayerForecast forecast{.kind = model_.kind(index), .direction = direction, .attention = attention(index, direction)};
    std::int64_t held = 0;
    for (const StackRows& rows : rows_) held = std::max(held, rows.held(index).rows());
    forecast.row_seconds = row_seconds(held, direction);
    add_halo(index, direction, forecast.attention);
    return forecast;
  }

 private:
  /// The rank of rows_ that computes most.
  CallForecast attention(std::int64_t index, Direction direction) {
    const AttentionSpec& spec = variants_.spec(index).attention;
    if (rows_[0].run(index) == nullptr) return ring(variants_.of(index), spec, direction);
    CallForecast slowest;
    for (const StackRows& rows : rows_) {
      const CallForecast own = forecast_local(spec, rows.computed(index), plan_.placement, direction, machine_);
      if (own.seconds > slowest.seconds) slowest = own;
    }
    return slowest;
  }

  const CallForecast& ring(std::size_t variant, const AttentionSpec& spec, Direction direction) {
    const auto key = std::tuple{variant, direction};
    const auto known = rings_.find(key);
    if (known != rings_.end()) return known->second;
    return rings_.emplace(key, forecast_attention(spec, plan_.layout, plan_.placement, plan_.exchange, direction, table_, machine_))
        .first->second;
  }

  double row_seconds(std::int64_t held, Direction direction) const {
    const auto width = static_cast<double>(model_.width());
    const auto qkv = static_cast<double>(model_.qkv_width());
    const auto rows = static_cast<double>(model_.attention.batch * held);
    const double projected = direction == Direction::forward ? qkv + width : 2 * qkv + width;
    const double cores = plan_.placement.threads / plan_.placement.crowding(machine_.cores_per_node);
    double seconds = 0;
    if (machine_.projection_flops_per_second > 0) {
      seconds += 2 * rows * width * projected / (machine_.projection_flops_per_second * cores);
    }
    if (machine_.weights_per_second > 0) seconds += width * (qkv + width) / (machine_.weights_per_second * cores);
    return seconds;
  }

  /// x of the halo, which the layer before a run fetches; backward, its gradients go home behind the run's first layer.
  void add_halo(std::int64_t index, Direction direction, CallForecast& attention) const {
    const std::int64_t opened = direction == Direction::forward ? index + 1 : index;
    if (opened >= model_.layers || !rows_[0].opens_run(opened)) return;
    const auto element = direction == Direction::forward ? size_of(model_.attention.dtype) : sizeof(float);
    const double row_bytes = static_cast<double>(model_.attention.batch * model_.width()) * static_cast<double>(element);
    std::int64_t halo = 0;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const std::int64_t fetched = rows_[i].held(opened).rows() - rows_[i].own().rows();
      halo = std::max(halo, fetched);
      attention.bytes_sent += static_cast<double>(fetched * stand_for_[i]) * row_bytes;
    }
    if (halo == 0) return;
    const LinkSpeed& link = link_speed(machine_, plan_.placement.nodes() > 1);
    const double bytes = static_cast<double>(halo) * row_bytes;
    const double seconds = link.latency_seconds + bytes / link.bytes_per_second;
    attention.seconds += seconds;
    attention.exposed_seconds += seconds;
    attention.most_bytes_per_link += bytes;
  }

  const stack::ModelSpec& model_;
  const StackPlan& plan_;
  const kernels::KernelTable& table_;
  const Machine& machine_;
  stack::LayerVariants variants_;
  std::vector<StackRows> rows_;  ///< of a few ranks
  std::vector<int> stand_for_;   ///< how many ranks each of them stands for
  std::map<std::tuple<std::size_t, Direction>, CallForecast> rings_;
};

}  // namespace

std::vector<LayerForecast> forecast_stack(const stack::ModelSpec& model, const StackPlan& plan,
                                          const kernels::KernelTable& table, const Machine& machine) {
  stack::check(model);
  Forecaster forecaster(model, plan, table, machine);
  std::vector<LayerForecast> layers;
  for (std::int64_t index = 0; index < model.layers; ++index) layers.push_back(forecaster.layer(index, Direction::forward));
  for (std::int64_t index = plan.backward ? model.layers : 0; index-- > 0;) {
    layers.push_back(forecaster.layer(index, Direction::backward));
  }
  return layers;
}

StackTotals totals(const std::vector<LayerForecast>& layers) {
  StackTotals sum;
  for (const LayerForecast& layer : layers) {
    sum.seconds += layer.seconds();
    sum.compute_seconds += layer.attention.compute_seconds + layer.row_seconds;
    sum.mean_compute_seconds += layer.attention.mean_compute_seconds + layer.row_seconds;
    sum.exposed_seconds += layer.attention.exposed_seconds;
    sum.flops += layer.attention.flops;
    sum.bytes_sent += layer.attention.bytes_sent;
    sum.most_bytes_per_link += layer.attention.most_bytes_per_link;
  }
  return sum;
}

}  // namespace annulus::forecast
