/// One call and its steps in turns.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/steps.hpp"

#include <fmt/format.h>

#include "launch/table.hpp"

namespace annulus::launch {

StepsRate measure_steps(const KernelShape& shape, std::int64_t samples) {
  KernelBench chained(shape);
  KernelShape whole = shape;
  whole.steps = 1;
  KernelBench once(whole);
  chained.run();  // touch the memory
  once.run();
  StepsRate rate{shape, {}};
  for (std::int64_t i = 0; i < samples; ++i) {
    const double at_once = once.run().attend;
    rate.of_one_call.add(at_once / chained.run().attend);
  }
  return rate;
}

std::string steps_table(const std::vector<StepsRate>& rates) {
  Table table({"steps", "backend", "dtype", "head_dim", "rows", "mask", "direction", "rate of one call", "p10..p90"});
  for (const StepsRate& rate : rates) {
    const KernelShape& shape = rate.shape;
    const Samples& samples = rate.of_one_call;
    table.add({std::to_string(shape.steps), std::string(shape.table->name), std::string(name(shape.dtype)),
               std::to_string(shape.head_dim), std::to_string(shape.rows), mask_word(shape),
               std::string(word(shape.direction)),
               fmt::format("{:.1f} %", 100 * samples.median()),
               fmt::format("{:.1f}..{:.1f}", 100 * samples.quantile(0.1), 100 * samples.quantile(0.9))});
  }
  return table.text();
}

Json steps_to_json(const std::vector<StepsRate>& rates) {
  Json entries = Json::array();
  for (const StepsRate& rate : rates) {
    entries.push_back({{"steps", rate.shape.steps},
                       {"backend", rate.shape.table->name},
                       {"dtype", name(rate.shape.dtype)},
                       {"head_dim", rate.shape.head_dim},
                       {"rows", rate.shape.rows},
                       {"mask", mask_word(rate.shape)},
                       {"direction", word(rate.shape.direction)},
                       {"of_one_call", rate.of_one_call.median()},
                       {"of_one_call_p10", rate.of_one_call.quantile(0.1)},
                       {"of_one_call_p90", rate.of_one_call.quantile(0.9)}});
  }
  return entries;
}

}  // namespace annulus::launch
