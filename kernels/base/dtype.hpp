/// Element types of tensors and their conversions to and from float.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace annulus {

enum class DType : std::uint8_t { f32, bf16, f16, f64 };

/// Storage of the 16-bit types; arithmetic happens in float.
struct bf16 {
  std::uint16_t bits;
};
struct f16 {
  std::uint16_t bits;
};

constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return 4;
    case DType::f64: return 8;
    default: return 2;
  }
}

/// "f32", "bf16", "f16", "f64": the words of --dtype, reports and messages.
std::string_view name(DType dtype);
std::optional<DType> parse_dtype(std::string_view word);

inline float to_float(float x) { return x; }
inline float to_float(double x) { return static_cast<float>(x); }
inline float to_float(bf16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }
float to_float(f16 x);

/// Rounds to nearest even; NaN stays NaN.
template <class T>
T from_float(float x);
template <>
inline float from_float<float>(float x) { return x; }
template <>
inline double from_float<double>(float x) { return x; }
template <>
inline bf16 from_float<bf16>(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);  // without branches: loops over it become vectors
  const std::uint32_t rounded = u + 0x7fffU + ((u >> 16) & 1U);
  const std::uint32_t quiet_nan = u | 0x400000U;
  return {static_cast<std::uint16_t>(((u & 0x7fffffffU) > 0x7f800000U ? quiet_nan : rounded) >> 16)};
}
template <>
f16 from_float<f16>(float x);

/// As from_float, from double: rounds once for f32 and f64 (through float for the 16-bit types).
template <class T>
T from_double(double x) { return from_float<T>(static_cast<float>(x)); }
template <>
inline double from_double<double>(double x) { return x; }
inline double to_double(double x) { return x; }
template <class T>
double to_double(T x) { return to_float(x); }

/// Calls `f` with a value of the C++ type that `dtype` names: with_dtype(t, [&](auto x) { using T = decltype(x); ... }).
template <class F>
decltype(auto) with_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::bf16: return std::forward<F>(f)(bf16{});
    case DType::f16: return std::forward<F>(f)(f16{});
    case DType::f64: return std::forward<F>(f)(double{});
    default: return std::forward<F>(f)(float{});
  }
}

}  // namespace annulus
