/// `annulus run`: input, plan, stack, verification, digest, report.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>

#include "kernels/base/stopwatch.hpp"
#include "kernels/cuda/nvtx_marks.hpp"
#include "launch/command.hpp"
#include "launch/distinct_files.hpp"
#include "launch/memory.hpp"
#include "launch/progress.hpp"
#include "launch/report.hpp"
#include "launch/run/documents.hpp"
#include "launch/run/input.hpp"
#include "launch/run/options.hpp"
#include "launch/run/plan.hpp"
#include "launch/run/resume.hpp"
#include "launch/run/saver.hpp"
#include "launch/run/text.hpp"
#include "launch/stop_request.hpp"
#include "launch/table.hpp"
#include "launch/trace_file.hpp"
#include "runtime/checkpoint/tensor_file.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/vigil.hpp"
#include "runtime/stack/digest.hpp"
#include "runtime/stack/verify.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

/// The work itself, once the plan is accepted.
class Run {
 public:
  /// `input` null: resumed from options.resume.
  Run(const Communicator& world, const RunOptions& options, const Plan& plan, const RunInput* input);
  void forward();
  void backward();
  void finish(const ReportFile& file, const TraceFile& trace);

 private:
  Execution execution();
  void show(const std::string& what);
  void gather_lines();
  void print_header() const;
  void print_resumed() const;
  void print_summary(const Report& report, const ActivitySeconds& ranks) const;
  Report report() const;
  Json json(const Report& report) const;
  std::string digest_of(std::span<const std::byte> rows, DType dtype) const;
  void write_output();
  /// With --report - the JSON is all that goes to standard output.
  bool talks() const { return world_.rank() == 0 && options_.attention.report != "-"; }
  std::int64_t verified_rows() const {
    return verifier_ ? static_cast<std::int64_t>(verifier_->samples().size()) : 0;
  }

  const Communicator& world_;
  const RunOptions& options_;
  const Plan& plan_;
  Timeline timeline_;
  Stopwatch elapsed_;
  std::optional<TensorWriter> output_;
  ProgressLine progress_;
  std::string doing_;  ///< "layer 1/2 forward"
  stack::Stack stack_;
  std::optional<stack::Verifier> verifier_;
  std::optional<RunSaver> saver_;
  std::optional<Resumed> resumed_;
  std::int64_t layers_done_ = 0;
  std::vector<stack::LayerErrors> errors_;  ///< by layer; empty without verification
  std::vector<RunLine> lines_;
  std::string digest_;
  std::optional<std::string> gradient_digest_;
};

Run::Run(const Communicator& world, const RunOptions& options, const Plan& plan, const RunInput* input)
    : world_(world),
      options_(options),
      plan_(plan),
      timeline_(options.trace.empty() ? Timeline::Keep::sums : Timeline::Keep::spans),
      progress_(world),
      stack_(world, plan.shape.layout, plan.model, execution(), plan.shape.direction, plan.shape.local_halo) {
  timeline_.tell(kernels::cuda::nvtx_marks());
  const AttentionSpec& shape = plan.model.attention;
  if (!options.output.empty()) {
    const std::vector<std::int64_t> dims{shape.batch, shape.seq_q, plan.model.width()};
    std::vector<TensorInfo> tensors{{"x", shape.dtype, dims}};
    if (options.attention.backward) tensors.push_back({"dx", DType::f32, dims});
    output_.emplace(world, options.output, std::move(tensors));
  }
  if (options.verify_rows > 0) {
    verifier_.emplace(world, stack_.model(), stack_.layout(), stack_.workers(), options.verify_rows, plan.model.seed);
  }
  const std::string text = plan_text(options, plan.model, plan.cu_seqlens);
  if (!options.checkpoint.empty()) saver_.emplace(world, options, text, plan.model.seed);
  print_header();
  if (input != nullptr) {
    input->load(world, stack_);
    return;
  }
  resumed_ = resume(world, options.resume, text, stack_);
  layers_done_ = resumed_->layer;
  print_resumed();
}

void Run::print_resumed() const {
  if (!talks()) return;
  for (const std::string& skipped : resumed_->report.skipped) fmt::print("skipped          {}\n", skipped);
  fmt::print("resumed          {} ({} of {} layers are done)\n", resumed_->report.path, resumed_->layer, plan_.model.layers);
  std::fflush(stdout);
}

Execution Run::execution() {
  const AttentionOptions& chosen = options_.attention;
  const auto on_step = [this](int step, int steps) {
    const double all = elapsed_.seconds();
    progress_.show(fmt::format("{}, step {}/{}, exposed communication {:.1f} %, waiting for ranks {:.1f} %", doing_, step + 1,
                               steps, 100 * timeline_.seconds(Activity::communication) / all,
                               100 * timeline_.seconds(Activity::agreement) / all));
  };
  return {.backend = chosen.backend, .exchange = chosen.exchange, .threads = chosen.threads, .on_step = on_step,
          .timeline = &timeline_, .deterministic = chosen.deterministic};
}

