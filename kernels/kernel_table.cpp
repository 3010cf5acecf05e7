/// Choosing a backend: a row by name, or the best CPU row that this machine runs.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel_table.hpp"

#include <algorithm>
#include <array>

#include "kernels/base/error.hpp"
#include "kernels/cuda/cuda_table.hpp"
#include "kernels/reference/reference_table.hpp"
#include "kernels/simd/simd_tables.hpp"

namespace annulus::kernels {
namespace {

constexpr std::string_view device_backend = "cuda";       ///< never chosen by "auto": tensors would have to live there
constexpr std::string_view bf16_backend = "avx512-bf16";  ///< is avx512 for every type but one

bool takes(const KernelTable& table, DType dtype) { return dtype != DType::f64 || table.f64; }

/// False for rows that "auto" leaves to those who ask for them.
bool suggests_itself(const KernelTable& table, DType dtype) {
  return table.name != device_backend && (table.name != bf16_backend || dtype == DType::bf16);
}

/// The last row that runs here and takes `dtype`; the reference does always.
const KernelTable& best_on_cpu(DType dtype) {
  const auto tables = kernel_tables();
  const auto best = std::find_if(tables.rbegin(), tables.rend(), [dtype](const KernelTable& table) {
    return table.unavailable.empty() && takes(table, dtype) && suggests_itself(table, dtype);
  });
  return *best;
}

std::string try_others() { return "; try one of: " + available_backends(); }

[[noreturn]] void refuse_dtype(std::string_view backend, DType dtype) {
  throw UsageError("backend " + std::string(backend) + " does not take " + std::string(name(dtype)) +
                   " (only reference computes in it); try reference");
}

const KernelTable& row_named(std::string_view wanted) {
  const auto tables = kernel_tables();
  const auto row = std::ranges::find(tables, wanted, &KernelTable::name);
  if (row == tables.end()) {
    throw UsageError("unknown backend '" + std::string(wanted) + "' (no kernels go by that name)" + try_others());
  }
  if (!row->unavailable.empty()) {
    throw UsageError("backend " + std::string(wanted) + " does not run here: " + std::string(row->unavailable) +
                     try_others());
  }
  return *row;
}

}  // namespace

std::span<const KernelTable> kernel_tables() {
  static const std::array<KernelTable, 6> tables{reference_table(),    simd::portable_table(),    simd::avx2_table(),
                                                 simd::avx512_table(), simd::avx512_bf16_table(), cuda_table()};
  return tables;
}

const KernelTable& kernel_table(std::string_view wanted, DType dtype) {
  if (wanted == "simd" && dtype == DType::f64) refuse_dtype(wanted, dtype);
  if (wanted == "auto" || wanted == "simd") return best_on_cpu(dtype);
  const KernelTable& row = row_named(wanted);
  if (!takes(row, dtype)) refuse_dtype(wanted, dtype);
  return row;
}

std::string available_backends() {
  std::string names;
  for (const KernelTable& table : kernel_tables()) {
    if (!table.unavailable.empty()) continue;
    if (!names.empty()) names += ", ";
    names += table.name;
  }
  return names;
}

}  // namespace annulus::kernels
