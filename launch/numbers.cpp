/// Whole-string number parsing.
// SPDX-License-Identifier: Apache-2.0
#include "launch/numbers.hpp"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <sstream>

#include "kernels/base/error.hpp"

namespace annulus::launch {
namespace {

[[noreturn]] void refuse(std::string_view option, const std::string& text, const std::string& wanted) {
  throw UsageError(fmt::format("{} '{}' is not valid ({} is wanted)", option, text, wanted));
}

/// Powers of 1024 that a suffix stands for; -1 if it is none.
int power_of(std::string_view suffix) {
  if (suffix.empty()) return 0;
  constexpr std::string_view suffixes = "kmgt";
  if (suffix.size() > 1) return -1;
  const std::size_t place = suffixes.find(static_cast<char>(std::tolower(static_cast<unsigned char>(suffix[0]))));
  return place == std::string_view::npos ? -1 : static_cast<int>(place) + 1;
}

std::string range_text(std::int64_t min, std::int64_t max) {
  if (max == std::numeric_limits<std::int64_t>::max()) return fmt::format("a whole number of at least {}", min);
  return fmt::format("a whole number from {} to {}", min, max);
}

}  // namespace

std::int64_t parse_size(std::string_view option, const std::string& text, std::int64_t min, std::int64_t max) {
  const std::string wanted = range_text(min, max) + ", or 64k, 1M with k = 1024";
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data(), end, value);
  int power = power_of({rest, static_cast<std::size_t>(end - rest)});
  if (failure != std::errc{} || power < 0) refuse(option, text, wanted);
  for (; power > 0; --power) {
    if (__builtin_mul_overflow(value, std::int64_t{1024}, &value)) refuse(option, text, wanted);
  }
  if (value < min || value > max) refuse(option, text, wanted);
  return value;
}

std::vector<std::int64_t> parse_sizes(std::string_view option, const std::string& words, std::int64_t min) {
  std::vector<std::int64_t> values;
  std::istringstream list(words + ",");  // so that a comma at the end leaves an empty word
  for (std::string word; std::getline(list, word, ',');) {
    values.push_back(parse_size(option, word, min));
    const std::size_t count = values.size();
    if (count > 1 && values[count - 2] >= values[count - 1]) refuse(option, words, "a list that ascends, such as 64k,256k,1M");
  }
  return values;
}

std::string size_text(std::int64_t value) {
  std::size_t power = 0;
  constexpr std::array suffixes{"", "k", "M", "G"};
  for (; value != 0 && value % 1024 == 0 && power + 1 < suffixes.size(); ++power) value /= 1024;
  return std::to_string(value) + suffixes[power];
}

double parse_duration(std::string_view option, const std::string& text) {
  const std::string wanted = "a duration such as 3h50m, 45m or 90s";
  constexpr std::int64_t longest = 1'000'000;
  std::int64_t seconds = 0;
  std::string_view units = "hms";
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    std::int64_t count = 0;
    const auto [rest, failure] = std::from_chars(at, end, count);
    const std::size_t unit = rest == end ? std::string_view::npos : units.find(*rest);
    if (failure != std::errc{} || count < 0 || count > longest || unit == std::string_view::npos) refuse(option, text, wanted);
    seconds += count * (units[unit] == 'h' ? 3600 : units[unit] == 'm' ? 60 : 1);
    units.remove_prefix(unit + 1);  // hours before minutes before seconds, each once
    at = rest + 1;
  }
  if (seconds < 1) refuse(option, text, wanted);
  return static_cast<double>(seconds);
}

double parse_real(std::string_view option, const std::string& text, double min, double max) {
  const std::string wanted = fmt::format("a number from {} to {}", min, max);
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc{} || rest != end || !std::isfinite(value) || value < min || value > max) {
    refuse(option, text, wanted);
  }
  return value;
}

}  // namespace annulus::launch
