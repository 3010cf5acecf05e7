/// Aligns cells.
// SPDX-License-Identifier: Apache-2.0
#include "launch/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "kernels/base/checked.hpp"

namespace annulus::launch {
namespace {

struct Column {
  std::size_t width = 0;
  bool numbers = true;  ///< every cell below the header starts with a digit or a minus
};

std::vector<Column> columns_of(const std::vector<std::vector<std::string>>& rows) {
  constexpr std::string_view starts = "-0123456789";
  std::vector<Column> columns(rows.front().size());
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::string& cell = rows[row][i];
      columns[i].width = std::max(columns[i].width, cell.size());
      if (row > 0 && (cell.empty() || starts.find(cell.front()) == starts.npos)) columns[i].numbers = false;
    }
  }
  return columns;
}

}  // namespace

Table::Table(std::vector<std::string> header) : rows_{std::move(header)} {}

void Table::add(std::vector<std::string> cells) {
  ANNULUS_EXPECT(cells.size() == rows_.front().size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::string text;
  const std::vector<Column> columns = columns_of(rows_);
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      line += columns[i].numbers ? fmt::format("{:>{}}", row[i], columns[i].width)
                                 : fmt::format("{:<{}}", row[i], columns[i].width);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string count_text(std::int64_t count) {
  std::string text = std::to_string(count);
  for (auto place = static_cast<std::ptrdiff_t>(text.size()) - 3; place > 0; place -= 3) {
    text.insert(static_cast<std::size_t>(place), ",");
  }
  return text;
}

std::string facts_text(const std::vector<std::pair<std::string, std::string>>& facts) {
  std::size_t width = 0;
  for (const auto& [name, value] : facts) width = std::max(width, name.size());
  std::string text;
  for (const auto& [name, value] : facts) text += fmt::format("{:<{}}  {}\n", name, width, value);
  return text;
}

}  // namespace annulus::launch
