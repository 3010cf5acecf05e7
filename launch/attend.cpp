/// `annulus attend`: attention on tensors from a file.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "launch/attend_input.hpp"
#include "launch/command.hpp"
#include "launch/distinct_files.hpp"
#include "launch/memory.hpp"
#include "launch/options.hpp"
#include "launch/progress.hpp"
#include "launch/report.hpp"
#include "launch/table.hpp"
#include "runtime/annulus.hpp"
#include "runtime/checkpoint/tensor_file.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/vigil.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

struct AttendOptions {
  AttentionOptions attention;
  std::string input;
  std::string output;
};

std::unique_ptr<Options> declare(AttendOptions& target) {
  auto options = std::make_unique<Options>(
      "attend IN.h5 OUT.h5 [options]",
      "Attention on tensors from a file.\n\n"
      "  IN.h5   /q [batch, seq_q, heads, head_dim], /k and /v [batch, seq_k, kv_heads, head_dim] in f32, bf16 or f16\n"
      "          (f64: with --dtype or --backend reference); optional /dout (like /q), /cu_seqlens [n+1],\n"
      "          /alibi_slopes [heads], /sink [heads]\n"
      "  OUT.h5  /out and with --backward /dq, /dk, /dv in --dtype; /lse [batch, heads, seq_q] and /dsink [heads] in "
      "f32;\n"
      "          replaced by rename when complete");
  options->positional("IN.h5", target.input);
  options->positional("OUT.h5", target.output);
  add_mask_options(*options, target.attention, MaskDefault::full);
  add_execution_options(*options, target.attention);
  return options;
}

/// A rank's dense share of one tensor.
class Shard {
 public:
  Shard(DType dtype, std::int64_t batch, std::int64_t rows, std::int64_t heads, std::int64_t head_dim)
      : bytes_(static_cast<std::int64_t>(
            checked_product({batch, rows, heads, head_dim, static_cast<std::int64_t>(size_of(dtype))}))),
        view_(dense_view(bytes_.data(), dtype, batch, rows, heads, head_dim)) {}
  const TensorView& view() const { return view_; }

 private:
  Buffer<std::byte> bytes_;
  TensorView view_;
};

/// Everything that one rank holds between reading and writing.
struct Shards {
  Shards(const AttentionSpec& spec, std::int64_t q_rows, std::int64_t k_rows, bool backward)
      : q(spec.dtype, spec.batch, q_rows, spec.heads, spec.head_dim),
        k(spec.dtype, spec.batch, k_rows, spec.kv_heads, spec.head_dim),
        v(spec.dtype, spec.batch, k_rows, spec.kv_heads, spec.head_dim),
        out(backward ? kernels::gradient_dtype(spec.dtype) : spec.dtype, spec.batch, q_rows, spec.heads, spec.head_dim),
        lse(static_cast<std::int64_t>(checked_product({spec.batch, spec.heads, q_rows}))),
        dout(spec.dtype, spec.batch, backward ? q_rows : 0, spec.heads, spec.head_dim),
        dq(spec.dtype, spec.batch, backward ? q_rows : 0, spec.heads, spec.head_dim),
        dk(spec.dtype, spec.batch, backward ? k_rows : 0, spec.kv_heads, spec.head_dim),
        dv(spec.dtype, spec.batch, backward ? k_rows : 0, spec.kv_heads, spec.head_dim),
        dsink(backward && spec.sink ? static_cast<std::size_t>(spec.heads) : 0),
        lse_view(dense_stats(lse.data(), spec.batch, spec.heads, q_rows)) {}

  Shard q, k, v;
  Shard out;  ///< with backward in full precision: rounding it would double the error of the gradients
  Buffer<float> lse;
  Shard dout, dq, dk, dv;
  std::vector<float> dsink;
  RowStats lse_view;
};

/// Bytes of the Shards above and of the ring, on the rank that needs most.
std::uint64_t needed_bytes(const AttentionSpec& spec, const AttentionOptions& options, int ranks) {
  const LayoutSpec layout{options.resolved_layout()};
  const auto element = static_cast<std::int64_t>(size_of(spec.dtype));
  const auto wide = static_cast<std::int64_t>(size_of(kernels::gradient_dtype(spec.dtype)));
  const std::int64_t q_rows = Layout(layout.kind, spec.seq_q, ranks).max_rows();
  const std::int64_t k_rows = Layout(layout.kind, spec.seq_k, ranks).max_rows();
  const std::int64_t q_bytes = options.backward ? 3 * element + wide : 2 * element;
  const std::int64_t k_bytes = options.backward ? 4 * element : 2 * element;
  const kernels::KernelTable& table = kernels::kernel_table(options.backend, spec.dtype);
  const auto ring = [&](Direction direction) {
    return attention_bytes(spec, layout, ranks, table, options.exchange, direction);
  };
  return checked_product({spec.batch, q_rows, spec.heads, spec.head_dim, q_bytes}) +
         checked_product({spec.batch, k_rows, spec.kv_heads, spec.head_dim, k_bytes}) +
         checked_product({spec.batch, q_rows, spec.heads, 4}) +
         std::max(ring(Direction::forward), options.backward ? ring(Direction::backward) : 0);
}

