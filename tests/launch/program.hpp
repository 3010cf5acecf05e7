/// The built program as a subprocess: what it says, what it leaves, how it ends.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace annulus::test {

struct Outcome {
  int code = -1;  ///< 124: it ran past the limit and was stopped
  std::string out;
  std::string err;

  /// Lines of `err` that start with "annulus: ".
  std::vector<std::string> messages() const;
};

/// As a user starts the program on one rank: without a launcher.
inline constexpr int plainly = 0;

/// Runs `annulus WORDS...`, plainly or on np ranks under the MPI launcher, for a minute at most.
Outcome run_program(int np, const std::vector<std::string>& words);

/// What one rank runs, where ranks differ.
struct RankCommand {
  std::string program = {};  ///< empty: annulus
  std::vector<std::string> words = {};
  std::string folder = {};  ///< empty: that of the test
};

/// One rank per command, under the MPI launcher.
Outcome run_ranks(const std::vector<RankCommand>& commands);

/// A folder of its own for a test, removed at the end.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::set<std::string> names() const;

 private:
  std::filesystem::path path_;
};

}  // namespace annulus::test
