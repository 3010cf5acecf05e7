/// Uploads that both passes make.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/pass_state.hpp"

#include <algorithm>
#include <numbers>
#include <string>

#include "kernels/cuda/config.hpp"

namespace annulus::kernels::cuda {
namespace {

/// Kernels count rows in 32 bits, with room for a tile beyond the last one.
void check_rows(const char* what, std::int64_t rows) {
  constexpr std::int64_t limit = std::numeric_limits<std::int32_t>::max() - 2 * row_padding;
  if (rows <= limit) return;
  throw ResourceError("backend cuda takes up to " + std::to_string(limit) + " " + what + " in a call, not " +
                      std::to_string(rows) + " (it counts them in 32 bits); try more ranks");
}

KeySpan narrow(const RowSpan& span) {
  if (span.empty()) return {0, 0, 1};
  const std::int64_t step = std::min(span.step, span.end - span.begin);  // a longer one meets no second row either
  return {static_cast<std::int32_t>(span.begin), static_cast<std::int32_t>(span.end), static_cast<std::int32_t>(step)};
}

}  // namespace

void DevicePlan::upload(const TilePlan& plan, const Progress& progress) {
  order_.upload(plan.order, progress);
  offsets_.upload(plan.offsets, progress);
  runs_.upload(plan.runs, progress);
  tiles_ = std::ssize(plan.order);
}

PassState::PassState(Device& device, const Problem& problem, Resources resources)
    : device_(device),
      problem_(problem),
      resources_(resources),
      width_(padded_width(problem.head_dim)),
      general_(problem.softcap > 0 || !problem.alibi_slopes.empty() || problem.softmax_scale <= 0),
      rooms_{BlockRoom(device), BlockRoom(device)},
      ordered_(device),
      slopes_(device),
      query_positions_(device) {
  check_rows("query rows", problem.q_rows);
  slopes_.upload(problem.alibi_slopes, {});
  if (!problem.alibi_slopes.empty()) query_positions_.upload(problem.query_positions, {});
}

void PassState::upload_queries(const ConstTensorView& view, DType dtype, DeviceArray<std::byte>& to) const {
  const std::int64_t bytes = padded_rows() * width_ * static_cast<std::int64_t>(size_of(dtype));  // of one head
  const Buffer<std::byte> staged = host<std::byte>(pairs() * bytes);
  workers().for_each(pairs(), [&](std::int64_t pair, int) {
    const DenseRows rows{staged.data() + pair * bytes, dtype, padded_rows(), width_};
    gather(view, pair / problem_.heads, pair % problem_.heads, rows);
  });
  to.upload(staged.span(), {});
}

void PassState::order(Line first, Line then) {
  ordered_.record(first);
  ordered_.hold(then);
}

void PassState::upload_block(const Block& block, const VisibleRows& visible, bool masked, const Progress& progress) {
  check_rows("key rows", block.shape.rows);
  const std::uint64_t bytes = packed_bytes(block.shape, Direction::forward);
  turn_ ^= 1U;
  room().read.hold(Line::copies);
  room().packed = block.packed;
  if (block.memory == Memory::host) {
    room().block.upload({block.packed, static_cast<std::size_t>(bytes)}, progress);
    room().packed = room().block.data();
  }
  if (!problem_.alibi_slopes.empty()) room().key_positions.upload(block.positions, progress);
  if (masked) upload_spans(visible, progress);
}

void PassState::begin_kernels() {
  room().filled.record(Line::copies);
  room().filled.hold(Line::kernels);
}

void PassState::upload_spans(const VisibleRows& visible, const Progress& progress) {
  const Buffer<KeySpan> staged = host<KeySpan>(std::ssize(visible.spans));
  std::ranges::transform(visible.spans, staged.data(), narrow);
  room().spans.upload(staged.span(), progress);
}

Extents PassState::extents(const Block& block) const {
  const auto narrowed = [](std::int64_t x) { return static_cast<std::int32_t>(x); };
  return {narrowed(problem_.batch), narrowed(problem_.heads), narrowed(problem_.heads / problem_.kv_heads),
          narrowed(padded_rows()), narrowed(block.shape.rows)};
}

MaskView PassState::mask(const VisibleRows& visible) const {
  return {room().spans.data(), static_cast<std::int32_t>(visible.per_row), static_cast<std::int32_t>(problem_.q_rows)};
}

ScoreArgs PassState::score() const {
  return {.exponent_scale = static_cast<float>(general_ ? 1 : problem_.softmax_scale * std::numbers::log2e),
          .softmax_scale = static_cast<float>(problem_.softmax_scale),
          .softcap = static_cast<float>(problem_.softcap),
          .slopes = slopes_.data(),
          .query_positions = query_positions_.data(),
          .key_positions = room().key_positions.data()};
}

}  // namespace annulus::kernels::cuda
