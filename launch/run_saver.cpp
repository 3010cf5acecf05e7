/// Saving, resuming and stopping of `annulus run`.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run_saver.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <map>
#include <variant>

#include "launch/memory.hpp"
#include "launch/run_text.hpp"
#include "launch/saved_halo.hpp"
#include "runtime/checkpoint/generation_folder.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus::launch {
namespace {

constexpr double stop_margin_seconds = 2;  ///< to end MPI and the job

volatile std::sig_atomic_t stop_signalled = 0;

void note_signal(int) { stop_signalled = 1; }

std::string tensor_name(std::int64_t layers_done, const std::string& tensor) {
  return fmt::format("layers/{:06}/{}", layers_done, tensor);
}

Json parsed_plan(const std::string& folder, const std::string& text) {
  const Json plan = Json::parse(text, nullptr, false);
  const bool sound = plan.is_object() && plan.contains("arguments") && plan["arguments"].is_array() &&
                     std::all_of(plan["arguments"].begin(), plan["arguments"].end(), [](const Json& word) { return word.is_string(); }) &&
                     plan.contains("batch") && plan["batch"].is_number_integer() && plan["batch"].get<std::int64_t>() > 0 && plan.value("cu_seqlens", Json("")).is_string();
  if (!sound) refuse_to_resume(folder, "its plan is not that of annulus run");
  if (plan.value("backward", Json(false)) != Json(false)) {
    refuse_to_resume(folder, "it was a run with gradients: the layers before have left nothing to differentiate");
  }
  return plan;
}

/// The list of documents may have moved: the model knows its digest.
bool same_run(const std::string& a, const std::string& b) {
  const auto plan = [](const std::string& text) {
    Json json = Json::parse(text, nullptr, false);
    if (json.is_object()) json.erase("cu_seqlens");
    return json;
  };
  return plan(a) == plan(b);
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

void refuse_to_resume(const std::string& folder, const std::string& why) {
  throw InputError(fmt::format("cannot resume from '{}' ({}); try another --resume, or start again", folder, why));
}

void listen_for_stop() { std::signal(SIGUSR1, note_signal); }

std::string plan_text(const RunOptions& options, const stack::ModelSpec& model, const std::string& cu_seqlens) {
  const AttentionSpec& shape = model.attention;
  Json arguments = Json::array();
  for (const std::string& word : options.defining) {
    if (!word.starts_with("--seq-len=") && !word.starts_with("--dtype=")) arguments.push_back(word);
  }
  arguments.push_back(fmt::format("--seq-len={}", shape.seq_q));
  arguments.push_back(fmt::format("--dtype={}", name(shape.dtype)));
  Json plan{{"command", "run"}, {"arguments", arguments}, {"batch", shape.batch}, {"model", model_json(model, options.model.preset)}};
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
      if (done < 1 || done > stack.model().layers) refuse_to_resume(folder, fmt::format("{} layers are done of {}", done, stack.model().layers));
    });
    load_input(world, generation, stack, done);
    resumed.layer = done;
  });
  return resumed;
}

RunSaver::RunSaver(const Communicator& world, const RunOptions& options, std::string plan, std::uint64_t seed)
    : world_(world),
      options_(options),
      plan_(std::move(plan)),
      seed_(seed),
      checkpoint_(world.raw(), options.checkpoint, {.keep = static_cast<int>(options.keep)}) {
  checkpoint_.claim();
  together(world_, [&] {
    if (world_.rank() == 0) check_folder();
  });
}

/// A signal that comes too late is not to kill a run that has all but ended.
RunSaver::~RunSaver() { std::signal(SIGUSR1, SIG_IGN); }

/// What is there would be pruned as this run saves.
void RunSaver::check_folder() const {
  for (const checkpoint::FoundGeneration& found : checkpoint::find_generations(options_.checkpoint)) {
    if (!found.manifest) continue;
    if (options_.resume.empty()) {
      throw UsageError(fmt::format("'{0}' holds saves already, such as '{1}' (a new run would prune them); try --resume {0}, or "
                                   "another folder",
                                   options_.checkpoint, found.path));
    }
    if (!same_run(found.manifest->plan, plan_)) {
      throw UsageError(fmt::format("'{}' holds saves of another run, such as '{}' (this one would prune them); try another folder",
                                   options_.checkpoint, found.path));
    }
    return;
  }
}

