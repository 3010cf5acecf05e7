/// The options that commands share: mask and scores, backend, exchange, threads, report.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "kernels/base/error.hpp"
#include "kernels/kernel_table.hpp"
#include "launch/numbers.hpp"
#include "launch/options.hpp"
#include "runtime/comm/vigil.hpp"

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
      "auto|contiguous|zigzag|striped: which rank keeps which tokens (auto: zigzag where some layer is causal and "
      "without window or chunk, else contiguous)");
}

void add_choice_of_exchange(Options& options, AttentionOptions& target) {
  options.value(
      "exchange", "WORD",
      [&target](const std::string& word) {
        const auto kind = parse_exchange(word);
        if (!kind) refuse_word("--exchange", word, "auto, shared, nodes, messages or device");
        target.exchange = *kind;
      },
      "auto|shared|nodes|messages|device: how blocks travel (read in place in the shared memory of one node; so within nodes, "
      "with MPI messages between them; with messages between all ranks; or, with --backend cuda, from GPU to GPU)");
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

WindowSize parse_window(const std::string& text) {
  const std::size_t comma = text.find(',');
  if (comma == std::string::npos) {
    throw UsageError(fmt::format("--window-size '{}' is not valid (it has two sides); try L,R such as 1023,0", text));
  }
  return {.left = parse_size("--window-size", text.substr(0, comma), -1),
          .right = parse_size("--window-size", text.substr(comma + 1), -1)};
}

void add_windows(Options& options, AttentionOptions& target, MaskDefault mask) {
  options.value(
      "window-size", "L,R",
      [&target](const std::string& word) {
        target.mask.window_size = parse_window(word);
        target.window_given = true;
      },
      "a token sees L tokens before and R after itself; -1: all of that side");
  options.value(
      "sliding-window", "W",
      [&target, mask](const std::string& word) {
        target.mask.window_size = {parse_size("--sliding-window", word, 1) - 1, 0};
        target.sliding_window_given = true;
        if (mask == MaskDefault::full) target.mask.causal = true;
      },
      "as models count it: a token and the W-1 before it; implies causal");
}

void add_rules(Options& options, MaskSpec& mask) {
  options.size("chunk-size", "C", mask.chunk_size, 1, "a token sees its own chunk of C tokens");
  options.size("sink-tokens", "S", mask.sink_tokens, 0, "the first S tokens stay visible beside a window or chunk");
  options.size("global-tokens", "G", mask.global_tokens, 0,
               "the first G tokens see and are seen beside a window or chunk");
  options.size("stride", "K", mask.stride, 1, "every K-th token is visible beside a window or chunk");
}

void check_mask(const AttentionOptions& options) {
  if (options.sliding_window_given && options.window_given) {
    throw UsageError("--sliding-window and --window-size (both say how far a token sees); try one of them");
  }
  if (options.sliding_window_given && !options.mask.causal) {
    throw UsageError("--sliding-window with --no-causal (it looks back only); try --window-size L,R");
  }
}

}  // namespace

void add_mask_options(Options& options, AttentionOptions& target, MaskDefault mask) {
  target.mask.causal = mask == MaskDefault::causal;
  if (mask == MaskDefault::full) {
    options.flag("causal", target.mask.causal, "a token sees itself and what came before it (default: everything)");
  } else {
    options.flag_off("no-causal", target.mask.causal,
                     "a token sees everything (default: itself and what came before it)");
  }
  add_windows(options, target, mask);
  add_rules(options, target.mask);
  options.real("softmax-scale", "X", target.softmax_scale, smallest_scale, largest_scale,
               "factor of the scores (default: 1/sqrt(head_dim))");
  options.real("softcap", "X", target.softcap, 0, largest_scale, "bound scores smoothly to (-X, X); 0: no bound");
  add_choice_of_layout(options, target);
}

void add_scheme_options(Options& options, AttentionOptions& target) {
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
}

void add_report_option(Options& options, AttentionOptions& target) {
  options.text("report", "FILE", target.report, "write what was done as JSON; - for standard output");
}

void add_execution_options(Options& options, AttentionOptions& target) {
  add_scheme_options(options, target);
  add_report_option(options, target);
  options.flag("deterministic", target.deterministic,
               "the same bits every time; else --backend cuda sums dq on Hopper in the order in which processors come to it, which "
               "is faster (CPU backends: always the same)");
  add_comm_timeout(options, target.comm_timeout);
}

void add_comm_timeout(Options& options, double& target) {
  options.value(
      "comm-timeout", "S",
      [&target](const std::string& word) { target = parse_real("--comm-timeout", word, 0, longest_comm_timeout); },
      "seconds without a sign of life from a peer after which all ranks end with code 5 (default 300; 0: wait for ever)");
}

void check_scores(const AttentionOptions& options) {
  if (options.softcap.value_or(0) != 0 && *options.softcap < smallest_scale) {
    throw UsageError("--softcap is too small (scores would all be 0); try 0 for none, or a number from 1e-6 to 1e6");
  }
  check_mask(options);
}

void check_attention_options(const AttentionOptions& options) {
  check_scores(options);
  // A file may hold f64 without --dtype; attend checks again with what it found.
  const kernels::KernelTable& table = kernels::kernel_table(options.backend, options.dtype.value_or(DType::f32));
  check_device_exchange(options.exchange, table.device != nullptr);
}

}  // namespace annulus::launch
