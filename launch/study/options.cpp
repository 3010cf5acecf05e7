/// Declares and checks the options of `annulus study`.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <sstream>

#include "kernels/base/error.hpp"
#include "launch/numbers.hpp"
#include "launch/plan/options.hpp"

namespace annulus::launch {
namespace {

constexpr std::array<std::pair<StudyKind, std::string_view>, 3> kinds{
    {{StudyKind::strong, "strong"}, {StudyKind::weak, "weak"}, {StudyKind::capacity, "capacity"}}};

StudyKind parse_kind(const std::string& word) {
  const auto found = std::ranges::find(kinds, word, [](const auto& entry) { return entry.second; });
  if (found != kinds.end()) return found->first;
  throw UsageError(fmt::format("unknown word '{}' after study; try strong, weak or capacity", word));
}

/// Words with commas between them; `parse` returns nothing for unknown ones.
template <class Value, class Parse>
Options::Setter list_of(std::vector<Value>& target, std::string option, Parse parse) {
  return [&target, option = std::move(option), parse](const std::string& words) {
    std::istringstream list(words + ",");  // so that a comma at the end leaves an empty word
    for (std::string word; std::getline(list, word, ',');) {
      const std::optional<Value> value = parse(word);
      if (!value || std::ranges::find(target, *value) != target.end()) {
        throw UsageError(fmt::format("--{} '{}' is not valid ('{}' is unknown or twice there); see --help", option, words, word));
      }
      target.push_back(*value);
    }
  };
}

std::optional<std::optional<LayoutKind>> parse_layout_or_auto(const std::string& word) {
  if (word == "auto") return std::optional<LayoutKind>();
  const std::optional<LayoutKind> layout = parse_layout(word);
  if (!layout) return std::nullopt;
  return std::optional<std::optional<LayoutKind>>(std::in_place, *layout);
}

void add_sweep_options(Options& options, StudyOptions& target) {
  options.value("layouts", "LIST", list_of(target.layouts, "layouts", parse_layout_or_auto), "in place of --layout: zigzag,contiguous");
  options.value("exchanges", "LIST", list_of(target.exchanges, "exchanges", parse_exchange),
                "in place of --exchange: shared,messages");
  options.value("local-halos", "LIST", list_of(target.local_halos, "local-halos", stack::parse_local_halo),
                "in place of --local-halo: resident,exchange");
  options.value("dtypes", "LIST", list_of(target.dtypes, "dtypes", parse_dtype), "in place of --dtype: f32,bf16");
  options.value("patterns", "LIST",
                list_of(target.patterns, "patterns",
                        [](const std::string& word) { return word.empty() ? std::nullopt : std::optional(word); }),
                "in place of --pattern: G,LLLG");
}

std::unique_ptr<Options> declare(StudyOptions& target) {
  auto options = std::make_unique<Options>(
      "study strong|weak|capacity RESULTS [options]",
      "Measures a stack over context lengths, rank counts and schemes, all in one mpirun, and files every point in RESULTS:\n"
      "run it again to go on after a crash or a time limit. `annulus report RESULTS` makes tables and pictures.\n\n"
      "  strong    the same --seq-len on more and more ranks\n"
      "  weak      --seq-len tokens for each rank\n"
      "  capacity  the longest context that stays within --memory bytes of a rank, by search");
  options->positional("strong|weak|capacity", target.kind_word);
  options->positional("RESULTS", target.results);
  options->sizes("seq-len", "LIST", target.seq_lens, 1, "tokens of the whole sequence (weak: of each rank), ascending");
  options->sizes("ranks", "LIST", target.ranks, 1, "rank counts, ascending (default 1,2,4,... and all of the job); others sleep");
  options->size("repeats", "K", target.repeats, 1, "measurements of a point: median and spread (default 5)");
  options->size("warmups", "K", target.warmups, 0, "before them (default 1); the first run of a point is verified, too");
  options->size("verify", "ROWS", target.verify_rows, 0, "rows per layer recomputed in f64 (default 4; 0: none)");
  options->size("memory", "BYTES", target.memory, 1, "capacity: what a rank may take");
  options->text("machine", "FILE.toml", target.machine, "what to predict from (default: this machine is calibrated first)");
  options->value(
      "time-limit", "TIME",
      [&target](const std::string& word) { target.time_limit_seconds = parse_duration("--time-limit", word); },
      "stop in time for a batch queue, such as 3h50m (code 7; SIGUSR1 does so at once): the next run goes on");
  options->size("batch", "B", target.request.batch, 1, "sequences (default 1)");
  add_sweep_options(*options, target);
  add_point_options(*options, target.request);
  add_comm_timeout(*options, target.comm_timeout);
  return options;
}

constexpr std::int64_t most_repeats = 1000;

/// One value or a list of them, not both; and nothing that a search of the length does not do.
void check_words(const Options& options, std::span<const std::string> arguments, StudyKind kind) {
  constexpr std::array both{"layout", "exchange", "local-halo", "dtype", "pattern"};
  const std::vector<Options::Given> given = options.given(arguments);
  const auto has = [&](const std::string& name) {
    return std::ranges::any_of(given, [&](const Options::Given& option) { return option.name == name; });
  };
  for (const std::string name : {"repeats", "warmups", "verify"}) {
    if (kind != StudyKind::capacity || !has(name)) continue;
    throw UsageError(fmt::format("--{} with study capacity (a length is tried once: memory is the same each time); try without it", name));
  }
  for (const std::string name : both) {
    if (!has(name) || !has(name + "s")) continue;
    throw UsageError(fmt::format("--{0} and --{0}s (which ones are swept?); try one of them", name));
  }
}

void check(const StudyOptions& options) {
  check_attention_options(options.request.scores);
  const bool capacity = options.kind == StudyKind::capacity;
  if (capacity != options.seq_lens.empty()) {
    throw UsageError(capacity ? "--seq-len with study capacity (it searches the length); try without it"
                              : "--seq-len is missing (how many tokens?); try --seq-len 4k,16k");
  }
  if (capacity != (options.memory > 0)) {
    throw UsageError(capacity ? "study capacity without --memory (what is the budget of a rank?); try --memory 256M"
                              : "--memory is for study capacity (others take what they need); try without it");
  }
  const bool f64 = options.request.scores.dtype == DType::f64 || std::ranges::find(options.dtypes, DType::f64) != options.dtypes.end();
  if (f64) throw UsageError("--dtype f64 is not for study (projections are f32); try f32, bf16 or f16");
  if (std::max(options.repeats, options.warmups) > most_repeats) {
    throw UsageError(fmt::format("more than {} repeats or warm-ups (it would never end); try 5", most_repeats));
  }
}

}  // namespace

std::string_view name(StudyKind kind) {
  return std::ranges::find(kinds, kind, [](const auto& entry) { return entry.first; })->second;
}

StudyOptions parse_study_options(std::span<const std::string> arguments) {
  StudyOptions target;
  const std::unique_ptr<Options> options = declare(target);
  options->parse(arguments);
  target.kind = parse_kind(target.kind_word);
  check_words(*options, arguments, target.kind);
  check(target);
  target.request.scheme.layout = target.request.scores.layout;
  target.request.scheme.exchange = target.request.scores.exchange;
  target.request.files = false;
  target.request.verify_rows = target.kind == StudyKind::capacity ? 0 : target.verify_rows;
  return target;
}

std::string study_help() {
  StudyOptions unread;
  return declare(unread)->help();
}

}  // namespace annulus::launch
