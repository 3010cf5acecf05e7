/// The options that commands share: mask and scores, backend, exchange, threads, report.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "kernels/base/error.hpp"
#include "kernels/kernel_table.hpp"
#include "launch/numbers.hpp"
#include "launch/options.hpp"

namespace annulus::launch {
namespace {

constexpr double smallest_scale = 1e-6;
constexpr double largest_scale = 1e6;  ///< scores beyond f32's range of exp2 arguments help nobody
constexpr std::int64_t most_threads = 4096;

[[noreturn]] void refuse_word(const char* option, const std::string& word, const char* words) {
  throw UsageError(fmt::format("{} '{}' is unknown; try {}", option, word, words));
}

void add_choice_of_layout(Options& options, AttentionOptions& target) {
  options.value(
      "layout", "WORD",
      [&target](const std::string& word) {
        target.layout = parse_layout(word);
        if (!target.layout && word != "auto") {
          refuse_word("--layout", word, "auto, contiguous, zigzag or striped");
        }
      },
      "auto|contiguous|zigzag|striped: which rank keeps which tokens (auto: zigzag when causal, else contiguous)");
}

void add_choice_of_exchange(Options& options, AttentionOptions& target) {
  options.value(
      "exchange", "WORD",
      [&target](const std::string& word) {
        const auto kind = parse_exchange(word);
        if (!kind) refuse_word("--exchange", word, "auto, shared or messages");
        if (kind == ExchangeKind::device) {
          throw UsageError(
              "--exchange device is not supported yet (no backend keeps blocks on a device); "
              "try auto, shared or messages");
        }
        target.exchange = *kind;
      },
      "auto|shared|messages: how blocks travel (shared memory of one node, or MPI messages)");
}

void add_choice_of_dtype(Options& options, AttentionOptions& target) {
  options.value(
      "dtype", "TYPE",
      [&target](const std::string& word) {
        target.dtype = parse_dtype(word);
        if (!target.dtype) refuse_word("--dtype", word, "f32, bf16, f16 or f64");
      },
      "f32|bf16|f16|f64: element type to compute with (f64: with --backend reference)");
}

}  // namespace

void add_mask_options(Options& options, AttentionOptions& target, MaskDefault mask) {
  target.causal = mask == MaskDefault::causal;
  if (mask == MaskDefault::full) {
    options.flag("causal", target.causal, "a token sees itself and what came before it (default: everything)");
  } else {
    options.flag_off("no-causal", target.causal, "a token sees everything (default: itself and what came before it)");
  }
  options.real("softmax-scale", "X", target.softmax_scale, smallest_scale, largest_scale,
               "factor of the scores (default: 1/sqrt(head_dim))");
  options.real("softcap", "X", target.softcap, 0, largest_scale, "bound scores smoothly to (-X, X); 0: no bound");
  add_choice_of_layout(options, target);
  options.later({"window-size", "sliding-window", "chunk-size", "sink-tokens", "global-tokens", "stride"});
}

void add_execution_options(Options& options, AttentionOptions& target) {
  add_choice_of_dtype(options, target);
  options.text("backend", "NAME", target.backend, "auto|simd|reference, or a row that `annulus info` lists");
  add_choice_of_exchange(options, target);
  options.flag("backward", target.backward, "compute gradients too");
  options.value(
      "threads", "T",
      [&target](const std::string& word) {
        target.threads = static_cast<int>(parse_size("--threads", word, 1, most_threads));
      },
      "threads of each rank (default: its share of the node's cores)");
  options.text("report", "FILE", target.report, "write what was done as JSON; - for standard output");
  options.later({"comm-timeout"});
}

void check_attention_options(const AttentionOptions& options) {
  if (options.softcap.value_or(0) != 0 && *options.softcap < smallest_scale) {
    throw UsageError("--softcap is too small (scores would all be 0); try 0 for none, or a number from 1e-6 to 1e6");
  }
  // A file may hold f64 without --dtype; attend checks again with what it found.
  (void)kernels::kernel_table(options.backend, options.dtype.value_or(DType::f32));
}

}  // namespace annulus::launch
