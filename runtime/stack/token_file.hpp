/// Any file as a sequence of tokens: its bytes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "runtime/layout/row_set.hpp"

namespace annulus::stack {

/// A regular file open for reading. Local; throws InputError with path and reason.
class TokenFile {
 public:
  explicit TokenFile(std::string path);
  ~TokenFile();
  TokenFile(const TokenFile&) = delete;
  TokenFile& operator=(const TokenFile&) = delete;

  std::int64_t size() const { return size_; }

  /// Reads the tokens at the positions of `rows` and hands them to `take` run by run, rows ascending. Reads windows of the
  /// file around those positions: 1 MiB of memory whatever the layout.
  using Take = std::function<void(std::int64_t first_row, std::span<const std::uint8_t> tokens)>;
  void read(const RowSet& rows, const Take& take) const;

 private:
  void read_at(std::int64_t offset, std::span<std::uint8_t> bytes) const;

  std::string path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

}  // namespace annulus::stack
