/// The tables of a report, the same as text and in the page.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "launch/study/points.hpp"
#include "launch/table.hpp"

namespace annulus::launch {

struct TitledTable {
  std::string title;
  std::string note;  ///< what the columns mean
  Table table;
};

/// Name and value: which machine, which program, how many points.
using Facts = std::vector<std::pair<std::string, std::string>>;
Facts study_facts(const Study& study, const std::string& path);

/// Those that the study has points for.
std::vector<TitledTable> study_tables(const Study& study);

}  // namespace annulus::launch
