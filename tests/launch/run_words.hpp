/// A small input and the words that run a small model over it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "tests/launch/program.hpp"

namespace annulus::test {

inline std::string write_text(const Folder& folder, const std::string& name, std::size_t bytes) {
  const std::string path = folder / name;
  std::ofstream file(path, std::ios::binary);
  for (std::size_t i = 0; i < bytes; ++i) file.put(static_cast<char>('a' + i * i % 23));
  return path;
}

inline std::vector<std::string> run_words(const std::string& input, std::vector<std::string> extra) {
  std::vector<std::string> words{"run", "--input", input, "--heads", "2", "--head-dim", "16"};
  words.insert(words.end(), extra.begin(), extra.end());
  return words;
}

}  // namespace annulus::test
