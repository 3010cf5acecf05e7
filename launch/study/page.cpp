/// Pictures as data URIs: an SVG in a page of its own cannot clash with another one's names, nor run anything.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/page.hpp"

#include <fmt/format.h>

#include <cstdint>

namespace annulus::launch {
namespace {

constexpr const char* style = R"(
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .3rem; }
p { max-width: 60rem; color: #444; margin: .3rem 0 .8rem; }
figure { margin: 0 0 1rem; } img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th { text-align: right; font-weight: 600; border-bottom: 2px solid #888; }
td { text-align: right; border-bottom: 1px solid #ddd; }
th, td { padding: .2rem .8rem; white-space: nowrap; }
th:first-child, td:first-child, .facts td { text-align: left; padding-left: 0; }
.facts td { border: 0; } .facts td:first-child { color: #666; }
)";

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '"': safe += "&quot;"; break;
      case '\'': safe += "&#39;"; break;
      default: safe += c;
    }
  }
  return safe;
}

std::string base64(const std::string& bytes) {
  constexpr const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::uint32_t group = 0;
    for (std::size_t i = at; i < at + 3; ++i)
      group = group << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U);
    for (std::size_t i = 0; i < 4; ++i) text += at + i > bytes.size() ? '=' : digits[group >> (18 - 6 * i) & 63];
  }
  return text;
}

std::string cells_text(const std::vector<std::string>& cells, const char* tag) {
  std::string text = "<tr>";
  for (const std::string& cell : cells) text += fmt::format("<{0}>{1}</{0}>", tag, escaped(cell));
  return text + "</tr>\n";
}

std::string table_text(const TitledTable& titled) {
  std::string text =
      fmt::format("<h2>{}</h2>\n<p>{}</p>\n<div class=\"wide\"><table>\n", escaped(titled.title), escaped(titled.note));
  const auto& rows = titled.table.rows();
  for (std::size_t row = 0; row < rows.size(); ++row) text += cells_text(rows[row], row == 0 ? "th" : "td");
  return text + "</table></div>\n";
}

std::string picture_text(const Picture& picture) {
  return fmt::format(
      "<h2>{0}</h2>\n<p>{1}</p>\n<figure><img alt=\"{0}\" src=\"data:image/svg+xml;base64,{2}\"></figure>\n",
      escaped(picture.title), escaped(picture.caption), base64(picture.svg));
}

}  // namespace

std::string study_page(const Facts& facts, const std::vector<Picture>& pictures, const std::vector<TitledTable>& tables,
                       const std::string& remark) {
  std::string text = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "{}\n<meta name=\"viewport\" content=\"width=device-width\"><title>Annulus: scaling study</title>"
      "<style>{}</style></head><body>\n<h1>Annulus: scaling study</h1>\n<table class=\"facts\">\n",
      page_mark, style);
  for (const auto& [name, value] : facts) text += cells_text({name, value}, "td");
  text += "</table>\n";
  for (const Picture& picture : pictures) text += picture_text(picture);
  if (!remark.empty()) text += fmt::format("<p>{}</p>\n", escaped(remark));
  for (const TitledTable& table : tables) text += table_text(table);
  return text + "</body></html>\n";
}

}  // namespace annulus::launch
