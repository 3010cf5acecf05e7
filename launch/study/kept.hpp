/// What a study finds on file that it would measure or predict in another way now.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/study/file.hpp"
#include "launch/study/sweep.hpp"

namespace annulus::launch {

/// "two nodes (made up, content 0123456789abcdef)". `hash` may be empty.
std::string machine_label(const std::string& name, const std::string& source, const std::string& hash);

/// Lines that say which numbers stay as they are though `how` (study_how()) now says otherwise: of `points` their repeats,
/// warm-ups and verification, of all that is on file the machine of the forecasts. Empty if there are none. Local.
std::string kept_text(const StudyFile& file, const std::vector<StudyPoint>& points, const nlohmann::json& how);

}  // namespace annulus::launch
