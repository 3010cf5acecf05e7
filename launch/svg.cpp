/// Writes elements.
// SPDX-License-Identifier: Apache-2.0
#include "launch/svg.hpp"

#include <fmt/format.h>

#include <cmath>

namespace annulus::launch {
namespace {

std::string_view word(Anchor anchor) {
  return anchor == Anchor::start ? "start" : anchor == Anchor::middle ? "middle" : "end";
}

/// Shortest of two decimals: 3, 0.5, 12.25.
double rounded(double value) { return std::round(value * 100) / 100; }

}  // namespace

std::string escape_xml(std::string_view words) {
  std::string text;
  for (const char c : words) {
    switch (c) {
      case '&': text += "&amp;"; break;
      case '<': text += "&lt;"; break;
      case '>': text += "&gt;"; break;
      case '"': text += "&quot;"; break;
      case '\'': text += "&apos;"; break;
      default: text += c;
    }
  }
  return text;
}

double text_width(std::string_view words, double size) { return 0.62 * size * static_cast<double>(words.size()); }

void Svg::text(double x, double y, std::string_view words, const TextStyle& style) {
  body_ += fmt::format(R"(<text x="{}" y="{}" font-size="{}" text-anchor="{}" fill="{}"{}{}{}>{}</text>)", rounded(x),
                       rounded(y), rounded(style.size), word(style.anchor), style.fill,
                       style.bold ? R"( font-weight="bold")" : "",
                       style.haloed ? R"( class="haloed")" : "",
                       style.upwards ? fmt::format(" transform=\"rotate(-90 {} {})\"", rounded(x), rounded(y)) : "",
                       escape_xml(words));
  body_ += "\n";
}

void Svg::rect(double x, double y, double width, double height, std::string_view fill, double opacity) {
  body_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\" fill-opacity=\"{}\"/>\n",
                       rounded(x), rounded(y), rounded(width), rounded(height), fill, rounded(opacity));
}

void Svg::frame(double x, double y, double width, double height, std::string_view stroke) {
  body_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"{}\"/>\n",
                       rounded(x), rounded(y), rounded(width), rounded(height), stroke);
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view stroke, double width) {
  body_ += fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{}\" stroke-width=\"{}\"/>\n",
                       rounded(x1), rounded(y1), rounded(x2), rounded(y2), stroke, rounded(width));
}

std::string Svg::file(double width, double height, std::string_view title) const {
  const double w = std::ceil(width);
  const double h = std::ceil(height);
  return fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
                     "font-family=\"sans-serif\">\n<title>{2}</title>\n"
                     "<style>.haloed {{ stroke: #ffffff; stroke-width: 0.2em; paint-order: stroke; }}</style>\n"
                     "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{3}</svg>\n",
                     w, h, escape_xml(title), body_);
}

}  // namespace annulus::launch
