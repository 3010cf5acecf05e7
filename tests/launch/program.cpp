/// Runs through the shell, with every word quoted.
// SPDX-License-Identifier: Apache-2.0
#include "tests/launch/program.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

namespace annulus::test {
namespace {

std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string quoted(const std::vector<std::string>& words) {
  std::string text = " " + quoted(ANNULUS_TEST_PROGRAM);
  for (const std::string& word : words) text += " " + quoted(word);
  return text;
}

std::string content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

Outcome run(const std::string& command) {
  const Folder scratch;
  const std::string line = "timeout --kill-after=5 60 " + command + " </dev/null >" + quoted(scratch / "out") + " 2>" +
                           quoted(scratch / "err");
  const int status = std::system(line.c_str());
  if (!WIFEXITED(status)) throw std::runtime_error("the shell did not end by itself: " + line);
  return {WEXITSTATUS(status), content(scratch / "out"), content(scratch / "err")};
}

}  // namespace

std::vector<std::string> Outcome::messages() const {
  std::vector<std::string> found;
  std::istringstream lines(err);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("annulus: ")) found.push_back(line);
  }
  return found;
}

Outcome run_program(int np, const std::vector<std::string>& words) {
  if (np == plainly) return run(quoted(words));
  return run(ANNULUS_TEST_LAUNCHER " " + std::to_string(np) + " " ANNULUS_TEST_LAUNCHER_FLAGS + quoted(words));
}

Outcome run_programs(const std::vector<std::vector<std::string>>& words_of_rank) {
  std::string command = ANNULUS_TEST_LAUNCHER " 1 " ANNULUS_TEST_LAUNCHER_FLAGS + quoted(words_of_rank.at(0));
  for (std::size_t rank = 1; rank < words_of_rank.size(); ++rank) {
    command += " : " ANNULUS_TEST_NUMPROC_FLAG " 1" + quoted(words_of_rank[rank]);
  }
  return run(command);
}

Folder::Folder() {
  std::string name = (std::filesystem::temp_directory_path() / "annulus_launch.XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a folder for a test");
  path_ = name;
}

Folder::~Folder() { std::filesystem::remove_all(path_); }

std::set<std::string> Folder::names() const {
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) found.insert(entry.path().filename().string());
  return found;
}

}  // namespace annulus::test
