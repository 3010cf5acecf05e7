/// Reads shards of a file with pread.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/token_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/base/error.hpp"

namespace annulus::stack {
namespace {
[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw InputError("cannot read " + path + " (" + why + "); try another --input");
}
}  // namespace

TokenFile::TokenFile(std::string path) : path_(std::move(path)) {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) refuse(path_, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) refuse(path_, "not a regular file: ranks read it in parallel, each its own part");
  if (status.st_size == 0) refuse(path_, "the file is empty, so there is no token");
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) refuse(path_, std::strerror(errno));
  size_ = status.st_size;
}

TokenFile::~TokenFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void TokenFile::read_at(std::int64_t offset, std::span<std::uint8_t> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(descriptor_, bytes.data(), bytes.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(path_, std::strerror(errno));
    if (got == 0) refuse(path_, "it has become shorter since it was opened");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

void TokenFile::read(const RowSet& rows, const Take& take) const {
  constexpr std::int64_t window = std::int64_t{1} << 20;
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint8_t> tokens;
  for (std::int64_t row = 0; row < rows.rows(); row += static_cast<std::int64_t>(tokens.size())) {
    const std::int64_t begin = rows.position(row);
    const std::int64_t end_row = rows.rows_before(begin + window);
    const std::int64_t end = rows.position(end_row - 1) + 1;
    bytes.resize(static_cast<std::size_t>(end - begin));
    read_at(begin, bytes);
    tokens.clear();
    for (std::int64_t r = row; r < end_row; ++r) {
      tokens.push_back(bytes[static_cast<std::size_t>(rows.position(r) - begin)]);
    }
    take(row, tokens);
  }
}

}  // namespace annulus::stack
