/// A mask as a picture: who attends to whom, on which rank, at which step of the ring.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "launch/plan/meeting.hpp"
#include "runtime/engine/ring_attention.hpp"
#include "runtime/layout/mask.hpp"

namespace annulus::launch {

/// An SVG file below 1 MB, the same for the same arguments: queries from top to bottom, keys from left to right,
/// visible pairs in the colour of the rank that owns the query, shards divided by lines, and where there is room the
/// step of the ring at which the rank meets that block (grey: it has nothing to do there). Up to MaskGrid::finest
/// positions every pair is exact; beyond, a cell is a square of positions, pale if only some of its pairs are visible.
/// Local; takes a step per query. `meeting.group_size` divides the ranks. Throws UsageError for ranks < 1 or a stripe < 1.
std::string mask_picture(const Mask& mask, LayoutSpec layout, int ranks, const Meeting& meeting = {});

}  // namespace annulus::launch
