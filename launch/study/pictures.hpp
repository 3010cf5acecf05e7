/// Pictures of a study, drawn by a script.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "launch/study/page.hpp"

namespace annulus::launch {

struct Drawing {
  std::vector<Picture> pictures;  ///< those that the study has data for
  std::string remark;             ///< why there are none, and what to do about it; empty if they were drawn
};

/// Writes FOLDER/points.json and runs the script report.py on it, which leaves NAME.svg and NAME.png; pictures of an
/// earlier report are removed. The interpreter is the one that ANNULUS_PYTHON names, else the first of python3 and
/// /usr/bin/python3 that has matplotlib; none is no failure. Throws ResourceError if the folder cannot be written or what
/// ANNULUS_PYTHON names does not draw, and Error with ExitCode::internal if the script fails otherwise. Local.
Drawing draw_study(const Study& study, const std::string& folder);

}  // namespace annulus::launch
