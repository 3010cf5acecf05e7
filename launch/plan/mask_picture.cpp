/// Lays the picture out: title, axes, strips of owners, cells, regions, legend.
// SPDX-License-Identifier: Apache-2.0
#include "launch/plan/mask_picture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <span>
#include <vector>

#include "launch/plan/mask_grid.hpp"
#include "launch/svg.hpp"
#include "launch/table.hpp"

namespace annulus::launch {
namespace {

constexpr double longest_side = 640;  ///< of the cells, in pixels
constexpr double shortest_side = 48;
constexpr double widest_cell = 40;
constexpr double strip = 20;  ///< width of the strips that show owners
constexpr double margin = 16;
constexpr double top = 118;  ///< room for titles, key positions and a strip
constexpr double line_height = 20;
constexpr double tick_size = 11;
constexpr TextStyle note_style{.size = 12};
constexpr TextStyle title_style{.size = 16, .bold = true};
constexpr double smallest_font = 8;   ///< of step numbers; what needs less is left out
constexpr double thinnest_shard = 4;  ///< of narrower shards neither lines nor strips are drawn
constexpr int legend_lines = 24;      ///< per column
constexpr int most_legend_lines = 3 * legend_lines;
constexpr double pale = 0.4;  ///< opacity of cells with some visible pairs
constexpr std::string_view dark = "#222222";
constexpr std::string_view faint = "#999999";

using Colour = std::array<int, 3>;

/// Okabe and Ito's palette, told apart with any kind of colour vision; dark grey stands in for its black. From rank 8
/// on lighter, from 16 on darker, then as the first again.
Colour colour_of(int rank) {
  static constexpr Colour sand{0xB8, 0xA8, 0x8A};
  static constexpr std::array<Colour, 8> palette{{{0x00, 0x72, 0xB2},
                                                  {0xE6, 0x9F, 0x00},
                                                  {0x00, 0x9E, 0x73},
                                                  {0xCC, 0x79, 0xA7},
                                                  {0x56, 0xB4, 0xE9},
                                                  {0xD5, 0x5E, 0x00},
                                                  {0xF0, 0xE4, 0x42},
                                                  {0x44, 0x44, 0x44}}};
  if (rank == MaskGrid::several) return sand;
  const auto round = static_cast<std::size_t>(rank) / palette.size() % 3;
  Colour mixed = palette[static_cast<std::size_t>(rank) % palette.size()];
  for (int& channel : mixed) channel += round == 0 ? 0 : ((round == 1 ? 255 : 0) - channel) * 35 / 100;
  return mixed;
}

std::string text(const Colour& colour) { return fmt::format("#{:02X}{:02X}{:02X}", colour[0], colour[1], colour[2]); }

/// What can be read on it (luma of ITU-R BT.601).
std::string_view ink_on(const Colour& colour) {
  return 299 * colour[0] + 587 * colour[1] + 114 * colour[2] < 125000 ? "#FFFFFF" : dark;
}

std::string count_of(std::int64_t count, std::string_view singular, std::string_view plural) {
  return fmt::format("{} {}", count_text(count), count == 1 ? singular : plural);
}

double percent(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

/// 1, 2, 5, 10, ...: the first that is not below `least`.
std::int64_t round_step(double least) {
  for (std::int64_t ten = 1;; ten *= 10) {
    for (const std::int64_t step : {ten, 2 * ten, 5 * ten}) {
      if (static_cast<double>(step) >= least) return step;
    }
  }
}

/// One axis: positions, pixels and pieces of shards.
struct Axis {
  std::vector<OwnedRange> pieces;
  std::int64_t seq_len;
  double begin;  ///< pixel of position 0
  double scale;  ///< pixels per position

  double at(std::int64_t pos) const { return begin + scale * static_cast<double>(pos); }
  double end() const { return at(seq_len); }
  double length() const { return end() - begin; }
  double width(const OwnedRange& piece) const { return at(piece.end) - at(piece.begin); }
  double middle(const OwnedRange& piece) const { return (at(piece.begin) + at(piece.end)) / 2; }
  /// Most pieces are about that wide.
  double typical_piece() const { return pieces.empty() ? 0 : length() / static_cast<double>(pieces.size()); }
  /// None, where they are too thin.
  std::span<const OwnedRange> shown_pieces() const {
    return typical_piece() >= thinnest_shard ? std::span(pieces) : std::span<const OwnedRange>();
  }
  /// Where the sequence ends and pieces begin, or if these are too close, at round numbers; `room` pixels apart.
  std::vector<std::int64_t> ticks(double room) const {
    std::vector<std::int64_t> ticks;
    const auto add = [&](std::int64_t pos) {
      const bool fits = ticks.empty() || at(pos) - at(ticks.back()) >= room;
      if (fits && end() - at(pos) >= room) ticks.push_back(pos);
    };
    const std::int64_t step = round_step(room / scale);
    const bool by_piece = typical_piece() >= room / 2;
    for (std::size_t i = 0; by_piece && i < pieces.size(); ++i) add(pieces[i].begin);
    for (std::int64_t pos = 0; !by_piece && pos < seq_len; pos += step) add(pos);
    ticks.push_back(seq_len);
    return ticks;
  }
};

/// Cells are squares, unless one sequence is so short that nothing of it could be seen; whole pixels where each is a
/// pair.
double pixels_per_position(std::int64_t seq_len, std::int64_t longest) {
  const auto share = [](double side, std::int64_t of) {
    return side / static_cast<double>(std::max<std::int64_t>(of, 1));
  };
  const double pixels = std::min(widest_cell, std::max(share(longest_side, longest), share(shortest_side, seq_len)));
  return longest > MaskGrid::finest ? pixels : std::floor(pixels);
}

double tick_room(std::int64_t seq_len) { return text_width(std::to_string(seq_len), tick_size) + 8; }

class MaskPicture {
 public:
  MaskPicture(const Mask& mask, LayoutSpec spec, int ranks, const Meeting& meeting)
      : mask_(mask),
        spec_(spec),
        meeting_(meeting),
        q_layout_(spec.kind, mask.seq_q(), ranks, spec.stripe),
        k_layout_(spec.kind, mask.seq_k(), ranks, spec.stripe),
        grid_(mask, q_layout_, k_layout_) {
    const std::int64_t longest = std::max(mask.seq_q(), mask.seq_k());
    const double left = margin + line_height + tick_room(mask.seq_q()) + strip;
    rows_ = {owned_ranges(q_layout_), mask.seq_q(), top, pixels_per_position(mask.seq_q(), longest)};
    columns_ = {owned_ranges(k_layout_), mask.seq_k(), left, pixels_per_position(mask.seq_k(), longest)};
    right_ = columns_.end();
    bottom_ = top + rows_.length();
  }

  std::string file() {
    title();
    cells();
    axes();
    shards();
    steps();
    legend();
    notes();
    return svg_.file(right_ + margin, bottom_ + margin, mask_.describe());
  }

 private:
  /// Words widen the picture as they are written. Returns where they end.
  double words(double x, double y, const std::string& text, const TextStyle& style) {
    svg_.text(x, y, text, style);
    const double end = x + text_width(text, style.size);
    right_ = std::max(right_, end);
    return end;
  }

  void title() {
    words(margin, 28, mask_.describe(), title_style);
    const std::string stripes = spec_.kind == LayoutKind::striped ? fmt::format(" by {}", spec_.stripe) : "";
    const std::int64_t pairs = mask_.visible_pairs();
    words(margin, 48,
          fmt::format("{} x {}, {}{} on {}: {} ({:.3g} %)", count_of(mask_.seq_q(), "query", "queries"),
                      count_of(mask_.seq_k(), "key", "keys"), name(spec_.kind), stripes,
                      count_of(q_layout_.ranks(), "rank", "ranks"), count_of(pairs, "visible pair", "visible pairs"),
                      percent(pairs, mask_.seq_q() * mask_.seq_k())),
          note_style);
  }

  /// Whole units in which cells are written: positions, or else quarters of a pixel.
  std::int64_t units(const Axis& axis, std::int64_t pos) const {
    return grid_.is_exact() ? pos : std::llround(4 * axis.scale * static_cast<double>(pos));
  }

  /// Runs of equal cells of a row, as rectangles, to the path of their colour.
  void add_runs(std::size_t row, std::map<std::pair<int, Shade>, std::string>& paths) const {
    const std::int64_t y = units(rows_, grid_.row_edges()[row]);
    const std::int64_t height = units(rows_, grid_.row_edges()[row + 1]) - y;
    for (std::size_t column = 0, end = 0; column < grid_.columns(); column = end) {
      const Shade shade = grid_.shade(row, column);
      for (end = column + 1; end < grid_.columns() && grid_.shade(row, end) == shade;) ++end;
      const std::int64_t x = units(columns_, grid_.column_edges()[column]);
      const std::int64_t width = units(columns_, grid_.column_edges()[end]) - x;
      if (shade == Shade::none || width == 0 || height == 0) continue;
      paths[{grid_.owner(row), shade}] += fmt::format("M{} {}h{}v{}h-{}z", x, y, width, height, width);
    }
  }

  void cells() {
    std::map<std::pair<int, Shade>, std::string> paths;
    for (std::size_t row = 0; row < grid_.rows(); ++row) add_runs(row, paths);
    const auto scale = [&](const Axis& axis) { return grid_.is_exact() ? axis.scale : 0.25; };
    svg_.add(fmt::format("<g id=\"cells\" shape-rendering=\"crispEdges\" transform=\"translate({:.2f} {:.2f}) "
                         "scale({} {})\">\n",
                         columns_.begin, rows_.begin, scale(columns_), scale(rows_)));
    for (const auto& [key, path] : paths) {
      svg_.add(fmt::format("<path fill=\"{}\" fill-opacity=\"{}\" d=\"{}\"/>\n", text(colour_of(key.first)),
                           key.second == Shade::all ? 1 : pale, path));
    }
    svg_.add("</g>\n");
  }

  void axes() {
    for (const std::int64_t pos : columns_.ticks(tick_room(mask_.seq_k()))) {
      words(columns_.at(pos), top - strip - 8, std::to_string(pos), {.size = tick_size, .anchor = Anchor::middle});
    }
    for (const std::int64_t pos : rows_.ticks(tick_size + 3)) {
      svg_.text(columns_.begin - strip - 8, rows_.at(pos) + 4, std::to_string(pos),
                {.size = tick_size, .anchor = Anchor::end});
    }
    const bool has_strip = !columns_.shown_pieces().empty();
    words(columns_.begin, top - strip - 28, has_strip ? "key position (strip: rank of the shard)" : "key position",
          note_style);
    svg_.text(margin + 12, top, "query position", {.size = note_style.size, .anchor = Anchor::end, .upwards = true});
  }

  /// The rank of each piece, along both axes, and what divides the pieces.
  void shards() {
    for (const OwnedRange& piece : columns_.shown_pieces()) {
      owner(columns_.at(piece.begin), top - strip - 3, columns_.width(piece), strip, piece.owner);
      svg_.line(columns_.at(piece.begin), top, columns_.at(piece.begin), rows_.end(), dark, line_width(columns_));
    }
    for (const OwnedRange& piece : rows_.shown_pieces()) {
      owner(columns_.begin - strip - 3, rows_.at(piece.begin), strip, rows_.width(piece), piece.owner);
      svg_.line(columns_.begin, rows_.at(piece.begin), columns_.end(), rows_.at(piece.begin), dark, line_width(rows_));
    }
    svg_.frame(columns_.begin, top, columns_.length(), rows_.length(), dark);
  }

  static double line_width(const Axis& axis) { return axis.typical_piece() < 20 ? 0.5 : 1; }

  void owner(double x, double y, double width, double height, int rank) {
    constexpr double size = 11;
    const Colour colour = colour_of(rank);
    svg_.rect(x, y, width, height, text(colour));
    const std::string number = std::to_string(rank);
    if (text_width(number, size) + 6 > width || size + 2 > height) return;
    svg_.text(x + width / 2, y + height / 2 + 4, number,
              {.size = size, .anchor = Anchor::middle, .fill = ink_on(colour)});
  }

  /// Of step numbers: what the widest pieces have room for; too small: none are written.
  double step_size() const {
    const double digits = text_width(std::to_string(q_layout_.ranks() - 1), 1) + 0.4;
    return std::min({16.0, rows_.typical_piece() / 1.4, columns_.typical_piece() / digits});
  }

  /// Visible pairs of each piece of the rows with each piece of the columns. Cells are cut at pieces.
  std::vector<std::int64_t> region_pairs() const {
    std::vector<std::int64_t> sums(rows_.pieces.size() * columns_.pieces.size());
    for (std::size_t row = 0, r = 0; row < grid_.rows(); ++row) {
      if (grid_.row_edges()[row] >= rows_.pieces[r].end) ++r;
      for (std::size_t column = 0, c = 0; column < grid_.columns(); ++column) {
        if (grid_.column_edges()[column] >= columns_.pieces[c].end) ++c;
        sums[r * columns_.pieces.size() + c] += grid_.pairs(row, column);
      }
    }
    return sums;
  }

  void steps() {
    if (!has_steps()) return;
    const std::vector<std::int64_t> pairs = region_pairs();
    std::size_t region = 0;
    for (const OwnedRange& row : rows_.pieces) {
      for (const OwnedRange& column : columns_.pieces) step(row, column, pairs[region++] > 0 ? dark : faint);
    }
  }

  void step(const OwnedRange& row, const OwnedRange& column, std::string_view colour) {
    const TextStyle style{.size = step_size(), .anchor = Anchor::middle, .fill = colour, .haloed = true};
    const std::string text = std::to_string(step_of(row.owner, column.owner, q_layout_.ranks(), meeting_.group_size));
    if (rows_.width(row) < 1.3 * style.size || columns_.width(column) < text_width(text, style.size)) return;
    svg_.text(columns_.middle(column), rows_.middle(row) + 0.35 * style.size, text, style);
  }

  std::string legend_line(int rank) const {
    const std::int64_t pairs = grid_.rank_pairs(rank);
    return fmt::format("rank {}: {}, {} ({:.3g} %)", rank, count_of(q_layout_.rows(rank), "query", "queries"),
                       count_of(pairs, "pair", "pairs"), percent(pairs, mask_.visible_pairs()));
  }

  /// Beside the cells, column by column.
  void legend() {
    const int shown = std::min(q_layout_.ranks(), most_legend_lines);
    double x = columns_.end() + 24;
    double end = x;
    for (int rank = 0; rank < shown; ++rank) {
      const int line = rank % legend_lines;
      if (line == 0 && rank > 0) x = end + 24;
      const double y = top + line * line_height;
      svg_.rect(x, y, 12, 12, text(colour_of(rank)));
      end = std::max(end, words(x + 18, y + 10, legend_line(rank), note_style));
      bottom_ = std::max(bottom_, y + line_height);
    }
    if (shown == q_layout_.ranks()) return;
    words(x, top + legend_lines * line_height + 10, fmt::format("and {} more", q_layout_.ranks() - shown), note_style);
    bottom_ = std::max(bottom_, top + (legend_lines + 1) * line_height);
  }

  void note(const std::string& text) {
    bottom_ += line_height;
    words(columns_.begin, bottom_, text, note_style);
  }

  bool has_steps() const { return q_layout_.ranks() > 1 && meeting_.route == Route::ring && step_size() >= smallest_font; }

  std::string meeting_note() const {
    const int ranks = q_layout_.ranks();
    const std::string how = describe(meeting_, ranks);
    if (ranks == 1 || meeting_.route != Route::ring) return how;
    if (has_steps()) return how + "; number: step at which the rank meets that block; grey: none of its pairs are visible";
    const bool flat = meeting_.group_size == 1;
    return how + "; shards are too small for step numbers" + (flat ? ": a rank meets the block of the rank d places on at step d" : "");
  }

  /// Below everything: how to read it.
  void notes() {
    note(meeting_note());
    if (grid_.is_exact()) return;
    const std::int64_t cell = grid_.largest_cell();
    note(fmt::format("cells of up to {0} x {0} positions; pale: some pairs are visible, full colour: all",
                     count_text(cell)));
    if (grid_.has_several()) note("sand: cells with queries of several ranks");
  }

  const Mask& mask_;
  LayoutSpec spec_;
  Meeting meeting_;
  Layout q_layout_;
  Layout k_layout_;
  MaskGrid grid_;
  Axis rows_;
  Axis columns_;
  Svg svg_;
  double right_ = 0;   ///< of all that is written so far
  double bottom_ = 0;
};

}  // namespace

std::string mask_picture(const Mask& mask, LayoutSpec layout, int ranks, const Meeting& meeting) {
  return MaskPicture(mask, layout, ranks, meeting).file();
}

}  // namespace annulus::launch