void Run::show(const std::string& what) {
  const auto layer = layers_done_ % plan_.model.layers;
  doing_ = fmt::format("layer {}/{} {}", layer + 1, plan_.model.layers, what);
  progress_.show(doing_);
}

void Run::forward() {
  show("forward");
  const auto observe = [&](const stack::LayerView& view) {
    if (verifier_) {
      show("verification");
      const Timed span(&timeline_, Activity::other, "verification");
      errors_.push_back(verifier_->check(view));
    }
    ++layers_done_;
    if (saver_) {
      const Timed span(&timeline_, Activity::files, "checkpoint");
      saver_->layer_done(stack_, layers_done_, plan_.model.layers);
    }
    show("forward");
  };
  stack_.forward(observe, layers_done_);
  digest_ = digest_of(stack_.output(), plan_.model.attention.dtype);
}

void Run::backward() {
  show("backward");
  stack::seed_gradient(stack_, plan_.model.seed, world_.rank());
  stack_.backward([&](std::int64_t) {
    ++layers_done_;
    show("backward");
  });
  gradient_digest_ = digest_of(std::as_bytes(stack_.gradient()), DType::f32);
}

/// Collective.
void Run::gather_lines() {
  for (const stack::LayerCost& cost : stack_.costs()) {
    const bool verified = cost.direction == Direction::forward && !errors_.empty();
    const auto at = static_cast<std::size_t>(cost.index - (resumed_ ? resumed_->layer : 0));
    lines_.push_back({cost, verified ? std::optional(errors_[at]) : std::nullopt});
  }
}

std::string Run::digest_of(std::span<const std::byte> rows, DType dtype) const {
  const auto row_bytes = plan_.model.width() * static_cast<std::int64_t>(size_of(dtype));
  return stack::digest(world_, stack_.layout(), plan_.model.attention.batch, row_bytes, rows);
}

void Run::write_output() {
  const AttentionSpec& shape = plan_.model.attention;
  const auto rows = [&](const std::byte* data, DType dtype) -> ConstTensorView {
    return dense_view(data, dtype, shape.batch, stack_.rows(), 1, plan_.model.width());
  };
  const std::vector<Piece> pieces = stack_.layout().pieces(world_.rank());
  std::vector<TensorPart> parts{{"x", pieces, rows(stack_.output().data(), shape.dtype)}};
  if (options_.attention.backward) {
    parts.push_back({"dx", pieces, rows(std::as_bytes(stack_.gradient()).data(), DType::f32)});
  }
  output_->write(parts);
}

void Run::finish(const ReportFile& file, const TraceFile& trace) {
  if (output_) {
    const Timed span(&timeline_, Activity::files, "output");
    write_output();
  }
  gather_lines();
  const Report done = report();
  file.write(world_, json(done));
  trace.write(world_, timeline_);
  print_summary(done, activity_seconds(world_, timeline_));
}

Report Run::report() const {
  Report report;
  report.command = "run";
  report.ranks = world_.size();
  report.threads = plan_.shape.threads;
  report.backend = stack_.ring().backend();
  report.exchange = name(stack_.ring().exchange());
  report.mover = stack_.ring().mover();
  report.deterministic = options_.attention.deterministic;
  report.layout = name(stack_.layout().kind());
  report.seq_len = plan_.model.attention.seq_q;
  report.peak_rss_bytes = peak_rss_of_ranks(world_);
  report.digest = digest_;
  VerifyReport verify{.rows = verified_rows()};
  const stack::LayerVariants variants(plan_.model);
  for (const auto& [cost, errors] : lines_) {
    report.layers.push_back({.index = cost.index,
                             .mask = without_documents(variants.spec(cost.index).attention.mask),
                             .documents = documents_in(plan_.model.attention.mask),
                             .direction = cost.direction,
                             .messages = cost.messages,
                             .bytes_sent = cost.bytes_sent,
                             .flops = cost.flops,
                             .seconds = cost.seconds,
                             .attention_seconds = cost.attention_seconds,
                             .exposed_comm_seconds = cost.exposed_comm_seconds});
    report.seconds += cost.seconds;
    verify.max_abs_error = std::max(verify.max_abs_error, errors ? errors->max_abs_error : 0);
    verify.max_rel_error = std::max(verify.max_rel_error, errors ? errors->max_rel_error : 0);
  }
  if (!errors_.empty()) report.verify = verify;
  return report;
}

Json Run::json(const Report& report) const {
  Json json = to_json(report);
  const AttentionSpec& shape = plan_.model.attention;
  json["gradient_digest"] = nullptr;
  if (gradient_digest_) json["gradient_digest"] = *gradient_digest_;
  json["input"] = options_.input;
  json["cu_seqlens"] = plan_.cu_seqlens.empty() ? Json(nullptr) : Json(plan_.cu_seqlens);
  json["checkpoints"] = saver_ ? saves_to_json(saver_->saves()) : Json(nullptr);
  json["resumed_from"] = resumed_ ? Json(resumed_->report.path) : Json(nullptr);
  json["local_halo"] = name(stack_.local_halo());
  json["batch"] = shape.batch;
  json["model"] = model_json(plan_.model, options_.model.preset);
  return json;
}

