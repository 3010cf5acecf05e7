/// Plain aligned tables for people.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace annulus::launch {

/// Columns as wide as their widest cell, two spaces apart; a column of numbers is right-aligned, one of words left.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  /// As many cells as the header has.
  void add(std::vector<std::string> cells);
  /// The header first.
  const std::vector<std::vector<std::string>>& rows() const { return rows_; }
  /// All rows, each ended by a newline, no trailing blanks.
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// "1,048,576", for a count of 0 or more.
std::string count_text(std::int64_t count);

/// "Name  value" lines, values aligned: the summary above a table.
std::string facts_text(const std::vector<std::pair<std::string, std::string>>& facts);

}  // namespace annulus::launch
