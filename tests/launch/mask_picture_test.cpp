/// Pictures of masks, read back: every visible pair once in the colour of its rank, steps as the ring has them.
// SPDX-License-Identifier: Apache-2.0
#include "launch/plan/mask_picture.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <regex>

#include "launch/plan/mask_grid.hpp"
#include "launch/svg.hpp"
#include "tests/support/random_masks.hpp"

namespace annulus::launch {
namespace {

using Regex = std::regex;

std::vector<std::smatch> all_of(const std::string& text, const Regex& regex) {
  return {std::sregex_iterator(text.begin(), text.end(), regex), std::sregex_iterator()};
}

bool is_text(std::string_view words) {
  for (std::size_t at = words.find('&'); at != words.npos; at = words.find('&', at + 1)) {
    const std::string_view entity = words.substr(at, words.find(';', at) + 1 - at);
    static constexpr std::array<std::string_view, 5> known{"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};
    if (std::find(known.begin(), known.end(), entity) == known.end()) return false;
  }
  return words.find_first_of("<>") == words.npos;
}

/// Attributes as in ` x="1" y="2"`. By hand: std::regex recurses on every character of a long value.
bool are_attributes(std::string_view words) {
  while (!words.empty()) {
    const std::size_t begin = words.find("=\"");
    const std::size_t end = begin == words.npos ? begin : words.find('"', begin + 2);
    if (end == words.npos || words.front() != ' ' || words.find_first_of(" \"", 1) < begin) return false;
    if (!is_text(words.substr(begin + 2, end - begin - 2))) return false;
    words.remove_prefix(end + 1);
  }
  return true;
}

/// Every element is closed by its own end, and no & or < stands in a text.
bool is_well_formed(std::string_view svg) {
  std::vector<std::string_view> open;
  while (!svg.empty()) {
    const std::size_t begin = svg.find('<');
    const std::size_t end = svg.find('>', begin);
    if (!is_text(svg.substr(0, begin))) return false;
    if (begin == svg.npos) break;
    if (end == svg.npos) return false;
    std::string_view tag = svg.substr(begin + 1, end - begin - 1);
    svg.remove_prefix(end + 1);
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return false;
      open.pop_back();
      continue;
    }
    const bool closed = tag.ends_with('/');
    if (closed) tag.remove_suffix(1);
    const std::string_view name = tag.substr(0, tag.find(' '));
    if (name.empty() || !are_attributes(tag.substr(name.size()))) return false;
    if (!closed) open.push_back(name);
  }
  return open.empty();
}

/// [query][key]: the colours that lie there, one behind the other.
std::vector<std::vector<std::string>> painted(const std::string& svg, const Mask& mask) {
  std::vector<std::vector<std::string>> colours(static_cast<std::size_t>(mask.seq_q()),
                                                std::vector<std::string>(static_cast<std::size_t>(mask.seq_k())));
  static const Regex path(R"re(<path fill="(#[0-9A-F]{6})" fill-opacity="1" d=")re");
  static const Regex run(R"(M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z)");
  for (const std::smatch& of_rank : all_of(svg, path)) {
    const auto begin = static_cast<std::size_t>(of_rank.position() + of_rank.length());
    const std::string d = svg.substr(begin, svg.find('"', begin) - begin);
    std::size_t read = 0;
    for (const std::smatch& rect : all_of(d, run)) {
      read += static_cast<std::size_t>(rect.length());
      const auto number = [&](std::size_t i) { return static_cast<std::size_t>(std::stoul(rect[i])); };
      EXPECT_EQ(number(3), number(5)) << "an open rectangle";
      for (std::size_t q = number(2); q < number(2) + number(4); ++q) {
        for (std::size_t k = number(1); k < number(1) + number(3); ++k) colours.at(q).at(k) += of_rank[1];
      }
    }
    EXPECT_EQ(read, d.size()) << "something else is drawn";
  }
  return colours;
}

std::map<int, std::string> legend(const std::string& svg) {
  static const Regex line(R"re(width="12" height="12" fill="(#\w{6})" fill-opacity="1"/>\n<text[^>]*>rank (\d+):)re");
  std::map<int, std::string> colours;
  for (const std::smatch& match : all_of(svg, line)) colours[std::stoi(match[2])] = match[1];
  return colours;
}

class MaskPictureTest : public testing::Test {
 protected:
  std::int64_t below(std::int64_t limit) {
    return static_cast<std::int64_t>(draw_() % static_cast<std::uint64_t>(limit));
  }
  LayoutSpec layout() { return {static_cast<LayoutKind>(below(3)), 1 + below(4)}; }
  Mask mask(std::int64_t min, std::int64_t lengths) {
    const std::int64_t seq_k = min + below(lengths);
    const std::int64_t seq_q = below(2) == 0 ? seq_k : min + below(lengths);
    return Mask(test::RandomMask(draw_, seq_q, seq_k).any(), seq_q, seq_k);
  }
  std::string trace(int round, const Mask& mask) const {
    return "seed " + std::to_string(seed_) + " round " + std::to_string(round) + " " + mask.describe();
  }
  std::uint64_t seed_ = std::random_device{}();
  std::mt19937_64 draw_{seed_};
};

TEST_F(MaskPictureTest, PaintsEveryVisiblePairOnceInTheColourOfItsRank) {
  for (int round = 0; round < 40; ++round) {
    const Mask mask = this->mask(1, 40);
    SCOPED_TRACE(trace(round, mask));
    const LayoutSpec spec = layout();
    const auto ranks = static_cast<int>(1 + below(10));
    const std::string svg = mask_picture(mask, spec, ranks);
    ASSERT_TRUE(is_well_formed(svg));
    const auto colours = painted(svg, mask);
    std::map<int, std::string> of_rank = legend(svg);
    ASSERT_EQ(of_rank.size(), static_cast<std::size_t>(ranks));
    const Layout q_layout(spec.kind, mask.seq_q(), ranks, spec.stripe);
    const test::OracleMask truth = test::oracle_mask(mask.spec());
    for (std::int64_t q = 0; q < mask.seq_q(); ++q) {
      for (std::int64_t k = 0; k < mask.seq_k(); ++k) {
        const bool visible = truth.visible(mask.key_position(q), k);
        ASSERT_EQ(colours[static_cast<std::size_t>(q)][static_cast<std::size_t>(k)],
                  visible ? of_rank[q_layout.owner(q)] : "")
            << q << ", " << k;
      }
    }
  }
}

TEST_F(MaskPictureTest, CountsThePairsOfLargerCells) {
  for (int round = 0; round < 12; ++round) {
    const Mask mask = this->mask(257, 150);
    SCOPED_TRACE(trace(round, mask));
    const LayoutSpec spec = layout();
    const auto ranks = static_cast<int>(1 + below(5));
    const Layout q_layout(spec.kind, mask.seq_q(), ranks, spec.stripe);
    const MaskGrid grid(mask, q_layout, Layout(spec.kind, mask.seq_k(), ranks, spec.stripe));
    const test::OracleMask truth = test::oracle_mask(mask.spec());
    const auto visible = [&](PosRange queries, PosRange keys) {
      std::int64_t pairs = 0;
      for (std::int64_t q = queries.begin; q < queries.end; ++q) {
        for (std::int64_t k = keys.begin; k < keys.end; ++k) pairs += truth.visible(mask.key_position(q), k) ? 1 : 0;
      }
      return pairs;
    };
    for (std::size_t row = 0; row < grid.rows(); ++row) {
      const PosRange queries{grid.row_edges()[row], grid.row_edges()[row + 1]};
      for (std::size_t column = 0; column < grid.columns(); ++column) {
        const PosRange keys{grid.column_edges()[column], grid.column_edges()[column + 1]};
        ASSERT_EQ(grid.pairs(row, column), visible(queries, keys)) << row << ", " << column;
      }
      bool alone = true;
      const int first = q_layout.owner(queries.begin);
      for (std::int64_t q = queries.begin; q < queries.end; ++q) alone = alone && q_layout.owner(q) == first;
      ASSERT_EQ(grid.owner(row), alone ? first : MaskGrid::several) << row;
    }
    for (int rank = 0; rank < ranks; ++rank) {
      std::int64_t pairs = 0;
      for (const Piece& piece : q_layout.pieces(rank)) {
        pairs += visible({piece.pos, piece.pos + piece.rows}, {0, mask.seq_k()});
      }
      ASSERT_EQ(grid.rank_pairs(rank), pairs) << rank;
    }
  }
}

TEST(MaskPicture, ShadesLargerCellsByWhatIsVisible) {
  const Mask mask({.causal = true}, 1024, 1024);
  const Layout layout(LayoutKind::contiguous, 1024, 1);
  const MaskGrid grid(mask, layout, layout);
  EXPECT_EQ(grid.largest_cell(), 5);
  EXPECT_EQ(grid.row_edges().back(), 1024);
  EXPECT_EQ(grid.shade(7, 6), Shade::all);
  EXPECT_EQ(grid.shade(7, 7), Shade::partial);
  EXPECT_EQ(grid.shade(7, 8), Shade::none);
  const std::string svg = mask_picture(mask, {}, 1);
  EXPECT_NE(svg.find("fill-opacity=\"0.4\" d=\"M0 0h"), std::string::npos) << "the first cell lies on the diagonal";
  EXPECT_NE(svg.find("cells of up to 5 x 5 positions"), std::string::npos);
}

struct Label {
  double x, y, size;
  std::string anchor, fill, words;
  bool haloed;
  double left() const {
    const double width = text_width(words, size);
    return anchor == "start" ? x : anchor == "middle" ? x - width / 2 : x - width;
  }
};

/// All texts that run from left to right.
std::vector<Label> labels(const std::string& svg) {
  static const Regex text(R"re(<text x="([\d.-]+)" y="([\d.-]+)" font-size="([\d.]+)" text-anchor="(\w+)")re"
                          R"re( fill="(#\w+)")re"
                          R"re(( font-weight="bold")?( class="haloed")?>([^<]*)</text>)re");
  std::vector<Label> labels;
  for (const std::smatch& m : all_of(svg, text)) {
    labels.push_back({std::stod(m[1]), std::stod(m[2]), std::stod(m[3]), m[4], m[5], m[8], m[7].matched});
  }
  return labels;
}

TEST(MaskPicture, NumbersTheStepsOfTheRing) {
  const Mask mask({.causal = true}, 64, 64);
  const Layout layout(LayoutKind::zigzag, 64, 4);
  const std::string svg = mask_picture(mask, {LayoutKind::zigzag}, 4);
  std::smatch origin;
  ASSERT_TRUE(std::regex_search(svg, origin, Regex(R"(translate\(([\d.]+) ([\d.]+)\) scale\(10 10\))")));
  int numbers = 0;
  for (const Label& label : labels(svg)) {
    if (!label.haloed || label.size != 16) continue;
    ++numbers;
    const auto q = std::lround((label.y - 0.35 * 16 - std::stod(origin[2])) / 10);
    const auto k = std::lround((label.x - std::stod(origin[1])) / 10);
    EXPECT_EQ(label.words, std::to_string((layout.owner(k) - layout.owner(q) + 4) % 4)) << q << ", " << k;
    EXPECT_EQ(label.fill, k > q ? "#999999" : "#222222") << q << ", " << k;
  }
  EXPECT_EQ(numbers, 7 * 7);
  EXPECT_NE(svg.find("rank 3: 16 queries, 520 pairs (25 %)"), std::string::npos);
}

/// Ranks 0, 1 and 2, 3 read each other's blocks in place before blocks hop on.
TEST(MaskPicture, NumbersTheStepsOfARingOverNodes) {
  const Mask mask({}, 64, 64);
  const std::string svg = mask_picture(mask, {}, 4, {.exchange = ExchangeKind::nodes, .group_size = 2});
  std::smatch origin;
  ASSERT_TRUE(std::regex_search(svg, origin, Regex(R"(translate\(([\d.]+) ([\d.]+)\) scale\(10 10\))")));
  constexpr std::array<std::array<int, 4>, 4> steps{{{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}}};
  int numbers = 0;
  for (const Label& label : labels(svg)) {
    if (!label.haloed || label.size != 16) continue;
    ++numbers;
    const auto rank = static_cast<std::size_t>((label.y - std::stod(origin[2])) / 160);
    const auto owner = static_cast<std::size_t>((label.x - std::stod(origin[1])) / 160);
    EXPECT_EQ(label.words, std::to_string(steps[rank][owner])) << rank << ", " << owner;
  }
  EXPECT_EQ(numbers, 16);
  EXPECT_NE(svg.find("exchange nodes: a ring of groups of 2 ranks"), std::string::npos);
}

TEST(MaskPicture, SaysHowBlocksAreMet) {
  const Mask mask({}, 64, 64);
  const auto says = [&](int ranks, const Meeting& meeting, const std::string& words, bool numbered) {
    const std::string svg = mask_picture(mask, {}, ranks, meeting);
    EXPECT_NE(svg.find(words), std::string::npos) << words;
    EXPECT_EQ(svg.find("class=\"haloed\"") != std::string::npos, numbered) << words;
    EXPECT_EQ(svg.find("number: step") != std::string::npos, numbered) << words;
  };
  says(4, {.exchange = ExchangeKind::messages}, "exchange messages: a flat ring", true);
  says(4, {.exchange = ExchangeKind::device}, "exchange device: a flat ring", true);
  says(4, {.exchange = ExchangeKind::shared, .group_size = 4}, "exchange shared: all blocks read in place", true);
  says(4, {.route = Route::direct}, "straight from its owners", false);
  says(4, {.route = Route::halo}, "as a halo", false);
  says(1, {.exchange = ExchangeKind::shared}, "one rank: nothing travels", false);
}

struct Drawing {
  MaskSpec mask;
  std::int64_t seq_q;
  std::int64_t seq_k;
  LayoutSpec layout;
  int ranks;
};

const std::vector<Drawing>& drawings() {
  constexpr LayoutSpec contiguous{LayoutKind::contiguous};
  constexpr LayoutSpec zigzag{LayoutKind::zigzag};
  static const std::vector<Drawing> all{
      {{.causal = true}, 64, 64, {LayoutKind::striped, 1}, 4},
      {{.causal = true, .window_size = {15, 0}, .sink_tokens = 4}, 100, 100, contiguous, 4},
      {{.causal = true, .cu_seqlens = {0, 20, 21, 70, 128}}, 128, 128, zigzag, 4},
      {{.window_size = {4095, 100}, .global_tokens = 7}, 30000, 30000, zigzag, 8},
      {{.causal = true}, 200000, 200000, contiguous, 20},
      {{.causal = true}, 20000, 20000, {LayoutKind::striped, 16}, 3},
      {{.causal = true}, 8192, 8192, zigzag, 200},
      {{.causal = true, .window_size = {50, 0}}, 1, 131072, contiguous, 4},
      {{.causal = true, .chunk_size = 3}, 40, 7, zigzag, 3},
      {{}, 0, 0, zigzag, 2},
      {{}, 0, 5, contiguous, 2},
      {{}, 1, 1, contiguous, 3}};
  return all;
}

std::string draw(const Drawing& drawing) {
  return mask_picture(Mask(drawing.mask, drawing.seq_q, drawing.seq_k), drawing.layout, drawing.ranks);
}

TEST(MaskPicture, KeepsItsLabelsApartAndInside) {
  for (std::size_t i = 0; i < drawings().size(); ++i) {
    SCOPED_TRACE("drawing " + std::to_string(i));
    const std::string svg = draw(drawings()[i]);
    ASSERT_TRUE(is_well_formed(svg));
    std::smatch extent;
    ASSERT_TRUE(std::regex_search(svg, extent, Regex(R"re(width="(\d+)" height="(\d+)")re")));
    const std::vector<Label> all = labels(svg);
    ASSERT_GE(all.size(), 6u);
    for (const Label& a : all) {
      EXPECT_GE(a.left(), 0) << a.words;
      EXPECT_LE(a.left() + text_width(a.words, a.size), std::stod(extent[1])) << a.words;
      EXPECT_LE(a.y, std::stod(extent[2])) << a.words;
      for (const Label& b : all) {
        if (&a == &b) continue;
        const bool apart = a.left() + text_width(a.words, a.size) <= b.left() ||
                           b.left() + text_width(b.words, b.size) <= a.left() ||
                           std::abs(a.y - b.y) >= 0.8 * std::max(a.size, b.size);
        EXPECT_TRUE(apart) << a.words << " and " << b.words;
      }
    }
  }
}

TEST(MaskPicture, StaysSmallAndTheSame) {
  const std::vector<Drawing> hard{{{.window_size = {0, 0}, .stride = 2}, 256, 256, {LayoutKind::striped, 5}, 32},
                                  {{.window_size = {0, 0}, .stride = 22}, 2000, 2000, {LayoutKind::zigzag}, 27},
                                  {{.causal = true}, 1 << 17, 1 << 17, {LayoutKind::striped, 1}, 4}};
  for (const Drawing& drawing : hard) {
    const std::string svg = draw(drawing);
    EXPECT_LT(svg.size(), 1'000'000u);
    EXPECT_EQ(svg, draw(drawing));
  }
}

TEST(MaskPicture, RefusesWhatIsNoRing) {
  EXPECT_THROW(draw({{}, 4, 4, {}, 0}), UsageError);
  EXPECT_THROW(draw({{}, 4, 4, {LayoutKind::striped, 0}, 2}), UsageError);
}

TEST(Svg, EscapesWords) {
  EXPECT_EQ(escape_xml("a<b & \"c\" > 'd'"), "a&lt;b &amp; &quot;c&quot; &gt; &apos;d&apos;");
  Svg svg;
  svg.text(1, 2, "q < k && k > 0");
  EXPECT_TRUE(is_well_formed(svg.file(10, 10, "<&>")));
  svg.add("<g>");
  EXPECT_FALSE(is_well_formed(svg.file(10, 10, "")));
}

}  // namespace
}  // namespace annulus::launch
