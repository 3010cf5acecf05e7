/// Machine descriptions: TOML files that `calibrate` writes, people edit and `plan` and `study` read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "runtime/forecast/machine.hpp"

namespace annulus::launch {

/// Local. Throws InputError that names the file, the line where there is one, and what is wrong: unknown or missing keys,
/// values that no machine has.
forecast::Machine read_machine(const std::string& path);

/// Local. Whether the file begins as machine_text() does or can be read by read_machine().
bool is_machine_file(const std::string& path);

/// As read_machine() reads it, with a comment per section.
std::string machine_text(const forecast::Machine& machine);

}  // namespace annulus::launch
