/// A report as one HTML page that needs no other file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "launch/study/tables.hpp"

namespace annulus::launch {

/// In every page's head: tells a report from other pages.
inline constexpr const char* page_mark = "<meta name=\"generator\" content=\"annulus report\">";

struct Picture {
  std::string title;
  std::string caption;
  std::string svg;  ///< the file's bytes
};

/// `remark` stands where pictures would, if there are none; empty for none. Everything is escaped.
std::string study_page(const Facts& facts, const std::vector<Picture>& pictures, const std::vector<TitledTable>& tables,
                       const std::string& remark);

}  // namespace annulus::launch
