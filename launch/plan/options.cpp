/// Declares and checks the options of `annulus plan`.
// SPDX-License-Identifier: Apache-2.0
#include "launch/plan/options.hpp"

#include <fmt/format.h>

#include <array>
#include <memory>

#include "kernels/base/error.hpp"
#include "launch/distinct_files.hpp"
#include "launch/numbers.hpp"

namespace annulus::launch {
namespace {

constexpr std::int64_t most_ranks = 16384;  ///< a forecast takes O(ranks^2) steps

std::unique_ptr<Options> declare(PlanOptions& target) {
  auto options = std::make_unique<Options>(
      "plan --seq-len LIST [options]",
      "Forecasts a run without running it: memory of a rank item by item, traffic, and, for a machine that is described\n"
      "(--machine; `annulus calibrate` writes one), time with exposed communication. Says the longest context that fits,\n"
      "the fewest ranks for a context, and with --compare which layout, exchange and halo are quickest. Needs no MPI.");
  options->sizes("seq-len", "LIST", target.seq_lens, 1, "contexts in tokens, ascending: 64k,256k,1M");
  options->sizes("ranks", "LIST", target.ranks, 1, "rank counts, ascending (default 1,2,4,8)");
  options->size("ranks-per-node", "R", target.ranks_per_node, 1,
                "ranks that share a node (default: the machine's cores over --threads; without a machine all)");
  options->text("machine", "FILE.toml", target.machine, "what to forecast times and traffic for; without it: memory alone");
  options->size("memory", "BYTES", target.memory, 1, "of a rank, such as 80G (default: its share of the machine's node)");
  options->size("batch", "B", target.request.batch, 1, "sequences (default 1)");
  options->flag("items", target.items, "list the memory of every point item by item (one point alone lists it anyway)");
  options->flag("compare", target.compare, "forecast every layout, exchange and local halo at the last context and rank count");
  options->flag("tables", target.tables,
                "print what scores, windows and KV caches cost at these lengths: of this model and of all presets");
  options->text("mask-picture", "FILE.svg", target.mask_picture,
                "draw the mask of the first layer: shards coloured by rank, ring steps numbered (first context, last rank count)");
  add_point_options(*options, target.request);
  add_report_option(*options, target.request.scores);
  return options;
}

void check(PlanOptions& options) {
  check_scores(options.request.scores);  // a plan may be for another machine
  if (options.request.scores.dtype == DType::f64) {
    throw UsageError("--dtype f64 is not for plan (projections are f32); try f32, bf16 or f16");
  }
  if (options.seq_lens.empty()) throw UsageError("--seq-len is missing (how many tokens?); try --seq-len 64k,256k,1M");
  if (options.ranks.empty()) options.ranks = {1, 2, 4, 8};
  if (options.ranks.back() > most_ranks) {
    throw UsageError(fmt::format("--ranks {} (forecasts play every step of every rank); try at most {}", options.ranks.back(), most_ranks));
  }
  if (options.compare && options.machine.empty()) {
    throw UsageError("--compare without --machine (nothing says how fast anything is); try --machine FILE.toml");
  }
  constexpr std::int64_t most_drawn = std::int64_t{64} << 20;
  if (!options.mask_picture.empty() && options.seq_lens.front() > most_drawn) {
    throw UsageError(fmt::format("--mask-picture of {} tokens (every query is counted); try a first context of at most {}",
                                 size_text(options.seq_lens.front()), size_text(most_drawn)));
  }
  check_distinct(std::array<NamedFile, 3>{{{"--machine", options.machine},
                                           {"--report", options.request.scores.report},
                                           {"--mask-picture", options.mask_picture}}});
}

}  // namespace

void add_point_options(Options& options, PointRequest& target) {
  add_model_options(options, target.model);
  add_mask_options(options, target.scores, MaskDefault::causal);
  options.value(
      "local-halo", "WORD",
      [&target](const std::string& word) {
        const auto halo = stack::parse_local_halo(word);
        if (!halo) throw UsageError(fmt::format("--local-halo '{}' is unknown; try auto, resident or exchange", word));
        target.scheme.local_halo = *halo;
      },
      "auto|resident|exchange: as in run");
  add_scheme_options(options, target.scores);
}

PlanOptions parse_plan_options(std::span<const std::string> arguments) {
  PlanOptions target;
  declare(target)->parse(arguments);
  check(target);
  target.request.scheme.layout = target.request.scores.layout;
  target.request.scheme.exchange = target.request.scores.exchange;
  return target;
}

std::string plan_help() {
  PlanOptions unread;
  return declare(unread)->help();
}

}  // namespace annulus::launch
