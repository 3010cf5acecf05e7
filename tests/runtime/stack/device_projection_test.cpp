/// The stack's projections through an emulated device: layout, pieces, order of the two lines, weights, full memory.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/device_projection.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "runtime/stack/layer.hpp"
#include "tests/runtime/stack/projection_case.hpp"
#include "tests/support/column_major_unit.hpp"

namespace annulus::stack {
namespace {

using test::ColumnMajorUnit;
using test::EmulatedDevice;
using kernels::cuda::Line;

constexpr std::int64_t piece = DeviceProjection::piece_rows;

/// Counts what the device multiplies.
void judge(EmulatedDevice& device, Way way, std::int64_t rows) {
  ColumnMajorUnit unit(device);
  judge_projection(unit, way, rows, 24, 40);
  EXPECT_EQ(unit.products(), (rows + piece - 1) / piece);
}

TEST(DeviceProjection, MultipliesAsTheProcessorDoesInPiecesOfAnySize) {
  EmulatedDevice device(false);
  for (const Way way : {Way::forward, Way::backward}) {
    for (const std::int64_t rows : {std::int64_t{0}, std::int64_t{1}, piece - 1, piece, piece + 1, 3 * piece + 5}) {
      judge(device, way, rows);
    }
  }
}

TEST(DeviceProjection, OrdersItsTwoLines) {
  for (const Line late : {Line::copies, Line::kernels}) {
    EmulatedDevice device(false);
    device.set_late(late);
    for (const Way way : {Way::forward, Way::backward}) judge(device, way, 4 * piece + 3);
  }
}

ModelSpec small_model(DType dtype) {
  ModelSpec model;
  model.attention = {.batch = 2, .seq_q = 3000, .seq_k = 3000, .heads = 3, .kv_heads = 1, .head_dim = 8, .mask = {.causal = true}};
  model.attention.dtype = dtype;
  model.local_masks = {{.causal = true, .window_size = {3, 0}}};
  model.residual_alpha = 0.3;
  return model;
}

/// One layer's rows with everything that its four steps read and write.
template <class T>
struct LayerCase {
  explicit LayerCase(const ModelSpec& m) : model(m), elements(m.attention.batch * m.attention.seq_q) {
    for (std::int64_t i = 0; i < x.size(); ++i) x[i] = from_float<T>(in[static_cast<std::size_t>(i)]);
  }
  Buffer<std::byte> tensor(std::int64_t width) const { return Buffer<std::byte>(elements * width * sizeof(T)); }
  std::vector<float> random(std::int64_t width, std::uint64_t stream) const {
    std::vector<float> values(static_cast<std::size_t>(elements * width));
    fill(values, stream);
    return values;
  }
  Buffer<float> random_buffer(std::int64_t width, std::uint64_t stream) const {
    Buffer<float> values(elements * width);
    fill(values.span(), stream);
    return values;
  }

  void run(DeviceProjection* device) {
    Workers workers(3);
    LayerRows rows(model, workers);
    if (device != nullptr) rows.project_on(*device);
    const RowSet positions({{0, model.attention.seq_q}});
    rows.hold(positions);
    const LayerWeights weights = layer_weights(model, 1, workers);
    const auto* const stored = reinterpret_cast<const std::byte*>(x.data());
    rows.before_attention(LayerKind::global, weights, stored, qkv);
    rows.after_attention(weights, stored, in.data(), x_out.data());
    rows.after_attention_backward(weights, in.data(), dout.data());
    rows.before_attention_backward(LayerKind::global, weights, stored, gradient, dx.data());
  }