std::vector<TensorInfo> output_datasets(const AttentionSpec& spec, bool backward) {
  const std::vector<std::int64_t> q_dims{spec.batch, spec.seq_q, spec.heads, spec.head_dim};
  const std::vector<std::int64_t> k_dims{spec.batch, spec.seq_k, spec.kv_heads, spec.head_dim};
  std::vector<TensorInfo> datasets{{"out", spec.dtype, q_dims},
                                   {"lse", DType::f32, {spec.batch, spec.heads, spec.seq_q}}};
  if (backward) {
    datasets.push_back({"dq", spec.dtype, q_dims});
    datasets.push_back({"dk", spec.dtype, k_dims});
    datasets.push_back({"dv", spec.dtype, k_dims});
    if (spec.sink) datasets.push_back({"dsink", DType::f32, {spec.heads}});
  }
  return datasets;
}

std::string shape_text(const AttentionSpec& spec) {
  return fmt::format("q [{0}, {1}, {2}, {3}], k and v [{0}, {4}, {5}, {3}] in {6}, {7}", spec.batch, spec.seq_q,
                     spec.heads, spec.head_dim, spec.seq_k, spec.kv_heads, name(spec.dtype),
                     Mask(spec.mask, spec.seq_q, spec.seq_k).describe());
}

/// One `attend` on one rank, step by step.
class Attend {
 public:
  Attend(const Communicator& world, const AttendOptions& options)
      : world_(world), options_(options.attention), output_(options.output), progress_(world) {}

  /// Collective.
  Report run(const std::string& input);
  /// "q [2, 11, 4, 8], k and v [2, 11, 2, 8] in f32, causal", once run.
  const std::string& shape() const { return shape_; }

 private:
  AttendProblem open(const TensorReader& file);
  void read(const TensorReader& file);
  void compute(const AttendProblem& problem, Report& report);
  void write(TensorWriter& file) const;
  std::vector<Piece> q_pieces() const { return q_layout_->pieces(world_.rank()); }
  std::vector<Piece> k_pieces() const { return k_layout_->pieces(world_.rank()); }

  const Communicator& world_;
  const AttentionOptions& options_;
  const std::string& output_;
  ProgressLine progress_;
  std::string shape_;
  std::optional<Layout> q_layout_;
  std::optional<Layout> k_layout_;
  std::optional<Shards> shards_;
};

/// Collective. Everything that can be refused is refused here, before anything large is allocated.
AttendProblem Attend::open(const TensorReader& file) {
  AttendProblem problem;
  std::uint64_t bytes = 0;
  together(world_, [&] {
    problem = attend_problem(file, options_);
    bytes = needed_bytes(problem.spec, options_, world_.size());
    q_layout_.emplace(options_.resolved_layout(), problem.spec.seq_q, world_.size());
    k_layout_.emplace(options_.resolved_layout(), problem.spec.seq_k, world_.size());
  });
  check_memory(world_, bytes, "attention on this input");
  shape_ = shape_text(problem.spec);
  return problem;
}

void Attend::read(const TensorReader& file) {
  progress_.show("reading");
  const std::vector<Piece> q = q_pieces();
  const std::vector<Piece> k = k_pieces();
  file.read("q", q, shards_->q.view());
  file.read("k", k, shards_->k.view());
  file.read("v", k, shards_->v.view());
  if (options_.backward) file.read("dout", q, shards_->dout.view());
}

