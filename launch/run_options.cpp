/// Declares and checks the options of `annulus run`.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run_options.hpp"

#include <fmt/format.h>

#include <memory>

#include "kernels/base/error.hpp"

namespace annulus::launch {
namespace {

std::unique_ptr<Options> declare(RunOptions& target) {
  auto options = std::make_unique<Options>(
      "run --input FILE [options]",
      "Runs a stack of attention layers with seeded weights over a file, sharded over the ranks: embedding, then per layer\n"
      "rms-norm, q, k and v with rotary positions, exact attention, projection and residual. Layers are causal unless\n"
      "--no-causal; local ones see a window or a chunk. --backward adds the gradients of the input activations; the weights are frozen.");
  options->text("input", "FILE", target.input,
                "a file whose bytes are the tokens, or FILE.h5:/dataset of activations [batch, seq, width]");
  options->size("seq-len", "N", target.seq_len, 1, "tokens to take from its start (default: the whole file)");
  add_model_options(*options, target.model);
  options->size("verify", "ROWS", target.verify_rows, 1, "recompute this many rows of each forward layer in f64");
  options->text("output", "FILE.h5", target.output, "write the final activations as /x [batch, seq, width]");
  options->flag("dry-run", target.dry_run, "print the plan and the memory of a rank, do nothing");
  add_mask_options(*options, target.attention, MaskDefault::causal);
  options->value(
      "local-halo", "WORD",
      [&target](const std::string& word) {
        const auto halo = stack::parse_local_halo(word);
        if (!halo) throw UsageError(fmt::format("--local-halo '{}' is unknown; try auto, resident or exchange", word));
        target.local_halo = *halo;
      },
      "auto|resident|exchange: rows that local layers see beside the shard stay and are computed twice, so that a run of\n"
      "local layers sends nothing; or each layer fetches them");
  add_execution_options(*options, target.attention);
  options->later({"checkpoint", "checkpoint-every", "resume", "trace"});
  return options;
}

void check(const RunOptions& options) {
  check_attention_options(options.attention);
  if (options.input.empty() && !(options.dry_run && options.seq_len > 0)) {
    throw UsageError("--input is missing (what shall the stack run over?); try --input FILE, or --dry-run --seq-len N");
  }
  if (options.attention.dtype == DType::f64) {
    throw UsageError("--dtype f64 is not for run (its projections are f32); try f32, bf16 or f16");
  }
  if (options.dry_run && (!options.attention.report.empty() || !options.output.empty())) {
    throw UsageError("--dry-run does no work, so it has nothing for --report or --output; try without one of them");
  }
}

}  // namespace

RunOptions parse_run_options(std::span<const std::string> arguments) {
  RunOptions target;
  declare(target)->parse(arguments);
  check(target);
  return target;
}

std::string run_help() {
  RunOptions unread;
  return declare(unread)->help();
}

}  // namespace annulus::launch
