/// The plan of a run in a checkpoint, and the way back from it.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run/resume.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "launch/run/saved_halo.hpp"
#include "launch/run/text.hpp"
#include "runtime/checkpoint/generation_folder.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus::launch {
namespace {

Json parsed_plan(const std::string& folder, const std::string& text) {
  const Json plan = Json::parse(text, nullptr, false);
  const auto is_word = [](const Json& word) { return word.is_string(); };
  const bool sound = plan.is_object() && plan.contains("arguments") && plan["arguments"].is_array() &&
                     std::all_of(plan["arguments"].begin(), plan["arguments"].end(), is_word) &&
                     plan.contains("batch") && plan["batch"].is_number_integer() &&
                     plan["batch"].get<std::int64_t>() > 0 && plan.value("cu_seqlens", Json("")).is_string();
  if (!sound) refuse_to_resume(folder, "its plan is not that of annulus run");
  if (plan.value("backward", Json(false)) != Json(false)) {
    refuse_to_resume(folder, "it was a run with gradients: the layers before have left nothing to differentiate");
  }
  return plan;
}

/// Over the owners' rows go those that this rank had computed itself, if it was this rank that saved them.
void load_halo(const Communicator& world, const SavedGeneration& generation, stack::Stack& stack, std::int64_t done) {
  SavedHalo halo(world, stack, done - 1);
  const std::vector<SavedTensorInfo> saved = generation.tensors();
  const auto is_halo = [&](const SavedTensorInfo& tensor) { return tensor.name == halo.name(); };
  if (halo.empty() || std::none_of(saved.begin(), saved.end(), is_halo)) return;
  const LoadedShard shard{halo.name(), halo.layout(), halo.room()};
  generation.load({&shard, 1});
  halo.copy_in();
}

/// Shards alone come in one pass over the file that reads each byte once, which fine stripes need; where a rank keeps a
/// halo, each reads the granules around its own rows.
void load_input(const Communicator& world, const SavedGeneration& generation, stack::Stack& stack, std::int64_t done) {
  const AttentionSpec& spec = stack.model().attention;
  const RowSet& rows = stack.input_rows(done);
  const TensorView x = dense_view(stack.input(done).data(), spec.dtype, spec.batch, rows.rows(), 1, stack.model().width());
  std::array<std::uint64_t, 1> no_halo{rows.rows() == stack.rows() ? 1U : 0U};
  world.min(no_halo);
  if (no_halo[0] == 0) {
    generation.load_rows(tensor_name(done, "x"), rows.pieces(), x);
    return load_halo(world, generation, stack, done);
  }
  const LoadedShard shard{tensor_name(done, "x"), stack.layout(), x};
  generation.load({&shard, 1});
}

}  // namespace

std::string tensor_name(std::int64_t layers_done, const std::string& tensor) {
  return fmt::format("layers/{:06}/{}", layers_done, tensor);
}

void refuse_to_resume(const std::string& folder, const std::string& why) {
  throw InputError(fmt::format("cannot resume from '{}' ({}); try another --resume, or start again", folder, why));
}

bool same_run(const std::string& a, const std::string& b) {
  const auto plan = [](const std::string& text) {
    Json json = Json::parse(text, nullptr, false);
    if (json.is_object()) json.erase("cu_seqlens");
    return json;
  };
  return plan(a) == plan(b);
}

std::string plan_text(const RunOptions& options, const stack::ModelSpec& model, const std::string& cu_seqlens) {
  const AttentionSpec& shape = model.attention;
  Json arguments = Json::array();
  for (const std::string& word : options.defining) {
    if (!word.starts_with("--seq-len=") && !word.starts_with("--dtype=")) arguments.push_back(word);
  }
  arguments.push_back(fmt::format("--seq-len={}", shape.seq_q));
  arguments.push_back(fmt::format("--dtype={}", name(shape.dtype)));
  Json plan{{"command", "run"},
            {"arguments", arguments},
            {"batch", shape.batch},
            {"model", model_json(model, options.model.preset)}};
  if (options.attention.backward) plan["backward"] = true;
  if (!cu_seqlens.empty()) plan["cu_seqlens"] = std::filesystem::absolute(cu_seqlens).string();
  return plan.dump();
}

SavedRun saved_run(const std::string& folder) {
  if (checkpoint::is_generation_path(folder)) refuse_to_resume(folder, "it is one save; the folder around it is wanted");
  for (const checkpoint::FoundGeneration& found : checkpoint::find_generations(folder)) {
    if (!found.manifest) continue;
    const Json plan = parsed_plan(folder, found.manifest->plan);
    return {plan["arguments"].get<std::vector<std::string>>(), plan["batch"].get<std::int64_t>(),
            plan.value("cu_seqlens", std::string())};
  }
  refuse_to_resume(folder, "it holds no complete generation");
}

Resumed resume(const Communicator& world, const std::string& folder, const std::string& plan, stack::Stack& stack) {
  const Checkpoint checkpoint(world.raw(), folder);
  Resumed resumed;
  resumed.report = checkpoint.load_newest([&](const SavedGeneration& generation) {
    const std::int64_t done = generation.notes().step;
    together(world, [&] {
      if (!same_run(generation.notes().plan, plan)) refuse_to_resume(folder, generation.path() + " is of another run");
      if (done < 1 || done > stack.model().layers) {
        refuse_to_resume(folder, fmt::format("{} layers are done of {}", done, stack.model().layers));
      }
    });
    load_input(world, generation, stack, done);
    resumed.layer = done;
  });
  return resumed;
}

}  // namespace annulus::launch
