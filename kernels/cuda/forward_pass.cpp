/// The forward pass: one launch per block, beside the upload of the next; the carry stays on the device until finish.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/pass_state.hpp"
#include "kernels/cuda/passes.hpp"

namespace annulus::kernels::cuda {
namespace {

class CudaForward final : public ForwardPass {
 public:
  CudaForward(Device& device, const Problem& problem, const ConstTensorView& q, Resources resources)
      : state_(device, problem, resources),
        q_(device),
        o_(device, state_.rows() * state_.width()),
        m_(device, state_.rows()),
        l_(device, state_.rows()),
        weight_(device, problem.dtype == DType::f32 ? 0 : state_.rows()),
        sink_(device),
        tiles_(device.forward_tiles(state_.kind())) {
    state_.upload_queries(q, problem.dtype, q_);
    sink_.upload(problem.sink, {});
  }

  void attend(const Block& block, const VisibleRows& visible, const Progress& progress) override {
    if (block.shape.rows > 0 && state_.rows() > 0) launch(block, visible, progress);
    if (progress) progress();  // at least once, however small the block
  }

  void finish(const TensorView& out, const RowStats& lse) override {
    if (state_.rows() == 0) return;
    const Problem& problem = state_.problem();
    const DType stored = out.dtype == DType::f64 ? DType::f32 : out.dtype;
    const std::int64_t elements = state_.pairs() * problem.q_rows * problem.head_dim;
    const std::int64_t bytes = elements * static_cast<std::int64_t>(size_of(stored));
    const DeviceArray<std::byte> out_memory(state_.device(), bytes);
    const DeviceArray<float> lse_memory(state_.device(), state_.pairs() * problem.q_rows);
    state_.show_uploads();  // of the sink, if no block has come
    state_.device().finish(stored, state_.kind().width, finish_args(out_memory.data(), lse_memory.data()));
    state_.show_results();
    download_out(out_memory.data(), stored, bytes, out);
    download_lse(lse_memory.data(), lse);
  }

 private:
  void launch(const Block& block, const VisibleRows& visible, const Progress& progress) {
    TilePlan plan = plan_tiles(visible, state_.problem().q_rows, tiles_.rows, tiles_.keys);
    if (!attended_) plan.add_idle();  // their carry is written, too
    if (plan.order.empty()) return;
    state_.upload_block(block, visible, plan.any_masked(), progress);
    state_.room().query_plan.upload(plan, progress);
    const ForwardArgs args{.extents = state_.extents(block),
                           .plan = state_.room().query_plan.view(),
                           .mask = state_.mask(visible),
                           .score = state_.score(),
                           .q = q_.data(),
                           .block = state_.room().packed,
                           .o = o_.data(),
                           .m = m_.data(),
                           .l = l_.data(),
                           .weight = weight_.data(),
                           .fresh = attended_ ? 0 : 1};
    state_.begin_kernels();
    state_.device().forward(state_.kind(), state_.room().query_plan.tiles() * state_.pairs(), args);
    state_.end_kernels();
    attended_ = true;
  }

  FinishArgs finish_args(void* out, float* lse) const {
    const Problem& problem = state_.problem();
    const auto narrow = [](std::int64_t x) { return static_cast<std::int32_t>(x); };
    return {.o = o_.data(),
            .m = m_.data(),
            .l = l_.data(),
            .weight = weight_.data() == nullptr ? l_.data() : weight_.data(),
            .sink = sink_.data(),
            .out = out,
            .lse = lse,
            .batch = narrow(problem.batch),
            .heads = narrow(problem.heads),
            .rows = narrow(problem.q_rows),
            .padded_rows = narrow(state_.padded_rows()),
            .head_dim = narrow(problem.head_dim),
            .attended = attended_ ? 1 : 0};
  }

  void download_out(const std::byte* from, DType stored, std::int64_t bytes, const TensorView& out) const {
    const Problem& problem = state_.problem();
    const Buffer<std::byte> staged = state_.host<std::byte>(bytes);
    state_.device().download(staged.data(), from, bytes, {});
    const ConstTensorView dense = dense_view<const std::byte>(staged.data(), stored, problem.batch, problem.q_rows,
                                                              problem.heads, problem.head_dim);
    state_.workers().for_each(problem.batch * problem.q_rows, [&](std::int64_t task, int) {
      for (std::int64_t head = 0; head < problem.heads; ++head) {
        copy_row(dense, out, task / problem.q_rows, task % problem.q_rows, head);
      }
    });
  }

  static void copy_row(const ConstTensorView& from, const TensorView& to, std::int64_t b, std::int64_t row,
                       std::int64_t head) {
    if (from.dtype != to.dtype) {  // f64: the device has f32
      return (void)std::copy_n(from.at<float>(b, row, head), from.head_dim, to.at<double>(b, row, head));
    }
    with_dtype(to.dtype, [&](auto element) {
      using T = decltype(element);
      std::copy_n(from.at<T>(b, row, head), from.head_dim, to.at<T>(b, row, head));
    });
  }

  void download_lse(const float* from, const RowStats& lse) const {
    const Problem& problem = state_.problem();
    const Buffer<float> staged = state_.host<float>(state_.pairs() * problem.q_rows);
    state_.device().download(staged.data(), from, staged.size() * static_cast<std::int64_t>(sizeof(float)), {});
    for (std::int64_t pair = 0; pair < state_.pairs(); ++pair) {
      std::copy_n(staged.data() + pair * problem.q_rows, problem.q_rows,
                  lse.at(pair / problem.heads, pair % problem.heads));
    }
  }

  PassState state_;
  DeviceArray<std::byte> q_;
  DeviceArray<float> o_;
  DeviceArray<float> m_;
  DeviceArray<float> l_;
  DeviceArray<float> weight_;
  DeviceArray<float> sink_;
  ForwardTiles tiles_;
  bool attended_ = false;
};

}  // namespace

std::unique_ptr<ForwardPass> make_forward(Device& device, const Problem& problem, const ConstTensorView& q,
                                          Resources resources) {
  pass_bytes(problem, Direction::forward);  // throws where the products inside would wrap
  return std::make_unique<CudaForward>(device, problem, q, resources);
}

}  // namespace annulus::kernels::cuda
