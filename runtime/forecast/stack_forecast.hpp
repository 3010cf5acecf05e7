/// What a stack of layers will take on a given machine, layer by layer. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "runtime/forecast/attention_forecast.hpp"
#include "runtime/stack/model.hpp"
#include "runtime/stack/stack_rows.hpp"

namespace annulus::forecast {

struct LayerForecast {
  stack::LayerKind kind = stack::LayerKind::global;
  kernels::Direction direction = kernels::Direction::forward;
  CallForecast attention;      ///< and, behind a global layer, the halo of the local ones that follow
  double row_seconds = 0;      ///< norm, projections, rotation, residual and weights
  double seconds() const { return attention.seconds + row_seconds; }
};

/// How a stack is run; `exchange` and `local_halo` resolved.
struct StackPlan {
  LayoutSpec layout;
  Placement placement;
  ExchangeKind exchange = ExchangeKind::messages;
  stack::LocalHalo local_halo = stack::LocalHalo::exchange;
  bool backward = false;  ///< forward, then backward; else forward alone
};

/// In the order in which they run: as stack::Stack::costs(). Throws InputError where the machine has no rate, UsageError for
/// an impossible model.
std::vector<LayerForecast> forecast_stack(const stack::ModelSpec& model, const StackPlan& plan,
                                          const kernels::KernelTable& table, const Machine& machine);

/// Sums over layers.
struct StackTotals {
  double seconds = 0;
  double compute_seconds = 0;
  double mean_compute_seconds = 0;
  double exposed_seconds = 0;
  double flops = 0;
  double bytes_sent = 0;
  double most_bytes_per_link = 0;
};
StackTotals totals(const std::vector<LayerForecast>& layers);

}  // namespace annulus::forecast
