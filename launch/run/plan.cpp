/// Options, input and documents become a model, a shape and a sum of bytes.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run/plan.hpp"

#include <fmt/format.h>

#include <array>

#include "kernels/base/error.hpp"
#include "kernels/kernel_table.hpp"
#include "launch/model_options.hpp"
#include "launch/run/resume.hpp"
#include "runtime/comm/placement.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

std::int64_t chosen_seq_len(const RunOptions& options, const RunInput* input) {
  if (input == nullptr) return options.seq_len;
  if (options.seq_len > input->seq_len()) {
    throw InputError(fmt::format("--seq-len {} goes beyond {}, which has {} tokens (none are made up); try --seq-len {}",
                                 options.seq_len, options.input, input->seq_len(), input->seq_len()));
  }
  return options.seq_len > 0 ? options.seq_len : input->seq_len();
}

DType chosen_dtype(const RunOptions& options, const RunInput* input) {
  const DType stored = input == nullptr ? DType::f32 : input->dtype().value_or(DType::f32);
  const DType dtype = options.attention.dtype.value_or(stored);
  if (dtype == DType::f64) throw InputError(options.input + " holds f64 (projections are f32); try --dtype f32");
  return dtype;
}

stack::ModelSpec model_for(const RunOptions& options, const RunInput* input, const Documents& documents) {
  AttentionOptions scores = options.attention;
  const std::int64_t seq_len = chosen_seq_len(options, input);
  scores.mask.cu_seqlens = bounds_within(documents, seq_len);
  stack::ModelSpec model = chosen_model(options.model, scores);
  AttentionSpec& shape = model.attention;
  shape.batch = input == nullptr ? options.resumed_batch : input->batch();
  shape.seq_q = shape.seq_k = seq_len;
  shape.dtype = chosen_dtype(options, input);
  stack::check(model);
  if (input != nullptr && input->width().value_or(model.width()) != model.width()) {
    throw InputError(fmt::format("{} has width {} but {} heads of {} make {} (a row is one token's heads); "
                                 "try other --heads or --head-dim",
                                 options.input, *input->width(), shape.heads, shape.head_dim, model.width()));
  }
  return model;
}

/// auto: zigzag where some layer is global and causal; local work is even anyway, and contiguous shards keep it near.
LayoutKind chosen_layout(const RunOptions& options, const stack::ModelSpec& model) {
  const bool uneven = model.has(stack::LayerKind::global) && model.attention.mask.causal;
  return options.attention.layout.value_or(uneven ? LayoutKind::zigzag : LayoutKind::contiguous);
}

/// A resumed model is that of a checkpoint: if it is none, the file is at fault.
stack::ModelSpec checked_model(const RunOptions& options, const RunInput* input, const Documents& documents) {
  try {
    return model_for(options, input, documents);
  } catch (const UsageError& error) {
    if (options.resume.empty()) throw;
    refuse_to_resume(options.resume, fmt::format("its plan is of no model: {}", error.what()));
  }
}

}  // namespace

Plan make_plan(const RunOptions& options, const RunInput* input, const Documents& documents, int ranks, int threads) {
  Plan plan{.model = checked_model(options, input, documents), .shape = {}, .cu_seqlens = documents.source, .memory = {}};
  plan.shape = {.layout = {chosen_layout(options, plan.model)},
                .ranks = ranks,
                .threads = threads,
                .direction = options.attention.backward ? Direction::backward : Direction::forward,
                .exchange = options.attention.exchange,
                .local_halo = options.local_halo,
                .verify_rows = options.verify_rows,
                .tensor_files = !options.output.empty() || (input != nullptr && input->width()),
                .tokens = input == nullptr || !input->width()};
  check_halo(options.local_halo, plan.model.has(stack::LayerKind::local));
  plan.shape.local_halo = stack::resolve(options.local_halo, plan.model, plan.shape.layout, ranks);
  const auto& table = kernels::kernel_table(options.attention.backend, plan.model.attention.dtype);
  plan.memory = stack::memory_plan(plan.model, plan.shape, table);
  return plan;
}

int planned_threads(const Communicator& world, const RunOptions& options) {
  std::array<std::uint64_t, 1> threads{static_cast<std::uint64_t>(options.attention.threads)};
  if (threads[0] == 0) threads[0] = static_cast<std::uint64_t>(fair_threads(world.node()));
  world.max(threads);
  return static_cast<int>(threads[0]);
}

}  // namespace annulus::launch
