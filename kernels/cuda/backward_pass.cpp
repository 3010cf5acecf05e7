/// The backward pass: per block one launch for dQ and one or two for dK and dV, which go home beside dQ, or one for all (fused);
/// dQ stays until finish.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <numbers>

#include "kernels/cuda/pass_state.hpp"
#include "kernels/cuda/passes.hpp"

namespace annulus::kernels::cuda {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

class CudaBackward final : public BackwardPass {
 public:
  CudaBackward(Device& device, const Problem& problem, const BackwardInputs& inputs, Resources resources)
      : state_(device, problem, resources),
        lse_view_(inputs.lse),
        q_(device),
        dout_(device),
        dq_(device, state_.rows() * state_.width()),
        lse_(device),
        delta_(device, state_.rows()),
        gradient_(device),
        summed_(device),
        tiles_(device.backward_tiles(state_.kind())),
        fused_(tiles_.can_fuse && !resources.deterministic) {
    if (state_.rows() == 0) return;
    state_.upload_queries(inputs.q, problem.dtype, q_);
    state_.upload_queries(inputs.dout, problem.dtype, dout_);
    upload_lse();
    compute_delta(inputs.out);
  }

  /// The first part has the kernels sum all of them; each is fetched for itself, while those before it are on their way.
  /// Sums of a block on the device stay there.
  void attend_part(const Block& block, const VisibleRows& visible, RowSpan part, std::byte* gradient,
                   const Progress& progress) override {
    const bool is_empty = state_.rows() == 0 || block_elements(block.shape) == 0;
    const bool on_device = block.memory == Memory::device;
    if (part.begin == 0 && !is_empty) {
      if (!on_device) gradient_.reserve(block_elements(block.shape));
      sums_ = on_device ? reinterpret_cast<float*>(gradient) : gradient_.data();
      launch(block, visible, progress);
      summed_.hold(on_device ? Line::sums_out : Line::copies);
    }
    const std::vector<ByteRun> rows = gradient_rows(block.shape).runs(block.shape.rows, part.begin, part.end);
    if (!on_device) bring_home(rows, is_empty, gradient, progress);
    if (on_device && is_empty) clear(rows, gradient);
    if (progress) progress();  // at least once, however small the block
  }

  void finish(const TensorView& dq, std::span<double> dsink) override {
    if (fused_ && attended_) {
      state_.device().order_dq(static_cast<int>(state_.width()), state_.rows(), {.dq = dq_.data()});
    }
    state_.show_results();
    if (state_.rows() > 0) download_dq(dq);
    if (dsink.empty()) return;
    const Buffer<float> delta = state_.host<float>(state_.rows());
    if (state_.rows() > 0) {
      state_.device().download(delta.data(), delta_.data(), delta.size() * static_cast<std::int64_t>(sizeof(float)),
                               {});
    }
    for (std::size_t head = 0; head < dsink.size(); ++head) {
      dsink[head] = sink_gradient(static_cast<std::int64_t>(head), delta.data());
    }
  }

 private:
  void bring_home(std::span<const ByteRun> rows, bool zeros, std::byte* gradient, const Progress& progress) {
    const auto* const sums = reinterpret_cast<const std::byte*>(sums_);
    for (const ByteRun& run : rows) {
      if (zeros) {
        std::memset(gradient + run.offset, 0, run.bytes);
      } else {
        state_.device().download(gradient + run.offset, sums + run.offset, static_cast<std::int64_t>(run.bytes), progress);
      }
    }
  }

  void clear(std::span<const ByteRun> rows, std::byte* gradient) {
    for (const ByteRun& run : rows) {
      state_.device().clear(Line::sums_out, gradient + run.offset, static_cast<std::int64_t>(run.bytes));
    }
  }

  void upload_lse() {
    const Problem& problem = state_.problem();
    const Buffer<float> staged = state_.host<float>(state_.rows());
    std::ranges::fill(staged.span(), infinity);  // rows without keys, as those of the padding, have p = 0
    for (std::int64_t pair = 0; pair < state_.pairs(); ++pair) {
      const float* const lse = lse_view_.at(pair / problem.heads, pair % problem.heads);
      for (std::int64_t row = 0; row < problem.q_rows; ++row) {
        if (lse[row] == -infinity) continue;
        staged[pair * state_.padded_rows() + row] = static_cast<float>(lse[row] * std::numbers::log2e);
      }
    }
    lse_.upload(staged.span(), {});
  }

  void compute_delta(const ConstTensorView& out) {
    DeviceArray<std::byte> out_rows(state_.device());
    state_.upload_queries(out, DType::f32, out_rows);
    state_.show_uploads();
    state_.device().delta(state_.kind(), {.dout = dout_.data(),
                                          .out = reinterpret_cast<const float*>(out_rows.data()),
                                          .delta = delta_.data(),
                                          .rows = state_.rows()});
  }

  void launch(const Block& block, const VisibleRows& visible, const Progress& progress) {
    const TilePlan queries = fused_ ? TilePlan{} : plan_queries(visible);
    const TilePlan keys = plan_keys(block, visible);
    state_.upload_block(block, visible, queries.any_masked() || keys.any_masked(), progress);
    state_.room().query_plan.upload(queries, progress);
    state_.room().key_plan.upload(keys, progress);
    state_.begin_kernels();
    if (fused_) {
      sum_all(block, visible);
    } else {
      sum_keys(block, visible);
      if (state_.room().query_plan.tiles() > 0) sum_queries(block, visible);
    }
    state_.end_kernels();
  }

