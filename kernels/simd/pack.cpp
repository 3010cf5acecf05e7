/// Packing by small transposes in 16-byte registers.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/pack.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/base/buffer.hpp"

namespace annulus::kernels::simd {
namespace {

template <class Word>
struct Tile16;
/// Interleaving row i with row i + n / 2 transposes an n x n tile after log2(n) rounds.
template <>
struct Tile16<float> {
  using Vec = float __attribute__((vector_size(16)));
  static constexpr int rounds = 2;
  static Vec low(Vec a, Vec b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
  static Vec high(Vec a, Vec b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
};
template <>
struct Tile16<std::uint16_t> {
  using Vec = std::uint16_t __attribute__((vector_size(16)));
  static constexpr int rounds = 3;
  static Vec low(Vec a, Vec b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
  static Vec high(Vec a, Vec b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
};

template <class Word>
void transpose_tile(const std::byte* source, std::int64_t source_stride, Word* target, std::int64_t target_stride) {
  using Tile = Tile16<Word>;
  using Vec = typename Tile::Vec;
  constexpr int n = 16 / sizeof(Word);
  Vec row[n];
  for (int i = 0; i < n; ++i) std::memcpy(&row[i], source + i * source_stride, 16);
  for (int round = 0; round < Tile::rounds; ++round) {
    Vec mixed[n];
    for (int i = 0; i < n / 2; ++i) {
      mixed[2 * i] = Tile::low(row[i], row[i + n / 2]);
      mixed[2 * i + 1] = Tile::high(row[i], row[i + n / 2]);
    }
    std::copy_n(mixed, n, row);
  }
  for (int i = 0; i < n; ++i) std::memcpy(target + i * target_stride, &row[i], 16);
}

/// target[column][row] = source[row][column]. Source rows of any alignment, `source_stride` bytes apart.
template <class Word>
void transpose_bytes(const std::byte* source, std::int64_t source_stride, std::int64_t rows, std::int64_t columns,
                     Word* target, std::int64_t target_stride) {
  constexpr auto size = static_cast<std::int64_t>(sizeof(Word));
  constexpr std::int64_t n = 16 / size;
  const std::int64_t tiled_rows = rows / n * n;
  const std::int64_t tiled_columns = columns / n * n;
  for (std::int64_t c = 0; c < tiled_columns; c += n) {
    for (std::int64_t r = 0; r < tiled_rows; r += n) {
      transpose_tile(source + r * source_stride + c * size, source_stride, target + c * target_stride + r,
                     target_stride);
    }
  }
  for (std::int64_t c = 0; c < columns; ++c) {
    const std::int64_t first = c < tiled_columns ? tiled_rows : 0;
    for (std::int64_t r = first; r < rows; ++r) {
      std::memcpy(target + c * target_stride + r, source + r * source_stride + c * size, sizeof(Word));
    }
  }
}

template <class Word>
void transpose_words(const Word* source, std::int64_t source_stride, std::int64_t rows, std::int64_t columns,
                     Word* target, std::int64_t target_stride) {
  transpose_bytes(reinterpret_cast<const std::byte*>(source), source_stride * static_cast<std::int64_t>(sizeof(Word)),
                  rows, columns, target, target_stride);
}

/// How up to `size` rows of one head are laid out: words of one element.
template <class Word>
struct Single {
  using Element = Word;
  /// A panel [head_dim][size].
  template <std::int64_t size>
  static void panel(const Word* source, std::int64_t row_stride, std::int64_t rows, std::int64_t head_dim, Word* to) {
    if (rows < size) std::fill_n(to, size * head_dim, Word{0});
    transpose_words(source, row_stride, rows, head_dim, to, size);
  }
  /// Rows [size][width].
  template <std::int64_t size>
  static void rows(const Word* source, std::int64_t row_stride, std::int64_t rows, std::int64_t head_dim, Word* to,
                   std::int64_t width) {
    if (rows < size || head_dim < width) std::fill_n(to, size * width, Word{0});
    for (std::int64_t r = 0; r < rows; ++r) std::copy_n(source + r * row_stride, head_dim, to + r * width);
  }
};

/// Words of two 16-bit elements.
struct Pairs {
  using Element = std::uint16_t;
  /// A panel [head_dim / 2][size]; a word holds two neighbouring channels.
  template <std::int64_t size>
  static void panel(const Element* source, std::int64_t row_stride, std::int64_t rows, std::int64_t head_dim,
                    Element* to) {
    auto* const words = reinterpret_cast<float*>(to);  // floats only carry the bits
    const std::int64_t depth = head_dim / 2;
    if (rows < size) std::fill_n(words, size * ceil_div(head_dim, 2), 0.F);
    transpose_bytes(reinterpret_cast<const std::byte*>(source), row_stride * 2, rows, depth, words, size);
    if (head_dim % 2 == 0) return;
    for (std::int64_t r = 0; r < rows; ++r) {  // the last word of a row holds one channel
      to[(depth * size + r) * 2] = source[r * row_stride + head_dim - 1];
      to[(depth * size + r) * 2 + 1] = 0;
    }
  }
  /// Rows [size / 2][width]; a word holds one channel of two neighbouring keys.
  template <std::int64_t size>
  static void rows(const Element* source, std::int64_t row_stride, std::int64_t rows, std::int64_t head_dim,
                   Element* to, std::int64_t width) {
    auto* const words = reinterpret_cast<std::uint32_t*>(to);
    if (rows < size || head_dim < width) std::fill_n(words, size / 2 * width, 0U);
    for (std::int64_t r = 0; r + 1 < rows; r += 2) {
      const Element* const even = source + r * row_stride;
      const Element* const odd = even + row_stride;
      std::uint32_t* const pairs = words + r / 2 * width;
      for (std::int64_t i = 0; i < head_dim; ++i) pairs[i] = even[i] | static_cast<std::uint32_t>(odd[i]) << 16;
    }
    if (rows % 2 == 0) return;
    std::copy_n(source + (rows - 1) * row_stride, head_dim, words + rows / 2 * width);
  }
};

template <class Order>
void pack_in(const BlockShape& shape, const PackedLayout& layout, Direction direction, const ConstTensorView& k,
             const ConstTensorView& v, std::byte* packed, Workers& workers) {
  using Element = typename Order::Element;
  auto* const elements = reinterpret_cast<Element*>(packed);
  const std::int64_t panels = layout.rows / panel_keys;
  const std::int64_t width = padded_width(shape.head_dim);
  workers.for_each(shape.batch * shape.kv_heads * panels, [&](std::int64_t task, int) {
    const std::int64_t first = task % panels * panel_keys;
    const std::int64_t head = task / panels % shape.kv_heads;
    const std::int64_t b = task / panels / shape.kv_heads;
    const std::int64_t rows = std::min(panel_keys, shape.rows - first);
    const auto* const k_rows = k.at<Element>(b, first, head);
    const auto* const v_rows = v.at<Element>(b, first, head);
    Element* const v_packed = elements + layout.v_at(b, head);
    Order::template panel<panel_keys>(k_rows, k.row_stride, rows, shape.head_dim,
                                      elements + layout.k_at(b, head) + first * layout.depth);
    if (direction == Direction::backward) {
      Order::template panel<panel_keys>(v_rows, v.row_stride, rows, shape.head_dim, v_packed + first * layout.depth);
    } else {
      Order::template rows<panel_keys>(v_rows, v.row_stride, rows, shape.head_dim, v_packed + first * width, width);
    }
  });
}

const std::byte* row_of(const TensorGroup& group, std::int64_t row) {
  const ConstTensorView& view = group.view;
  const std::int64_t at =
      group.b * view.batch_stride + (group.first + row) * view.row_stride + group.head * view.head_stride;
  return view.data + at * static_cast<std::int64_t>(size_of(view.dtype));
}

/// Calls body(order, rows, row_stride) with the rows as their words take them: where they are, widened to f32, or
/// (dout, whose type is the caller's) rounded to bf16.
template <class Body>
void with_words(const TileOps& ops, const TensorGroup& group, const Body& body) {
  const bool pairs = ops.pair == 2;
  if (pairs && group.view.dtype == DType::bf16) {
    return body(Pairs{}, reinterpret_cast<const std::uint16_t*>(row_of(group, 0)), group.view.row_stride);
  }
  if (!pairs && in_place(ops, group.view.dtype)) {
    return body(Single<float>{}, reinterpret_cast<const float*>(row_of(group, 0)), group.view.row_stride);
  }
  alignas(buffer_alignment) std::array<float, group_rows * widest_row> rows;
  const std::int64_t width = padded_width(group.view.head_dim);
  widen_group(ops, group, width, rows.data());
  if (!pairs) return body(Single<float>{}, static_cast<const float*>(rows.data()), width);
  std::array<std::uint16_t, group_rows * widest_row> rounded;
  ops.narrow_bf16(rows.data(), 1, group_rows * width, rounded.data());
  body(Pairs{}, static_cast<const std::uint16_t*>(rounded.data()), width);
}

}  // namespace

void pack(const BlockShape& shape, Direction direction, std::int64_t pair, const ConstTensorView& k,
          const ConstTensorView& v, std::byte* packed, Workers& workers) {
  ANNULUS_EXPECT(shape.dtype != DType::f64 && k.dtype == shape.dtype && v.dtype == shape.dtype);
  const PackedLayout layout = packed_layout(shape, direction, pair);
  if (pair == 2) {
    pack_in<Pairs>(shape, layout, direction, k, v, packed, workers);
  } else if (size_of(shape.dtype) == 2) {
    pack_in<Single<std::uint16_t>>(shape, layout, direction, k, v, packed, workers);
  } else {
    pack_in<Single<float>>(shape, layout, direction, k, v, packed, workers);
  }
}

void unpack_gradient(const TileOps& ops, const BlockShape& shape, const std::byte* gradient, const TensorView& dk,
                     const TensorView& dv) {
  const GradientLayout layout = gradient_layout(shape);
  const auto* const sums = reinterpret_cast<const float*>(gradient);
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    for (std::int64_t head = 0; head < shape.kv_heads; ++head) {
      for (std::int64_t row = 0; row < shape.rows; ++row) {
        write_row(ops, sums + layout.dk_at(b, head) + row * layout.width, 1, dk, b, row, head);
        write_row(ops, sums + layout.dv_at(b, head) + row * layout.width, 1, dv, b, row, head);
      }
    }
  }
}

void widen(const TileOps& ops, DType dtype, const std::byte* source, std::int64_t count, float* target) {
  if (dtype == DType::f32) {
    std::memcpy(target, source, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  if (dtype == DType::f64) {
    const auto* const wide = reinterpret_cast<const double*>(source);
    std::transform(wide, wide + count, target, [](double x) { return static_cast<float>(x); });
    return;
  }
  const auto widen_words = dtype == DType::bf16 ? ops.widen_bf16 : ops.widen_f16;
  const auto* const words = reinterpret_cast<const std::uint16_t*>(source);
  const std::int64_t whole = count / panel_keys * panel_keys;
  widen_words(words, whole, target);
  if (whole == count) return;
  std::array<std::uint16_t, panel_keys> rest{};
  alignas(64) std::array<float, panel_keys> wide;
  std::copy(words + whole, words + count, rest.begin());
  widen_words(rest.data(), panel_keys, wide.data());
  std::copy_n(wide.begin(), count - whole, target + whole);
}

void widen_group(const TileOps& ops, const TensorGroup& group, std::int64_t width, float* target) {
  const ConstTensorView& view = group.view;
  if (group.rows < group_rows || view.head_dim < width) std::fill_n(target, group_rows * width, 0.F);
  for (std::int64_t r = 0; r < group.rows; ++r) {
    widen(ops, view.dtype, row_of(group, r), view.head_dim, target + r * width);
  }
}

void pack_group(const TileOps& ops, const TensorGroup& group, float* packed) {
  with_words(ops, group, [&](auto order, const auto* rows, std::int64_t row_stride) {
    using Order = decltype(order);
    Order::template panel<group_rows>(rows, row_stride, group.rows, group.view.head_dim,
                                      reinterpret_cast<typename Order::Element*>(packed));
  });
}

void words_of_group(const TileOps& ops, const TensorGroup& group, std::int64_t width, float* words) {
  with_words(ops, group, [&](auto order, const auto* rows, std::int64_t row_stride) {
    using Order = decltype(order);
    Order::template rows<group_rows>(rows, row_stride, group.rows, group.view.head_dim,
                                     reinterpret_cast<typename Order::Element*>(words), width);
  });
}

void rows_of_panel(std::int64_t pair, const float* panel, std::int64_t depth, float* rows, std::int64_t width) {
  if (pair == 1) {
    transpose_words(panel, panel_keys, depth, panel_keys, rows, width);
    return;
  }
  // Words (channel 2i, channel 2i + 1) of keys 2j and 2j + 1 become words (key 2j, key 2j + 1) of those channels.
  const auto word_at = [](const float* at) {
    std::uint32_t word;
    std::memcpy(&word, at, sizeof word);
    return word;
  };
  for (std::int64_t i = 0; i < depth; ++i) {
    for (std::int64_t j = 0; j < panel_keys / 2; ++j) {
      const std::uint32_t even = word_at(panel + i * panel_keys + 2 * j);
      const std::uint32_t odd = word_at(panel + i * panel_keys + 2 * j + 1);
      const std::array<std::uint32_t, 2> words{(even & 0xffffU) | (odd << 16), (even >> 16) | (odd & 0xffff0000U)};
      std::memcpy(rows + j * width + 2 * i, words.data(), sizeof words);
    }
  }
}

void write_row(const TileOps& ops, const float* source, float factor, const TensorView& view, std::int64_t b,
               std::int64_t row, std::int64_t head) {
  if (view.dtype == DType::bf16) {
    auto* const target = reinterpret_cast<std::uint16_t*>(view.at<bf16>(b, row, head));
    return ops.narrow_bf16(source, factor, view.head_dim, target);
  }
  with_dtype(view.dtype, [&](auto element) {
    using T = decltype(element);
    T* const target = view.at<T>(b, row, head);
    for (std::int64_t i = 0; i < view.head_dim; ++i) target[i] = from_float<T>(source[i] * factor);
  });
}

}  // namespace annulus::kernels::simd