  ModelSpec model;
  std::int64_t elements;
  std::vector<float> in = random(model.width(), 3);
  Buffer<T> x{elements * model.width()};
  Qkv qkv{tensor(model.width()), tensor(model.kv_width()), tensor(model.kv_width())};
  QkvGradient gradient{random_buffer(model.width(), 4), random_buffer(model.kv_width(), 5), random_buffer(model.kv_width(), 6)};
  Buffer<std::byte> x_out = tensor(model.width());
  std::vector<float> dout = std::vector<float>(in.size(), NAN);
  std::vector<float> dx = random(model.width(), 8);
};

template <class T>
std::span<const T> elements_of(const Buffer<std::byte>& tensor) {
  return {reinterpret_cast<const T*>(tensor.data()), static_cast<std::size_t>(tensor.size()) / sizeof(T)};
}

template <class T>
void judge_layer(DType dtype, double limit) {
  LayerCase<T> wanted(small_model(dtype));
  LayerCase<T> got(small_model(dtype));
  EmulatedDevice device(false);
  ColumnMajorUnit unit(device);
  DeviceProjection projection(unit, DeviceProjection::sizes(got.model));
  wanted.run(nullptr);
  got.run(&projection);
  EXPECT_EQ(unit.products(), 4 * 3) << "4 projections of 6000 rows";
  expect_near(elements_of<T>(got.qkv.q), elements_of<T>(wanted.qkv.q), limit, "q");
  expect_near(elements_of<T>(got.qkv.k), elements_of<T>(wanted.qkv.k), limit, "k");
  expect_near(elements_of<T>(got.qkv.v), elements_of<T>(wanted.qkv.v), limit, "v");
  expect_near(elements_of<T>(got.x_out), elements_of<T>(wanted.x_out), limit, "x");
  expect_near<float>(got.dout, wanted.dout, f32_limit, "dout");
  expect_near<float>(got.dx, wanted.dx, 4 * f32_limit, "dx");
}

TEST(DeviceProjection, LeavesAllElseOfALayerAsItIs) {
  judge_layer<float>(DType::f32, f32_limit);
  judge_layer<bf16>(DType::bf16, 1.0 / 128);  // one step of rounding
}

/// The product with the unit row gives the first row of W.
float first_product(DeviceProjection& subject, std::int64_t layer, Matrix matrix, const std::vector<float>& weights) {
  const float one = 1;
  float product = NAN;
  subject.run({layer, matrix, Way::forward, 1, 1, weights.data()}, 1, [&](auto, auto, float*) { return &one; },
              [&](auto, auto, const float* result) { product = *result; });
  return product;
}

TEST(DeviceProjection, KeepsTheWeightsOfAllLayersOrTheLast) {
  EmulatedDevice device(false);
  ColumnMajorUnit unit(device);
  for (const std::int64_t kept : {0, 3}) {
    DeviceProjection subject(unit, {1, 1, 1, kept});
    const std::int64_t used = device.used();
    for (const bool again : {false, true}) {
      for (std::int64_t layer = 0; layer < 3; ++layer) {
        for (const Matrix matrix : {Matrix::qkv, Matrix::out}) {
          const float weight = static_cast<float>(10 * layer + static_cast<int>(matrix) + 1);
          // Kept weights are not read again: another value in their place stays unseen.
          const float shown = again ? 100 + weight : weight;
          EXPECT_EQ(first_product(subject, layer, matrix, {shown}), kept > 0 ? weight : shown) << layer << " kept " << kept;
          EXPECT_EQ(first_product(subject, layer, matrix, {-1}), kept > 0 ? weight : shown) << "twice in a row";
        }
      }
    }
    EXPECT_EQ(device.used(), used) << "all memory is taken before the first product";
  }
}

TEST(DeviceProjection, NamesTheBytesThatAreMissing) {
  constexpr std::int64_t capacity = 1'000'000;
  EmulatedDevice device(false);
  device.set_capacity(capacity);
  ColumnMajorUnit unit(device);
  try {
    DeviceProjection subject(unit, {4096, 1, 1, 0});
    FAIL() << "a piece of 2048 rows of 4096 does not fit 1 MB";
  } catch (const ResourceError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find(std::to_string(piece * 4096 * 4)), std::string::npos) << text;
    EXPECT_NE(text.find(std::to_string(capacity)), std::string::npos) << text;
    EXPECT_EQ(error.code(), ExitCode::resources);
  }
  EXPECT_EQ(device.used(), 0);
}

TEST(DeviceProjection, IsForTheCudaBackendAlone) {
  for (const char* backend : {"reference", "portable", "avx2", "avx512"}) {
    EXPECT_FALSE(projects_on_gpu(backend));
    EXPECT_EQ(gpu_projection(small_model(DType::f32), backend, kernels::Direction::forward, 1), nullptr);
  }
  EXPECT_EQ(projects_on_gpu("cuda"), kernels::cuda::has_cublas());
}

}  // namespace
}  // namespace annulus::stack