void Attend::compute(const AttendProblem& problem, Report& report) {
  const char* phase = "forward";
  const auto show = [&](int step, int steps) {
    progress_.show(fmt::format("{}: step {} of {}", phase, step + 1, steps));
  };
  RingAttention ring(world_.raw(), {options_.resolved_layout()}, problem.spec,
                     {.backend = options_.backend, .exchange = options_.exchange, .threads = options_.threads, .on_step = show,
                      .deterministic = options_.deterministic});
  Shards& own = *shards_;
  ring.forward({.q = own.q.view(),
                .k = own.k.view(),
                .v = own.v.view(),
                .out = own.out.view(),
                .lse = own.lse_view,
                .sink = problem.sink});
  report.layers.push_back(layer_report(world_, 0, problem.spec.mask, Direction::forward, ring.last_call()));
  if (options_.backward) {
    phase = "backward";
    ring.backward({.q = own.q.view(),
                   .k = own.k.view(),
                   .v = own.v.view(),
                   .out = own.out.view(),
                   .dout = own.dout.view(),
                   .lse = own.lse_view,
                   .dq = own.dq.view(),
                   .dk = own.dk.view(),
                   .dv = own.dv.view(),
                   .sink = problem.sink,
                   .dsink = own.dsink});
    report.layers.push_back(layer_report(world_, 0, problem.spec.mask, Direction::backward, ring.last_call()));
  }
  std::array<std::uint64_t, 1> threads{static_cast<std::uint64_t>(ring.threads())};
  world_.max(threads);
  report.threads = static_cast<int>(threads[0]);
  report.backend = ring.backend();
  report.exchange = name(ring.exchange());
  report.mover = ring.mover();
  report.deterministic = options_.deterministic;
  report.peak_rss_bytes = peak_rss_of_ranks(world_);
}

void Attend::write(TensorWriter& file) const {
  const std::vector<Piece> q = q_pieces();
  const std::vector<Piece> k = k_pieces();
  std::vector<TensorPart> parts{{"out", q, shards_->out.view()}, {"lse", q, ConstRowStats(shards_->lse_view)}};
  if (options_.backward) {
    parts.push_back({"dq", q, shards_->dq.view()});
    parts.push_back({"dk", k, shards_->dk.view()});
    parts.push_back({"dv", k, shards_->dv.view()});
    if (!shards_->dsink.empty()) parts.push_back({"dsink", {}, std::span<const float>(shards_->dsink)});
  }
  file.write(parts);
}

Report Attend::run(const std::string& input) {
  const std::vector<std::string> datasets = attend_datasets();
  std::optional<TensorReader> file(std::in_place, world_, input, datasets);
  const AttendProblem problem = open(*file);
  TensorWriter writer(world_, output_, output_datasets(problem.spec, options_.backward));
  together(world_, [&] {
    shards_.emplace(problem.spec, q_layout_->rows(world_.rank()), k_layout_->rows(world_.rank()), options_.backward);
    read(*file);
  });
  file.reset();
  Report report;
  report.command = "attend";
  report.ranks = world_.size();
  report.layout = name(options_.resolved_layout());
  report.seq_len = problem.spec.seq_k;
  compute(problem, report);
  for (const LayerReport& layer : report.layers) report.seconds += layer.seconds;
  progress_.show("writing");
  write(writer);
  return report;
}

std::string summary(const Report& report, const std::string& shape, const std::string& output) {
  const std::uint64_t peak = *std::max_element(report.peak_rss_bytes.begin(), report.peak_rss_bytes.end());
  const std::string facts =
      facts_text({{"output", output},
                  {"shape", shape},
                  {"ranks", fmt::format("{}, threads per rank: {}", report.ranks, report.threads)},
                  {"backend", report.backend},
                  {"exchange", report.mover.empty() ? report.exchange : fmt::format("{}: {}", report.exchange, report.mover)},
                  {"layout", report.layout},
                  {"speed", fmt::format("{:.4f} TFLOP/s in {:.3f} s", tflops(report), report.seconds)},
                  {"memory", fmt::format("{} on the largest rank", bytes_text(static_cast<double>(peak)))}});
  return facts + "\n" + layer_table(report.layers);
}

ExitCode attend(const Communicator& world, const AttendOptions& options) {
  set_comm_timeout(options.attention.comm_timeout);
  together(world, [&] {
    check_distinct(std::array<NamedFile, 3>{
        {{"IN", options.input}, {"OUT", options.output}, {"--report", options.attention.report}}});
  });
  const ReportFile report_file(world, options.attention.report);
  Attend work(world, options);
  const Report report = work.run(options.input);
  report_file.write(world, to_json(report));
  if (world.rank() == 0 && options.attention.report != "-") {
    fmt::print("{}", summary(report, work.shape(), options.output));
  }
  return ExitCode::done;
}

std::string help() {
  AttendOptions unread;
  return declare(unread)->help();
}

Job parse(std::span<const std::string> arguments) {
  AttendOptions options;
  declare(options)->parse(arguments);
  check_attention_options(options.attention);
  const Mask fits(options.attention.mask, 0, 0);  // throws
  return [options](const Communicator& world) { return attend(world, options); };
}

}  // namespace

Command attend_command() { return {"attend", "attention on tensors from a file", help, parse}; }

}  // namespace annulus::launch
