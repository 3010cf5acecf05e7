/// HDF5 files for tests, written and read by plain serial calls that share nothing with what they test.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace annulus::test {

/// Values are doubles in memory; `type` says how they are stored: "f32", "f64", "f16", "bf16", "i32", "i64", "u8", and
/// "f32be", "bf16be" in big-endian order.
struct PlainDataset {
  std::string name;
  std::string type;
  std::vector<std::int64_t> dims;
  std::vector<double> values;
};

enum class Storage { contiguous, chunked, deflated, external };

/// Creates `path`. Floats narrower than f64 are rounded once. `external`: the data lie in /etc/hostname or the like.
void write_plain(const std::string& path, const std::vector<PlainDataset>& datasets,
                 Storage storage = Storage::contiguous);

/// Adds links named `name` to an existing file: to another dataset, or to a dataset of another file.
void add_soft_link(const std::string& path, const std::string& name, const std::string& target);
void add_external_link(const std::string& path, const std::string& name, const std::string& file,
                       const std::string& target);

void rename_dataset(const std::string& path, const std::string& from, const std::string& to);

/// A dataset as stored; empty if there is none. Its type word is as above, without byte order.
std::optional<PlainDataset> read_plain(const std::string& path, const std::string& name);

}  // namespace annulus::test
