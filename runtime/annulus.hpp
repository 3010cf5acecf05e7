/// The face of the library: all that a program includes. `#include <annulus/annulus.hpp>`
///
///   annulus::RingAttention ring(comm, {annulus::LayoutKind::zigzag}, spec);   // collective over comm
///   ring.forward({.q = q, .k = k, .v = v, .out = out, .lse = lse});           // this rank's rows
///   ring.backward({.q = q, .k = k, .v = v, .out = out, .dout = dout, .lse = lse, .dq = dq, .dk = dk, .dv = dv});
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/base/buffer.hpp"
#include "kernels/base/dtype.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/view.hpp"
#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/comm/vigil.hpp"
#include "runtime/engine/local_attention.hpp"
#include "runtime/engine/ring_attention.hpp"
#include "runtime/exchange/halo_exchange.hpp"
#include "runtime/layout/halo_plan.hpp"
#include "runtime/layout/layout.hpp"
#include "runtime/layout/mask.hpp"
