/// A drawing in the making: what pictures of this program are written with.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace annulus::launch {

/// Where a text stands to its point.
enum class Anchor { start, middle, end };

struct TextStyle {
  double size = 12;  ///< of the font, in pixels
  Anchor anchor = Anchor::start;
  std::string_view fill = "#222222";
  bool bold = false;
  bool haloed = false;   ///< outlined in white, to be read on any colour
  bool upwards = false;  ///< read from below
};

/// Pixels from the top left corner. Numbers are written with at most two decimals, the same on every machine.
class Svg {
 public:
  void text(double x, double y, std::string_view words, const TextStyle& style = {});
  void rect(double x, double y, double width, double height, std::string_view fill, double opacity = 1);
  void frame(double x, double y, double width, double height, std::string_view stroke);
  void line(double x1, double y1, double x2, double y2, std::string_view stroke, double width);
  /// Elements as they are, well-formed.
  void add(std::string_view elements) { body_ += elements; }

  /// The whole file, on white.
  std::string file(double width, double height, std::string_view title) const;

 private:
  std::string body_;
};

/// With &, <, > and quotes as entities.
std::string escape_xml(std::string_view words);

/// Pixels that words take in the fonts that a sans-serif may be, rather more than less.
double text_width(std::string_view words, double size);

}  // namespace annulus::launch
