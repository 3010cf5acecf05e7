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

/// The program and its words, for the shell.
std::string line_of(const RankCommand& command) {
  std::string text = " " + quoted(command.program.empty() ? ANNULUS_TEST_PROGRAM : command.program);
  for (const std::string& word : command.words) text += " " + quoted(word);
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
  const std::string line = line_of({.program = {}, .words = words, .folder = {}});
  if (np == plainly) return run(line);
  return run(ANNULUS_TEST_LAUNCHER " " ANNULUS_TEST_LAUNCHER_FLAGS " " ANNULUS_TEST_NUMPROC_FLAG " " +
             std::to_string(np) + line);
}

Outcome run_ranks(const std::vector<RankCommand>& commands) {
  std::string line = ANNULUS_TEST_LAUNCHER " " ANNULUS_TEST_LAUNCHER_FLAGS;
  for (std::size_t rank = 0; rank < commands.size(); ++rank) {
    line += (rank > 0 ? " : " : " ") + std::string(ANNULUS_TEST_NUMPROC_FLAG " 1");
    if (!commands[rank].folder.empty()) line += " -wdir " + quoted(commands[rank].folder);
    line += line_of(commands[rank]);
  }
  return run(line);
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
