/// The parameters of suites over backends: each with every element type that it takes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "kernels/base/checked.hpp"
#include "kernels/kernel_table.hpp"

namespace annulus::test {

struct BackendParam {
  const kernels::KernelTable* table;
  DType dtype;
  std::int64_t granule = 1;  ///< of head_dim
  /// The head_dim nearest to a wanted one that the row takes.
  std::int64_t fit(std::int64_t head_dim) const { return round_up(head_dim, granule); }
  friend void PrintTo(const BackendParam& param, std::ostream* out) {
    *out << param.table->name << " " << name(param.dtype);
  }
};

/// Every row of `tables` that runs here, with every type that it takes.
template <class Tables>
std::vector<BackendParam> with_each_dtype(const Tables& tables, std::int64_t granule) {
  std::vector<BackendParam> params;
  for (const kernels::KernelTable& table : tables) {
    if (!table.unavailable.empty()) continue;
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
      if (dtype != DType::f64 || table.f64) params.push_back({&table, dtype, granule});
    }
  }
  return params;
}

/// Whom the suites of this program judge; every program that holds them defines it.
std::vector<BackendParam> suite_backends();

inline std::string backend_name(const testing::TestParamInfo<BackendParam>& info) {
  std::string text = std::string(info.param.table->name) + "_" + std::string(name(info.param.dtype));
  for (char& c : text) c = c == '-' ? '_' : c;
  return text;
}

}  // namespace annulus::test
