/// The suites judge every row that runs on the processor; the CUDA row has programs of its own (tests/kernels/cuda).
// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/available_backends.hpp"

namespace annulus::test {

std::vector<BackendParam> suite_backends() {
  const auto tables = kernels::kernel_tables();
  return with_each_dtype(tables.first(tables.size() - 1), 1);  // the last one is cuda
}

}  // namespace annulus::test
