/// A plan of cuDNN's for each direction, and the device memory that it works on.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cudnn_attention.hpp"

#include <cudnn_graph.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "kernels/cuda/cuda_device.hpp"
#include "kernels/cuda/cudnn_plan.hpp"
#include "kernels/cuda/cudnn_sdpa.hpp"
#include "kernels/cuda/launch_clock.hpp"

namespace annulus::kernels::cuda {
namespace {

using namespace cudnn;

/// cuDNN on this process's GPU and its line of kernels. Never ends, like the device.
cudnnHandle_t handle() {
  static const cudnnHandle_t made = [] {
    cudnnHandle_t fresh = nullptr;
    check_cudnn(cudnnCreate(&fresh), "start");
    check_cudnn(cudnnSetStream(fresh, line_stream(Line::kernels)), "take a stream");
    return fresh;
  }();
  return made;
}

/// A plan with its workspace, and memory for each tensor.
class Call {
 public:
  using Bindings = std::map<Tensor, void*>;

  explicit Call(const Graph& graph) : plan_(make_plan(graph, {.handle = handle()})), workspace_(cuda_device()) {
    workspace_.reserve(plan_.get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
  }
  void bind(const Bindings& bindings) {
    std::vector<std::int64_t> numbers;
    std::vector<void*> pointers;
    for (const auto& [number, pointer] : bindings) {
      numbers.push_back(number);
      pointers.push_back(pointer);
    }
    void* const workspace = workspace_.data();
    pack_.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, std::ssize(numbers), numbers.data());
    pack_.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, std::ssize(pointers), pointers.data());
    pack_.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    pack_.finalize("bind its tensors");
  }
  void enqueue() { check_cudnn(cudnnBackendExecute(handle(), plan_.raw(), pack_.raw()), "attend"); }

 private:
  Descriptor plan_;
  Descriptor pack_{CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR};
  DeviceArray<std::byte> workspace_;
};

class CudnnAttention final : public PeerAttention {
 public:
  CudnnAttention(const PeerShape& shape, const PeerInputs& inputs)
      : shape_(shape),
        scale_(static_cast<float>(1 / std::sqrt(static_cast<double>(shape.head_dim)))),
        stats_(cuda_device(), shape.batch * shape.heads * shape.rows) {
    for (Array* const array : {&q_, &k_, &v_, &out_}) array->reserve(tensor_bytes());
    upload(q_, inputs.q);
    upload(k_, inputs.k);
    upload(v_, inputs.v);
    prepare_forward();
    if (shape.direction == Direction::forward) return;
    time(*forward_);  // for out and stats
    upload(dout_, inputs.dout);
    prepare_backward();
  }

  double run() override {
    if (shape_.direction == Direction::forward) return time(*forward_);
    cuda_device().clear(Line::kernels, dq_sum_.data(), elements() * static_cast<std::int64_t>(sizeof(float)));  // it is added to
    return time(*backward_);
  }

  std::vector<std::byte> results() override {
    std::vector<std::byte> all;
    if (shape_.direction == Direction::forward) {
      append(all, out_);
    } else {
      for (const Array* const array : {&dq_, &dk_, &dv_}) append(all, *array);
    }
    return all;
  }

 private:
  using Array = DeviceArray<std::byte>;

  std::int64_t elements() const {
    return static_cast<std::int64_t>(checked_product({shape_.batch, shape_.rows, shape_.heads, shape_.head_dim}));
  }
  std::int64_t tensor_bytes() const { return elements() * static_cast<std::int64_t>(size_of(shape_.dtype)); }

  void upload(Array& to, const ConstTensorView& from) const {
    to.upload({from.data, static_cast<std::size_t>(tensor_bytes())}, {});
    arrived_.record(Line::copies);
    arrived_.hold(Line::kernels);
  }
  void append(std::vector<std::byte>& all, const Array& from) const {
    arrived_.record(Line::kernels);
    arrived_.hold(Line::copies);
    const std::size_t before = all.size();
    all.resize(before + static_cast<std::size_t>(tensor_bytes()));
    cuda_device().download(all.data() + before, from.data(), tensor_bytes(), {});
  }
  void prepare_forward() {
    Graph graph;
    const SdpaTensors t = add_forward(graph, shape_);
    forward_ = std::make_unique<Call>(graph);
    forward_->bind(numbers(
        t, {{t.q, q_.data()}, {t.k, k_.data()}, {t.v, v_.data()}, {t.out, out_.data()}, {t.stats, stats_.data()}}));
  }
  void prepare_backward() {
    for (Array* const array : {&dq_, &dk_, &dv_}) array->reserve(tensor_bytes());
    delta_.reserve(shape_.batch * shape_.heads * shape_.rows);
    dq_sum_.reserve(elements());
    Graph graph;
    const SdpaTensors t = add_backward(graph, shape_);
    backward_ = std::make_unique<Call>(graph);
    backward_->bind(numbers(t, {{t.q, q_.data()}, {t.k, k_.data()}, {t.v, v_.data()}, {t.out, out_.data()},
                                {t.stats, stats_.data()}, {t.dout, dout_.data()}, {t.dq, dq_.data()}, {t.dk, dk_.data()},
                                {t.dv, dv_.data()}, {t.delta, delta_.data()}, {t.dq_sum, dq_sum_.data()}}));
  }
  Call::Bindings numbers(const SdpaTensors& tensors, Call::Bindings bindings) {
    bindings[tensors.scale] = &scale_;
    if (tensors.lowest >= 0) bindings[tensors.lowest] = &lowest_;
    if (tensors.one >= 0) bindings[tensors.one] = &one_;
    return bindings;
  }
  double time(Call& call) {
    (void)clock_.take();  // begins to count
    clock_.time(line_stream(Line::kernels), [&] { call.enqueue(); });
    return clock_.take();
  }

  PeerShape shape_;
  float scale_;
  float lowest_ = -std::numeric_limits<float>::infinity();
  float one_ = 1;
  mutable DeviceEvent arrived_{cuda_device()};
  Array q_{cuda_device()}, k_{cuda_device()}, v_{cuda_device()}, out_{cuda_device()};
  Array dout_{cuda_device()}, dq_{cuda_device()}, dk_{cuda_device()}, dv_{cuda_device()};
  DeviceArray<float> stats_;
  DeviceArray<float> delta_{cuda_device()};
  DeviceArray<float> dq_sum_{cuda_device()};
  LaunchClock clock_;
  std::unique_ptr<Call> forward_;
  std::unique_ptr<Call> backward_;
};

}  // namespace

bool has_cudnn() { return true; }

std::string cudnn_version() {
  const auto version = static_cast<long>(cudnnGetVersion());
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
}

std::unique_ptr<PeerAttention> cudnn_attention(const PeerShape& shape, const PeerInputs& inputs) {
  return std::make_unique<CudnnAttention>(shape, inputs);
}

}  // namespace annulus::kernels::cuda
