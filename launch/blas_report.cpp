/// OpenBLAS falls back to SSE on a CPU that is newer than itself.
// SPDX-License-Identifier: Apache-2.0
#include "launch/blas_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "kernels/kernel_table.hpp"
#include "runtime/stack/projection.hpp"

namespace annulus::launch {
namespace {

/// Cores without AVX by their names in OpenBLAS 0.3.21.
constexpr std::array<std::string_view, 16> old_cores{
    "Katmai",     "Coppermine", "Northwood", "Prescott", "Banias",       "Atom",      "Core2", "Penryn",
    "Dunnington", "Nehalem",    "Athlon",    "Opteron",  "Opteron_SSE3", "Barcelona", "Nano",  "Bobcat"};

bool runs_here(std::string_view backend) {
  return std::ranges::any_of(kernels::kernel_tables(), [&](const kernels::KernelTable& row) {
    return row.name == backend && row.unavailable.empty();
  });
}

}  // namespace

std::string blas_text() {
  const std::string core = stack::blas_core();
  if (core.empty()) return "with kernels that it was built for";
  const std::string kernels = fmt::format("OpenBLAS, kernels for {}", core);
  if (std::ranges::find(old_cores, core) == old_cores.end() || !runs_here("avx2")) return kernels;
  return fmt::format("{} (it does not know this CPU; OPENBLAS_CORETYPE={} in the environment is quicker)", kernels,
                     runs_here("avx512") ? "SkylakeX" : "Haswell");
}

}  // namespace annulus::launch
