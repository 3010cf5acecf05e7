/// Chooses sampled rows: edges first, for that is where shards go wrong.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/samples.hpp"

#include <algorithm>
#include <set>

#include "kernels/base/checked.hpp"
#include "runtime/stack/seeded.hpp"

namespace annulus::stack {
namespace {
/// First and last positions of every shard's pieces; of a striped shard only its own first and last (its stripes may
/// be as many as its rows).
std::vector<std::int64_t> edges(const Layout& layout) {
  std::vector<std::int64_t> found;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    if (layout.rows(rank) == 0) continue;
    if (layout.kind() == LayoutKind::striped) {
      found.insert(found.end(), {layout.position(rank, 0), layout.position(rank, layout.rows(rank) - 1)});
      continue;
    }
    for (const Piece& piece : layout.pieces(rank)) found.insert(found.end(), {piece.pos, piece.pos + piece.rows - 1});
  }
  return found;
}
}  // namespace

std::vector<Sample> sample_rows(const Layout& layout, std::int64_t batch, std::int64_t rows, std::uint64_t seed) {
  constexpr std::uint64_t sample_stream = 0x73616d70;  // "samp"
  const Seeded random(seed, {sample_stream});
  const auto total = static_cast<std::int64_t>(checked_product({batch, layout.seq_len()}));
  const auto wanted = static_cast<std::size_t>(std::min(rows, total));
  std::set<Sample> chosen;
  const auto choose = [&](Sample sample) {
    if (chosen.size() < wanted) chosen.insert(sample);
  };
  if (wanted == 0) return {};
  choose({0, 0});
  choose({batch - 1, layout.seq_len() - 1});
  for (const std::int64_t pos : edges(layout)) choose({0, pos});
  for (std::uint64_t draw = 0; chosen.size() < wanted && draw < 4 * wanted; ++draw) {
    const auto row = static_cast<std::int64_t>(random.unit(draw) * static_cast<double>(total));
    choose({row / layout.seq_len(), row % layout.seq_len()});
  }
  for (std::int64_t row = 0; chosen.size() < wanted; ++row) choose({row / layout.seq_len(), row % layout.seq_len()});
  return {chosen.begin(), chosen.end()};
}

}  // namespace annulus::stack
