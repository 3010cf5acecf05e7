/// The passes of the reference backend.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "kernels/contract/attention.hpp"

namespace annulus::kernels::reference {

/// `q` must outlive the pass: the reference reads it in place.
std::unique_ptr<ForwardPass> make_forward(const Problem& problem, const ConstTensorView& q, Resources resources);
std::unique_ptr<BackwardPass> make_backward(const Problem& problem, const BackwardInputs& inputs, Resources resources);

/// Doubles that a pass keeps per (batch, head, row) for any element type: O, m, l or dq, dout.out.
std::uint64_t pass_bytes(const Problem& problem, Direction direction);

}  // namespace annulus::kernels::reference