  TilePlan plan_queries(const VisibleRows& visible) const {
    TilePlan queries = plan_tiles(visible, state_.problem().q_rows, tiles_.rows, tiles_.columns);
    if (!attended_) queries.add_idle();
    return queries;
  }

  TilePlan plan_keys(const Block& block, const VisibleRows& visible) const {
    const TilePlan queries = plan_tiles(visible, state_.problem().q_rows, tiles_.columns, tiles_.rows);
    TilePlan keys = transposed(queries, ceil_div(block.shape.rows, tiles_.rows));
    keys.add_idle();
    return keys;
  }

  /// First: its results go to the host, and the next block comes, while sum_queries() computes.
  void sum_keys(const Block& block, const VisibleRows& visible) {
    for (const Gradients wanted : {Gradients::dk_and_dv, Gradients::dk, Gradients::dv}) {
      if ((wanted == Gradients::dk_and_dv) != tiles_.one_sum) launch_keys(wanted, block, visible);
    }
    summed_.record(Line::kernels);
  }

  void sum_all(const Block& block, const VisibleRows& visible) {
    if (!attended_)
      state_.device().clear(Line::kernels, dq_.data(),
                            state_.rows() * state_.width() * static_cast<std::int64_t>(sizeof(float)));
    launch_keys(Gradients::all, block, visible);
    summed_.record(Line::kernels);
    attended_ = true;
  }

  void launch_keys(Gradients wanted, const Block& block, const VisibleRows& visible) {
    const DevicePlan& plan = state_.room().key_plan;
    const std::int64_t blocks = plan.tiles() * state_.problem().batch * state_.problem().kv_heads;
    state_.device().backward(state_.kind(), wanted, blocks, args(block, visible, plan));
  }

  void sum_queries(const Block& block, const VisibleRows& visible) {
    const DevicePlan& plan = state_.room().query_plan;
    state_.device().backward(state_.kind(), Gradients::dq, plan.tiles() * state_.pairs(), args(block, visible, plan));
    attended_ = true;
  }

  BackwardArgs args(const Block& block, const VisibleRows& visible, const DevicePlan& plan) const {
    return {.extents = state_.extents(block),
            .plan = plan.view(),
            .mask = state_.mask(visible),
            .score = state_.score(),
            .q = q_.data(),
            .dout = dout_.data(),
            .lse = lse_.data(),
            .delta = delta_.data(),
            .block = state_.room().packed,
            .dq = dq_.data(),
            .gradient = sums_,
            .fresh = attended_ ? 0 : 1};
  }

  void download_dq(const TensorView& dq) const {
    const Problem& problem = state_.problem();
    const std::int64_t head_elements = state_.padded_rows() * state_.width();
    const Buffer<float> staged = state_.host<float>(state_.pairs() * head_elements);
    if (attended_) {
      state_.device().download(staged.data(), dq_.data(), staged.size() * static_cast<std::int64_t>(sizeof(float)), {});
    } else {
      staged.clear();
    }
    const auto scale = static_cast<float>(problem.softmax_scale);
    state_.workers().for_each(state_.pairs(), [&](std::int64_t pair, int) {
      scatter(staged.data() + pair * head_elements, state_.width(), scale, dq, pair / problem.heads,
              pair % problem.heads);
    });
  }

  double sink_gradient(std::int64_t head, const float* delta) const {
    const Problem& problem = state_.problem();
    if (problem.sink.empty()) return 0;
    const double sink = problem.sink[static_cast<std::size_t>(head)];
    if (!std::isfinite(sink)) return 0;  // exp(sink - lse) is 0, also for rows whose lse is -infinity
    double sum = 0;
    for (std::int64_t b = 0; b < problem.batch; ++b) {
      const float* const of_head = delta + (b * problem.heads + head) * state_.padded_rows();
      const float* const lse = lse_view_.at(b, head);
      for (std::int64_t row = 0; row < problem.q_rows; ++row) sum -= std::exp(sink - lse[row]) * of_head[row];
    }
    return sum;
  }

  PassState state_;
  ConstRowStats lse_view_;
  DeviceArray<std::byte> q_;
  DeviceArray<std::byte> dout_;
  DeviceArray<float> dq_;  ///< lacks softmax_scale
  DeviceArray<float> lse_;
  DeviceArray<float> delta_;
  DeviceArray<float> gradient_;  ///< of a block in host memory
  float* sums_ = nullptr;        ///< dK and dV of the block in hand, there or where the exchange wants them
  DeviceEvent summed_;  ///< dK and dV of a block
  BackwardTiles tiles_;
  bool fused_;
  bool attended_ = false;
};

}  // namespace

std::unique_ptr<BackwardPass> make_backward(Device& device, const Problem& problem, const BackwardInputs& inputs,
                                            Resources resources) {
  pass_bytes(problem, Direction::backward);  // throws where the products inside would wrap
  return std::make_unique<CudaBackward>(device, problem, inputs, resources);
}

}  // namespace annulus::kernels::cuda