void Run::print_header() const {
  if (!talks()) return;
  const AttentionSpec& shape = plan_.model.attention;
  fmt::print("{}", facts_text({{"input", options_.input},
                               {"tokens", fmt::format("{} x {}", shape.batch, shape.seq_q)},
                               {"model", model_text(plan_.model)},
                               {"ranks x threads", fmt::format("{} x {}", world_.size(), plan_.shape.threads)},
                               {"backend", std::string(stack_.ring().backend())},
                               {"exchange", exchange_text(plan_.model, stack_.ring().exchange(), stack_.ring().mover())},
                               {"layout", std::string(name(stack_.layout().kind()))},
                               {"local halo", local_halo_text(plan_.model, stack_.local_halo())},
                               {"planned memory", bytes_text(static_cast<double>(stack::total_bytes(plan_.memory))) +
                                                      " on the largest rank"}}));
  std::fflush(stdout);
}

void Run::print_summary(const Report& report, const ActivitySeconds& ranks) const {
  if (!talks()) return;
  const auto peak = *std::max_element(report.peak_rss_bytes.begin(), report.peak_rss_bytes.end());
  std::vector<std::pair<std::string, std::string>> facts{
      {"work", fmt::format("{} at {:.4f} TFLOP/s of visible pairs", seconds_text(report.seconds), tflops(report))},
      {"peak memory", bytes_text(static_cast<double>(peak)) + " on the largest rank"}};
  if (report.verify) {
    facts.emplace_back("verified", fmt::format("{} rows per layer in f64, largest error {:.2e} (relative {:.2e})",
                                               report.verify->rows, report.verify->max_abs_error,
                                               report.verify->max_rel_error));
  }
  facts.emplace_back("time of ranks", activity_text(ranks));
  facts.emplace_back("digest", digest_);
  if (gradient_digest_) facts.emplace_back("gradient digest", *gradient_digest_);
  if (!options_.output.empty()) facts.emplace_back("written", options_.output);
  if (!options_.trace.empty()) facts.emplace_back("trace", options_.trace);
  if (saver_) facts.emplace_back("saved", saves_text(saver_->saves()));
  fmt::print("\n{}\n{}", layers_table(plan_.model, lines_), facts_text(facts));
  if (!options_.trace.empty()) fmt::print("\n{}", activity_table(ranks));
}

ExitCode print_dry_run(const Communicator& world, const RunOptions& options, const Plan& plan) {
  if (world.rank() != 0) return ExitCode::done;
  const auto& table = kernels::kernel_table(options.attention.backend, plan.model.attention.dtype);
  fmt::print("{}\n{}", facts_text({{"input", options.input.empty() ? "none" : options.input},
                                   {"tokens", fmt::format("{} x {}", plan.model.attention.batch, plan.model.attention.seq_q)},
                                   {"model", model_text(plan.model)},
                                   {"ranks x threads", fmt::format("{} x {}", world.size(), plan.shape.threads)},
                                   {"backend", std::string(table.name)},
                                   {"exchange", exchange_text(plan.model, plan.shape.exchange)},
                                   {"layout", std::string(name(plan.shape.layout.kind))},
                                   {"local halo", local_halo_text(plan.model, plan.shape.local_halo)}}),
             memory_table(plan.memory, available_memory()));
  return ExitCode::done;
}

ExitCode run(const Communicator& world, const RunOptions& options) {
  set_comm_timeout(options.attention.comm_timeout);
  together(world, [&] {
    const NamedFile output{"--output", options.output};
    const NamedFile report{"--report", options.attention.report};
    const NamedFile trace{"--trace", options.trace};
    for (const NamedFile& read : {NamedFile{"--input", dataset_name(options.input).path},
                                  NamedFile{"--cu-seqlens", dataset_name(options.cu_seqlens).path}}) {
      check_distinct(std::array{read, output, report, trace});
    }
  });
  std::optional<RunInput> input;
  if (!options.input.empty() && options.resume.empty()) input.emplace(world, options.input);
  const RunInput* const opened = input ? &*input : nullptr;
  const Documents documents = read_documents(world, options, opened);
  const int threads = planned_threads(world, options);
  Plan plan;
  together(world, [&] { plan = make_plan(options, opened, documents, world.size(), threads); });
  if (options.dry_run) return print_dry_run(world, options, plan);
  check_memory(world, stack::total_bytes(plan.memory),
               fmt::format("a run over {} tokens", plan.model.attention.seq_q));
  const ReportFile report_file(world, options.attention.report);
  const TraceFile trace_file(world, options.trace);
  Run work(world, options, plan, opened);
  work.forward();
  if (options.attention.backward) work.backward();
  work.finish(report_file, trace_file);
  return ExitCode::done;
}

Job parse(std::span<const std::string> arguments) {
  RunOptions options = parse_run_options(arguments);
  if (!options.checkpoint.empty()) listen_for_stop();
  return [options = std::move(options)](const Communicator& world) { return run(world, options); };
}

}  // namespace

Command run_command() { return {"run", "a stack of attention layers over a real input", run_help, parse}; }

}  // namespace annulus::launch
