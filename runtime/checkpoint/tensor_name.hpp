/// Names of tensors in a checkpoint: paths that HDF5, JSON and a shell all take as they are.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace annulus::checkpoint {

/// "x", "layers/000012/x": parts of letters, digits, '_', '-' and '.', none of them "." or "..", 200 characters at
/// most.
inline bool is_tensor_name(std::string_view name) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./";
  if (name.empty() || name.size() > 200 || name.find_first_not_of(allowed) != std::string_view::npos) return false;
  while (true) {
    const std::string_view part = name.substr(0, name.find('/'));
    if (part.empty() || part == "." || part == "..") return false;
    if (part.size() == name.size()) return true;
    name.remove_prefix(part.size() + 1);
  }
}

}  // namespace annulus::checkpoint
