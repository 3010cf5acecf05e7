/// Numbers as people type them, parsed whole: no trailing junk, no overflow, no NaN.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace annulus::launch {

/// A count such as 4096, 64k or 1M (k = 1024, M = 1024 k, G = 1024 M) in [min, max]. Throws UsageError that names
/// `option`.
std::int64_t parse_size(std::string_view option, const std::string& text, std::int64_t min,
                        std::int64_t max = std::numeric_limits<std::int64_t>::max());

/// Counts with commas between them, ascending, each once. Throws UsageError that names `option`.
std::vector<std::int64_t> parse_sizes(std::string_view option, const std::string& words, std::int64_t min);

/// "64k", "1M", "1000": as parse_size reads it.
std::string size_text(std::int64_t value);

/// Seconds of a duration such as 3h50m, 90s, 45m or 1h30m10s, at least one second. Throws UsageError that names `option`.
double parse_duration(std::string_view option, const std::string& text);

/// A finite decimal number in [min, max]. Throws UsageError that names `option`.
double parse_real(std::string_view option, const std::string& text, double min, double max);

}  // namespace annulus::launch
