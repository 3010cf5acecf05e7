/// 2^x without the special function unit, whose 16 results per clock and processor are no more than wgmma asks at width 64.
///   x = n + f, |f| <= 1/2 (Cody and Waite);  2^x = 2^n p(f);  p(0) = 1
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>

#include "kernels/cuda/machine.hpp"

namespace annulus::kernels::cuda {

/// p of a degree: the smallest largest relative error over [-1/2, 1/2], found by linear programming, rounded to f32.
template <int degree>
struct Exp2Polynomial;

/// 1.0135e-4: a fortieth of what rounding to bf16 adds.
template <>
struct Exp2Polynomial<3> {
  template <class Machine>
  static ANNULUS_DEVICE float of(Machine& machine, float f) {
    const float quadratic = machine.fma(0.05500893294811249F, f, 0.24221095442771912F);
    return machine.fma(machine.fma(quadratic, f, 0.6932829022407532F), f, 1.0F);
  }
};

/// 2.896e-6: less than a hundredth of what rounding to f16 adds.
template <>
struct Exp2Polynomial<4> {
  template <class Machine>
  static ANNULUS_DEVICE float of(Machine& machine, float f) {
    const float quadratic = machine.fma(0.009582853876054287F, f, 0.055906426161527634F);
    const float cubic = machine.fma(quadratic, f, 0.24024099111557007F);
    return machine.fma(machine.fma(cubic, f, 0.6931241750717163F), f, 1.0F);
  }
};

/// 2^x for x < 127, to the error of its polynomial from -126 on; below, something from 0 to 2^-126, and 0 from -127 on.
/// NaN becomes any number: callers notice it by themselves.
template <int degree, class Machine>
ANNULUS_DEVICE float exp2_by_polynomial(Machine& machine, float x) {
  constexpr float to_integers = 12582912;  // 1.5 * 2^23: adding it leaves n in the low bits
  constexpr float least = -127;            // all bits of 2^n p(0) are 0 there
  const float y = machine.larger(x, least);
  const float shifted = y + to_integers;
  const float p = Exp2Polynomial<degree>::of(machine, y - (shifted - to_integers));
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + (std::bit_cast<std::uint32_t>(shifted) << 23));
}

}  // namespace annulus::kernels::cuda
