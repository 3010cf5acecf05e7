/// Saving and stopping of `annulus run`.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run/saver.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <variant>

#include "launch/memory.hpp"
#include "launch/run/resume.hpp"
#include "launch/run/saved_halo.hpp"
#include "launch/run/text.hpp"
#include "launch/stop_request.hpp"
#include "runtime/checkpoint/generation_folder.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus::launch {
namespace {

constexpr double stop_margin_seconds = 2;  ///< to end MPI and the job

}  // namespace

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
RunSaver::~RunSaver() { ignore_stop(); }

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
  const auto wish = stop_asked() ? Wish::signal : late ? Wish::time : Wish::none;
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
