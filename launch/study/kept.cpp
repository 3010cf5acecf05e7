/// Compares how a record was made with how it would be made.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/kept.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <map>
#include <set>
#include <utility>

#include "runtime/checkpoint/manifest.hpp"

namespace annulus::launch {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<const char*, const char*>, 3> compared{
    {{"repeats", "--repeats"}, {"warmups", "--warmups"}, {"verify_rows", "--verify"}}};

std::string word_at(const json& object, const char* name) {
  if (!object.is_object() || !object.contains(name)) return "";
  const json& value = object.at(name);
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true, json::error_handler_t::replace);
}

/// "--repeats 1, not 3".
std::set<std::string> differences(const json& filed, const json& wanted) {
  std::set<std::string> found;
  for (const auto& [name, option] : compared) {
    const std::string theirs = word_at(filed, name);
    const std::string ours = word_at(wanted, name);
    if (!theirs.empty() && theirs != ours) found.insert(fmt::format("{} {}, not {}", option, theirs, ours));
  }
  return found;
}

std::string machine_of(const json& how) {
  if (!how.is_object() || !how.contains("predicted_from")) return "";
  const json& from = how.at("predicted_from");
  return checkpoint::printable_line(machine_label(word_at(from, "machine"), word_at(from, "source"), word_at(from, "hash")));
}

std::string points_text(std::size_t count) { return count == 1 ? "1 point" : fmt::format("{} points", count); }

std::string kept_measurements(const StudyFile& file, const std::vector<StudyPoint>& points, const json& how) {
  std::size_t count = 0;
  std::set<std::string> all;
  for (const StudyPoint& point : points) {
    const json* record = file.find(point.key);
    if (record == nullptr || !record->contains("how")) continue;
    const std::set<std::string> found = differences(record->at("how"), how);
    all.insert(found.begin(), found.end());
    if (!found.empty()) ++count;
  }
  if (count == 0) return "";
  return fmt::format("kept as measured: {} on file ({}); another RESULTS file measures anew\n", points_text(count),
                     checkpoint::printable_line(fmt::format("{}", fmt::join(all, "; "))));
}

std::string kept_predictions(const StudyFile& file, const json& how) {
  const std::string ours = machine_of(how);
  std::map<std::string, std::size_t> others;
  for (const json& record : file.records()) {
    const std::string theirs = record.contains("how") ? machine_of(record.at("how")) : "";
    if (!theirs.empty() && theirs != ours) ++others[theirs];
  }
  std::string text;
  for (const auto& [theirs, count] : others) {
    text += fmt::format("kept as predicted: {} on file, from machine {}; new ones from {}\n", points_text(count), theirs, ours);
  }
  return text;
}

}  // namespace

std::string machine_label(const std::string& name, const std::string& source, const std::string& hash) {
  return hash.empty() ? fmt::format("{} ({})", name, source) : fmt::format("{} ({}, content {})", name, source, hash);
}

std::string kept_text(const StudyFile& file, const std::vector<StudyPoint>& points, const json& how) {
  return kept_measurements(file, points, how) + kept_predictions(file, how);
}

}  // namespace annulus::launch
