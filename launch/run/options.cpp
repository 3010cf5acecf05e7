/// Declares and checks the options of `annulus run`.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <sstream>

#include "kernels/base/error.hpp"
#include "launch/numbers.hpp"
#include "launch/run/input.hpp"
#include "launch/run/resume.hpp"
#include "runtime/checkpoint/generation_folder.hpp"

namespace annulus::launch {
namespace {

/// What the numbers of a run depend on; the others say where and how it runs.
constexpr std::array defining_options{"input",         "seq-len",    "model",          "pattern",       "layers",
                                      "heads",         "kv-heads",   "head-dim",       "seed",          "residual-alpha",
                                      "rope-theta",    "rope-scaling", "rope-factor",  "rope-original", "no-causal",
                                      "window-size",   "sliding-window", "chunk-size", "sink-tokens",   "global-tokens",
                                      "stride",        "softmax-scale", "softcap",     "dtype"};

constexpr std::int64_t most_kept = 1'000'000;  ///< as `checkpoint prune`

bool is_defining(const Options::Given& option) {
  return std::find(defining_options.begin(), defining_options.end(), option.name) != defining_options.end();
}

std::vector<std::string> parse_tensors(const std::string& words) {
  constexpr std::array known{"q", "k", "v", "out", "lse"};
  std::vector<std::string> found;
  std::istringstream list(words + ",");  // so that a comma at the end leaves an empty word
  for (std::string word; std::getline(list, word, ',');) {
    const bool is_known = std::find(known.begin(), known.end(), word) != known.end();
    if (!is_known || std::find(found.begin(), found.end(), word) != found.end()) {
      throw UsageError(fmt::format("--checkpoint-tensors '{}' is not valid ('{}' is unknown or twice there); try k,v", words, word));
    }
    found.push_back(word);
  }
  return found;
}

void add_checkpoint_options(Options& options, RunOptions& target) {
  options.text("checkpoint", "DIR", target.checkpoint, "save the activations there; SIGUSR1 saves and stops (code 7)");
  options.size("checkpoint-every", "K", target.checkpoint_every, 1, "layers between two saves (default 1); with --checkpoint");
  options.value(
      "checkpoint-tensors", "LIST",
      [&target](const std::string& words) { target.checkpoint_tensors = parse_tensors(words); },
      "what else to save of each saved layer: some of q,k,v,out,lse");
  options.value(
      "keep", "N", [&target](const std::string& word) { target.keep = parse_size("--keep", word, 1, most_kept); },
      "saves that stay in DIR (default 2); with --checkpoint");
  options.value(
      "time-limit", "TIME",
      [&target](const std::string& word) { target.time_limit_seconds = parse_duration("--time-limit", word); },
      "save and stop in time for a batch queue, such as 3h50m; with --checkpoint");
  options.text("resume", "DIR", target.resume, "go on from the newest sound save in DIR, on any number of ranks; needs no other option");
}

std::unique_ptr<Options> declare(RunOptions& target) {
  auto options = std::make_unique<Options>(
      "run --input FILE [options]",
      "Runs a stack of attention layers with seeded weights over a file, sharded over the ranks: embedding, then per layer\n"
      "rms-norm, q, k and v with rotary positions, exact attention, projection and residual. Layers are causal unless\n"
      "--no-causal; local ones see a window or a chunk. --backward adds the gradients of the input activations; the weights are frozen.");
  options->text("input", "FILE", target.input,
                "a file whose bytes are the tokens, or FILE.h5:/dataset of activations [batch, seq, width]");
  options->size("seq-len", "N", target.seq_len, 1, "tokens to take from its start (default: the whole file)");
  options->value(
      "cu-seqlens", "FILE.h5:/LIST",
      [&target](const std::string& words) {
        if (dataset_name(words).dataset.empty()) {
          throw UsageError(fmt::format("--cu-seqlens '{}' names no dataset; try FILE.h5:/cu_seqlens", words));
        }
        target.cu_seqlens = words;
      },
      "bounds of the documents in the input, integers 0 ... its length: no token sees another document (default: the "
      "dataset cu_seqlens beside /dataset, if there)");
  add_model_options(*options, target.model);
  options->size("verify", "ROWS", target.verify_rows, 1, "recompute this many rows of each forward layer in f64");
  options->text(
      "output", "FILE.h5", target.output,
      "write the final activations as /x [batch, seq, width], with --backward the gradient of the input as /dx, too");
  options->text("trace", "FILE.json", target.trace,
                "write what every rank did when, for ui.perfetto.dev or chrome://tracing");
  options->flag("dry-run", target.dry_run, "print the plan and the memory of a rank, do nothing");
  add_mask_options(*options, target.attention, MaskDefault::causal);
  options->value(
      "local-halo", "WORD",
      [&target](const std::string& word) {
        const auto halo = stack::parse_local_halo(word);
        if (!halo) throw UsageError(fmt::format("--local-halo '{}' is unknown; try auto, resident or exchange", word));
        target.local_halo = *halo;
      },
      "auto|resident|exchange: rows that local layers see beside the shard stay and are computed twice, so that a run of "
      "local layers sends nothing; or each layer fetches them");
  add_execution_options(*options, target.attention);
  add_checkpoint_options(*options, target);
  return options;
}

void check(const RunOptions& options) {
  check_attention_options(options.attention);
  if (options.input.empty() && options.resume.empty() && !(options.dry_run && options.seq_len > 0)) {
    throw UsageError("--input is missing (what shall the stack run over?); try --input FILE, or --dry-run --seq-len N");
  }
  if (options.attention.dtype == DType::f64) {
    throw UsageError("--dtype f64 is not for run (its projections are f32); try f32, bf16 or f16");
  }
  const bool leaves_files = !options.attention.report.empty() || !options.output.empty() || !options.checkpoint.empty() ||
                            !options.trace.empty();
  if (options.dry_run && leaves_files) {
    throw UsageError("--dry-run does no work, so it has nothing for --report, --output, --trace or --checkpoint; try without one of them");
  }
  if (checkpoint::is_generation_path(options.checkpoint)) {
    throw UsageError(fmt::format("--checkpoint '{}' looks like one save (it is to hold many, and could not be resumed); try "
                                 "another name",
                                 options.checkpoint));
  }
  if (options.time_limit_seconds > 0 && options.attention.backward) {
    throw UsageError("--time-limit with --backward (a run with gradients cannot be resumed); try without one of them");
  }
  if (options.time_limit_seconds > 0 && options.checkpoint.empty()) {
    throw UsageError("--time-limit without --checkpoint (what is computed until then would be lost); try --checkpoint DIR");
  }
  if (!options.resume.empty() && options.attention.backward) {
    throw UsageError("--resume with --backward (the layers before have left nothing to differentiate); try forward alone");
  }
}

/// Options of saving want a place to save to.
void check_saving(const Options& options, std::span<const std::string> arguments, const RunOptions& target) {
  if (!target.checkpoint.empty()) return;
  for (const Options::Given& given : options.given(arguments)) {
    if (given.name != "checkpoint-every" && given.name != "checkpoint-tensors" && given.name != "keep") continue;
    throw UsageError(fmt::format("--{} without --checkpoint (nothing would be saved); try --checkpoint DIR", given.name));
  }
}

/// Values are equal as texts or as sizes: 64k is 65536.
bool same_value(const std::string& a, const std::string& b) {
  const auto size = [](const std::string& text) -> std::optional<std::int64_t> {
    try {
      return parse_size("", text, 0);
    } catch (const UsageError&) {
      return std::nullopt;
    }
  };
  return a == b || (size(a) && size(a) == size(b));
}

/// A checkpoint is not trusted: its words may define a run, but not say where it reads or writes. Throws InputError.
void check_saved(const SavedRun& saved, const std::string& folder) {
  try {
    RunOptions alone;
    const std::unique_ptr<Options> options = declare(alone);
    for (const Options::Given& word : options->given(saved.arguments)) {
      if (!is_defining(word)) throw UsageError(fmt::format("--{} does not belong to what a run is", word.name));
    }
    options->parse(saved.arguments);
    check(alone);
  } catch (const UsageError& error) {
    refuse_to_resume(folder, fmt::format("its plan is not that of a run: {}", error.what()));
  }
}

/// A resumed run is defined by what it was; saying so again is fine, saying otherwise is not.
void check_conflicts(const Options& options, std::span<const std::string> arguments, const std::vector<std::string>& saved,
                     const std::string& folder) {
  const std::vector<Options::Given> before = options.given(saved);
  for (const Options::Given& now : options.given(arguments)) {
    if (!is_defining(now)) continue;
    const auto same = std::find_if(before.begin(), before.end(), [&](const Options::Given& was) { return was.name == now.name; });
    if (same != before.end() && same_value(same->value, now.value)) continue;
    throw UsageError(fmt::format("{} conflicts with the run saved in '{}' ({}); try without it", now.word(), folder,
                                 same == before.end() ? "which had no such option" : "which had " + same->word()));
  }
}

/// `arguments` without those that define a run, behind those of the saved one.
std::vector<std::string> resumed_arguments(const Options& options, std::span<const std::string> arguments,
                                           std::vector<std::string> saved) {
  for (const Options::Given& now : options.given(arguments)) {
    if (!is_defining(now)) saved.push_back(now.word());
  }
  return saved;
}

}  // namespace

RunOptions parse_run_options(std::span<const std::string> arguments) {
  RunOptions target;
  std::unique_ptr<Options> options = declare(target);
  options->parse(arguments);
  std::vector<std::string> words(arguments.begin(), arguments.end());
  if (!target.resume.empty()) {
    const SavedRun saved = saved_run(target.resume);
    check_saved(saved, target.resume);
    check_conflicts(*options, arguments, saved.arguments, target.resume);
    words = resumed_arguments(*options, arguments, saved.arguments);
    target = {};
    options = declare(target);
    options->parse(words);
    target.resumed_batch = saved.batch;
    if (target.cu_seqlens.empty()) target.cu_seqlens = saved.cu_seqlens;
  }
  for (const Options::Given& option : options->given(words)) {
    if (is_defining(option)) target.defining.push_back(option.word());
  }
  check(target);
  check_saving(*options, arguments, target);
  return target;
}

std::string run_help() {
  RunOptions unread;
  return declare(unread)->help();
}

}  // namespace annulus::launch
