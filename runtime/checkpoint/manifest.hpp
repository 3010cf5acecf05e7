/// What makes a generation complete: the manifest beside its data file. The format is described in docs/checkpoints.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/dtype.hpp"
#include "runtime/checkpoint/checksum.hpp"
#include "runtime/checkpoint/granules.hpp"
#include "runtime/layout/layout.hpp"

namespace annulus::checkpoint {

inline constexpr std::int64_t format_version = 1;
inline constexpr const char* data_name = "activations.h5";
inline constexpr const char* manifest_name = "manifest.json";

/// A tensor in the data file: contiguous from `offset` on, rows in global order.
struct DatasetRecord {
  std::string name;  ///< "layers/000012/x": groups and dataset, no leading "/"
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  int row_axis = 1;  ///< the dimension of `shape` that counts positions
  LayoutKind saved_layout = LayoutKind::contiguous;
  std::uint64_t offset = 0;
  std::int64_t granule_rows = 1;
  std::vector<std::uint64_t> checksums;  ///< [granule]

  RowSpace space() const;  ///< throws ResourceError if its bytes do not fit 63 bits
  Granules granules() const { return {space(), granule_rows}; }
};

/// Bytes of the data file that belong to no tensor: what HDF5 keeps for itself, and gaps.
struct MetadataRecord {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t checksum = 0;
};

/// Datasets and metadata cover every byte of the file exactly once.
struct Manifest {
  std::int64_t step = 0;
  std::int64_t sequence = 0;  ///< grows with every generation of a folder: the largest is the newest
  std::string created;        ///< UTC, ISO 8601
  std::string program_version;
  int ranks = 1;  ///< that saved it
  std::uint64_t seed = 0;
  std::string plan;
  std::uint64_t file_bytes = 0;
  std::vector<MetadataRecord> metadata;
  std::vector<DatasetRecord> datasets;

  /// Null if there is none.
  const DatasetRecord* find(std::string_view name) const;
};

/// The gaps between datasets, without checksums, in order. The datasets must not overlap.
std::vector<MetadataRecord> metadata_between(const std::vector<DatasetRecord>& datasets, std::uint64_t file_bytes);

/// Words of a stranger, for a message: 200 characters at most, and none that speaks to a terminal.
std::string printable_line(std::string_view text);

/// JSON. The last member is the checksum of all text before its line.
std::string to_text(const Manifest& manifest);
/// Throws InputError that names `path` and what is wrong; believes no size, name or range before it is checked.
Manifest parse_manifest(const std::string& text, const std::string& path);

}  // namespace annulus::checkpoint
