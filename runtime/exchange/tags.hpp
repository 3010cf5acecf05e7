/// The tags of all messages that travel over one communicator of attention.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace annulus {

inline constexpr int block_tag = 11;
inline constexpr int gradient_tag = 12;
inline constexpr int token_tag = 13;
inline constexpr int halo_fetch_tag = 14;
inline constexpr int halo_home_tag = 15;
inline constexpr int left_tag = 16;

}  // namespace annulus
