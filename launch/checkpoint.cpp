/// The sub-command `annulus checkpoint`: what a folder of checkpoints holds, and whether it is sound.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <memory>
#include <optional>

#include "kernels/base/stopwatch.hpp"
#include "launch/command.hpp"
#include "launch/memory.hpp"
#include "launch/numbers.hpp"
#include "launch/options.hpp"
#include "launch/table.hpp"
#include "runtime/checkpoint/folder_lock.hpp"
#include "runtime/checkpoint/generation_reader.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus::launch {
namespace {

using checkpoint::FoundGeneration;
using checkpoint::GenerationReader;

struct Arguments {
  std::string action;
  std::string folder;
  std::optional<std::int64_t> keep;
};

struct Action {
  std::string_view name;
  ExitCode (*run)(const Communicator& world, const Arguments& arguments);
};

std::string last_part(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

std::string size_text(const checkpoint::Manifest& manifest) {
  return bytes_text(static_cast<double>(manifest.file_bytes));
}

[[noreturn]] void refuse_empty(const std::string& folder) {
  throw InputError(
      fmt::format("'{}' holds no checkpoint (no folder step-NNNNNN); try the folder given to --checkpoint", folder));
}

// ls

std::string state_table(const std::vector<FoundGeneration>& generations) {
  Table table({"generation", "step", "created", "size", "tensors", "ranks", "state"});
  for (const FoundGeneration& found : generations) {
    const std::string name = last_part(found.path);
    if (!found.manifest) {
      table.add({name, std::to_string(found.step), "", "", "", "", found.problem});
      continue;
    }
    const checkpoint::Manifest& manifest = *found.manifest;
    table.add({name, std::to_string(found.step), manifest.created, size_text(manifest),
               std::to_string(manifest.datasets.size()), std::to_string(manifest.ranks), "complete"});
  }
  return table.text();
}

ExitCode list(const Communicator& world, const Arguments& arguments) {
  const auto generations = checkpoint::find_together(world, arguments.folder);
  if (world.rank() != 0) return ExitCode::done;
  fmt::print("{}", generations.empty() ? "no generation yet\n" : state_table(generations));
  if (checkpoint::is_generation_path(arguments.folder)) return ExitCode::done;
  for (const std::string& path : checkpoint::find_leftovers(arguments.folder)) {
    fmt::print("{}  (being written, or left by a job that died)\n", last_part(path));
  }
  return ExitCode::done;
}

// show

/// A plan may come from a stranger: nothing in it shall speak to the terminal.
std::string printable(std::string text) {
  for (char& c : text) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    if (control && c != '\n' && c != '\t') c = '?';
  }
  return text;
}

void print_generation(const GenerationReader& reader) {
  const checkpoint::Manifest& manifest = reader.manifest();
  Table table({"tensor", "dtype", "shape", "saved from"});
  for (const checkpoint::DatasetRecord& dataset : manifest.datasets) {
    table.add({"/" + dataset.name, std::string(name(dataset.dtype)), fmt::format("{}", fmt::join(dataset.shape, " x ")),
               std::string(name(dataset.saved_layout))});
  }
  fmt::print("{}\n{}\n",
             facts_text({{"generation", reader.path()},
                         {"step", std::to_string(manifest.step)},
                         {"created", manifest.created},
                         {"by", fmt::format("annulus {} on {} ranks", manifest.program_version, manifest.ranks)},
                         {"size", size_text(manifest)},
                         {"seed", std::to_string(manifest.seed)}}),
             table.text());
  fmt::print("plan\n{}\n", printable(manifest.plan));
}

ExitCode show(const Communicator& world, const Arguments& arguments) {
  const auto generations = checkpoint::find_together(world, arguments.folder);
  for (const FoundGeneration& found : generations) {
    if (!found.problem.empty()) continue;
    const GenerationReader reader(world, found);
    if (world.rank() == 0) print_generation(reader);
    return ExitCode::done;
  }
  if (generations.empty()) refuse_empty(arguments.folder);
  throw InputError(generations[0].problem);
}

// verify

/// Collective. The lines that tell what is wrong, on rank 0; the number of them everywhere.
std::uint64_t find_damage(const Communicator& world, const FoundGeneration& found, std::vector<std::string>& lines) {
  constexpr std::size_t most_per_rank = 100;
  if (found.problem.empty()) {
    try {
      lines = GenerationReader(world, found).find_damage(most_per_rank);
    } catch (const DamagedCheckpointError& error) {
      lines = {error.what()};
    }
  } else {
    lines = {found.problem};
  }
  std::array<std::uint64_t, 1> count{lines.size()};
  world.max(count);
  return count[0];
}

ExitCode verify(const Communicator& world, const Arguments& arguments) {
  const auto generations = checkpoint::find_together(world, arguments.folder);
  if (generations.empty()) refuse_empty(arguments.folder);
  std::size_t damaged = 0;
  for (const FoundGeneration& found : generations) {
    const Stopwatch watch;
    std::vector<std::string> lines;
    const std::uint64_t damages = find_damage(world, found, lines);
    if (damages > 0) ++damaged;
    const double seconds = watch.seconds();
    if (world.rank() != 0) continue;
    fmt::print("{}  {}", last_part(found.path), damages > 0 ? "damaged\n" : "sound");
    if (damages == 0) fmt::print("  {} in {:.2f} s\n", size_text(*found.manifest), seconds);
    for (const std::string& line : lines) fmt::print("  {}\n", line);
  }
  if (damaged == 0) return ExitCode::done;
  throw InputError(fmt::format("{} of {} generations in '{}' are damaged (listed on stdout); loading skips them",
                               damaged, generations.size(), arguments.folder));
}

// prune

ExitCode prune(const Communicator& world, const Arguments& arguments) {
  together(world, [&] {
    if (world.rank() != 0) return;
    if (checkpoint::is_generation_path(arguments.folder)) {
      throw InputError(fmt::format("'{}' is one generation (the folder around it is pruned); try that folder", arguments.folder));
    }
    const bool is_empty = checkpoint::find_generations(arguments.folder).empty();
    if (is_empty && checkpoint::find_leftovers(arguments.folder).empty()) refuse_empty(arguments.folder);
    const checkpoint::FolderLock lock(arguments.folder);
    if (lock.held()) checkpoint::remove_leftovers(arguments.folder);
    for (const std::string& path : checkpoint::prune_generations(arguments.folder, arguments.keep.value_or(2))) {
      fmt::print("removed {}\n", path);
    }
    fmt::print("{}", state_table(checkpoint::find_generations(arguments.folder)));
  });
  return ExitCode::done;
}

constexpr std::array actions{Action{"ls", list}, Action{"show", show}, Action{"verify", verify},
                             Action{"prune", prune}};

std::unique_ptr<Options> declare(Arguments& arguments) {
  auto options = std::make_unique<Options>(
      "checkpoint ls|show|verify|prune DIR [options]",
      "Looks after the checkpoints in DIR (the folder given to run --checkpoint, or one step-NNNNNN in it).\n\n"
      "  ls      lists the generations and whether they are complete\n"
      "  show    tells what the newest complete one holds\n"
      "  verify  reads every byte on all ranks and compares checksums; exit code 3 if any differs\n"
      "  prune   removes all but the newest complete ones");
  options->positional("ls|show|verify|prune", arguments.action);
  options->positional("DIR", arguments.folder);
  options->value(
      "keep", "N", [&arguments](const std::string& text) { arguments.keep = parse_size("--keep", text, 1, 1'000'000); },
      "complete generations that prune leaves (default 2)");
  return options;
}

std::string help() {
  Arguments unused;
  return declare(unused)->help();
}

Job parse(std::span<const std::string> words) {
  Arguments arguments;
  declare(arguments)->parse(words);
  while (arguments.folder.size() > 1 && arguments.folder.ends_with('/')) arguments.folder.pop_back();
  if (arguments.keep && arguments.action != "prune") throw UsageError("--keep is for checkpoint prune; try without it");
  for (const Action& action : actions) {
    if (action.name != arguments.action) continue;
    return [arguments, &action](const Communicator& world) { return action.run(world, arguments); };
  }
  throw UsageError(fmt::format("unknown word '{}' after checkpoint; try ls, show, verify or prune", arguments.action));
}

}  // namespace

Command checkpoint_command() { return {"checkpoint", "lists, shows, verifies and prunes checkpoints", help, parse}; }

}  // namespace annulus::launch
