/// The parameters of suites over all backends that run here: each with every element type that it takes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "kernels/kernel_table.hpp"

namespace annulus::test {

struct BackendParam {
  const kernels::KernelTable* table;
  DType dtype;
  friend void PrintTo(const BackendParam& param, std::ostream* out) {
    *out << param.table->name << " " << name(param.dtype);
  }
};

inline std::vector<BackendParam> available_backends() {
  std::vector<BackendParam> params;
  for (const kernels::KernelTable& table : kernels::kernel_tables()) {
    if (!table.unavailable.empty()) continue;
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
      if (dtype != DType::f64 || table.f64) params.push_back({&table, dtype});
    }
  }
  return params;
}

inline std::string backend_name(const testing::TestParamInfo<BackendParam>& info) {
  std::string text = std::string(info.param.table->name) + "_" + std::string(name(info.param.dtype));
  for (char& c : text) c = c == '-' ? '_' : c;
  return text;
}

}  // namespace annulus::test