/// The time limit must hold one more layer like the longest, and one more save.
RunSaver::Wish RunSaver::agreed_wish() {
  longest_layer_ = std::max(longest_layer_, watch_.seconds() - layer_began_);
  double save_seconds = 0;
  for (const SaveReport& save : saves_) save_seconds = std::max(save_seconds, save.seconds);
  const double needed = watch_.seconds() + 1.2 * longest_layer_ + 2 * save_seconds + stop_margin_seconds;
  const bool late = options_.time_limit_seconds > 0 && needed > options_.time_limit_seconds;
  const auto wish = stop_signalled != 0 ? Wish::signal : late ? Wish::time : Wish::none;
  std::array<std::uint64_t, 2> asked{wish == Wish::signal ? 1U : 0U, wish == Wish::time ? 1U : 0U};
  world_.max(asked);
  return asked[0] > 0 ? Wish::signal : asked[1] > 0 ? Wish::time : Wish::none;
}

void RunSaver::save(stack::Stack& stack, std::int64_t layers_done) {
  SavedHalo halo(world_, stack, layers_done - 1);
  const ConstTensorView halo_rows = halo.empty() ? ConstTensorView{} : halo.copy_out();
  stack.with_shard(layers_done - 1, [&](const stack::ShardView& view) {
    const std::map<std::string, std::variant<ConstTensorView, ConstRowStats>> tensors{
        {"q", view.q}, {"k", view.k}, {"v", view.v}, {"out", view.out}, {"lse", view.lse}};
    std::vector<SavedShard> shards{{tensor_name(layers_done, "x"), stack.layout(), view.x, true}};
    if (!halo.empty()) shards.push_back({halo.name(), halo.layout(), halo_rows, true});
    for (const std::string& tensor : options_.checkpoint_tensors) {
      shards.push_back({tensor_name(layers_done, tensor), stack.layout(), tensors.at(tensor)});
    }
    saves_.push_back(checkpoint_.save({.step = layers_done, .plan = plan_, .seed = seed_}, shards));
  });
}

void RunSaver::layer_done(stack::Stack& stack, std::int64_t layers_done, std::int64_t layers) {
  const Wish wish = layers_done < layers ? agreed_wish() : Wish::none;
  const bool tells_how_long_it_takes = options_.time_limit_seconds > 0 && saves_.empty();
  const bool due = layers_done % options_.checkpoint_every == 0 || tells_how_long_it_takes;
  if (wish != Wish::none || due) save(stack, layers_done);
  layer_began_ = watch_.seconds();
  if (wish == Wish::none) return;
  const std::string next = options_.attention.backward ? "which cannot be resumed (gradients start from the last layer)"
                                                       : "go on with --resume " + options_.checkpoint;
  throw Error(ExitCode::stopped,
              fmt::format("stopped after layer {} of {} ({}); saved as {}, {}", layers_done, layers,
                          wish == Wish::signal ? "SIGUSR1 asked for it" : "the time limit is near", saves_.back().path, next));
}

std::string saves_text(const std::vector<SaveReport>& saves) {
  if (saves.empty()) return "nothing (no layer was due, see --checkpoint-every)";
  const SaveReport& last = saves.back();
  return fmt::format("{} times, last {} ({}: written in {}, verified in {})", saves.size(), last.path,
                     bytes_text(static_cast<double>(last.bytes)), seconds_text(last.write_seconds),
                     seconds_text(last.verify_seconds));
}

Json saves_to_json(const std::vector<SaveReport>& saves) {
  Json entries = Json::array();
  for (const SaveReport& save : saves) {
    entries.push_back({{"path", save.path},
                       {"bytes", save.bytes},
                       {"write_seconds", save.write_seconds},
                       {"verify_seconds", save.verify_seconds},
                       {"seconds", save.seconds}});
  }
  return entries;
}

}  // namespace annulus::launch
