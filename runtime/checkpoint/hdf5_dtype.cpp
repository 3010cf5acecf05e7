/// The bit layouts behind the names.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/hdf5_dtype.hpp"

#include <array>

namespace annulus::hdf5 {
namespace {

/// Positions and widths in bits, as H5Tset_fields takes them.
struct FloatLayout {
  DType dtype;
  std::size_t bytes;
  std::size_t sign;
  std::size_t exponent;
  std::size_t exponent_bits;
  std::size_t mantissa_bits;  ///< from bit 0
  std::size_t bias;
  friend bool operator==(const FloatLayout&, const FloatLayout&) = default;
};
constexpr std::array float_layouts{
    FloatLayout{DType::f32, 4, 31, 23, 8, 23, 127}, FloatLayout{DType::f64, 8, 63, 52, 11, 52, 1023},
    FloatLayout{DType::f16, 2, 15, 10, 5, 10, 15}, FloatLayout{DType::bf16, 2, 15, 7, 8, 7, 127}};

const FloatLayout& layout_of(DType dtype) {
  for (const FloatLayout& layout : float_layouts) {
    if (layout.dtype == dtype) return layout;
  }
  return float_layouts.front();
}

}  // namespace

Type type_of(DType dtype, Place place, const Context& context) {
  const FloatLayout& layout = layout_of(dtype);
  const hid_t widest = layout.bytes == 8 ? H5T_IEEE_F64LE : H5T_IEEE_F32LE;
  Type type(check(H5Tcopy(widest), context, "describe the elements of"));
  check(H5Tset_fields(type.get(), layout.sign, layout.exponent, layout.exponent_bits, 0, layout.mantissa_bits), context,
        "describe the elements of");
  check(H5Tset_size(type.get(), layout.bytes), context, "describe the elements of");
  check(H5Tset_ebias(type.get(), layout.bias), context, "describe the elements of");
  const H5T_order_t order = place == Place::file ? H5T_ORDER_LE : H5Tget_order(H5T_NATIVE_FLOAT);
  check(H5Tset_order(type.get(), order), context, "describe the elements of");
  return type;
}

std::optional<DType> dtype_of(hid_t stored) {
  if (H5Tget_class(stored) != H5T_FLOAT || H5Tget_norm(stored) != H5T_NORM_IMPLIED) return std::nullopt;
  FloatLayout found{DType::f32, H5Tget_size(stored), 0, 0, 0, 0, H5Tget_ebias(stored)};
  std::size_t mantissa = 0;
  if (H5Tget_fields(stored, &found.sign, &found.exponent, &found.exponent_bits, &mantissa, &found.mantissa_bits) < 0 ||
      mantissa != 0) {
    return std::nullopt;
  }
  for (const FloatLayout& layout : float_layouts) {
    found.dtype = layout.dtype;
    if (found == layout) return layout.dtype;
  }
  return std::nullopt;
}

bool is_signed_integer(hid_t stored) {
  return H5Tget_class(stored) == H5T_INTEGER && H5Tget_sign(stored) == H5T_SGN_2 &&
         (H5Tget_size(stored) == 4 || H5Tget_size(stored) == 8);
}

}  // namespace annulus::hdf5
