/// Tensors in HDF5 files that all ranks of a communicator read and write together, each its own rows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/dtype.hpp"
#include "kernels/base/view.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/layout/layout.hpp"

namespace annulus {

/// A dataset as a file declares it: global extents, no ranks, no layout.
struct TensorInfo {
  std::string name;                ///< in the root group, without "/"
  std::optional<DType> dtype;      ///< empty: 32- or 64-bit signed integers
  std::vector<std::int64_t> dims;
};

/// A file open for reading. Files are not trusted: rank 0 alone looks first, at the file (a regular one, an HDF5 file,
/// not truncated) and at the datasets asked for (no links, no external storage, known types, data inside the file), and
/// all ranks throw what it found, an InputError with path and reason.
class TensorReader {
 public:
  /// Collective. `names` of which the file may hold some.
  TensorReader(const Communicator& comm, const std::string& path, std::span<const std::string> names);
  ~TensorReader();
  TensorReader(TensorReader&&) noexcept;

  /// Null if the file has no such dataset. Local; the same on every rank.
  const TensorInfo* find(const std::string& name) const;

  /// Reads the rows of the shard `pieces` of dataset [batch, rows, heads, head_dim] into `to` (its own dtype, rows in
  /// shard order). `to.heads * to.head_dim` is the product of the dataset's dims behind the first two, so that
  /// [batch, rows, width] is read with one head. Local, independent of other ranks; throws Hdf5Error.
  void read(const std::string& name, std::span<const Piece> pieces, const TensorView& to) const;

  /// All values of a one-dimensional dataset. Local; throws InputError if they are of the other kind.
  std::vector<std::int64_t> read_integers(const std::string& name) const;
  std::vector<float> read_floats(const std::string& name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A file that all ranks write: a new file beside PATH that replaces it on commit().
class TensorWriter {
 public:
  /// Collective. Creates the datasets and reserves their space, so that a folder that cannot be written or a full disk
  /// is a ResourceError on all ranks before any work.
  TensorWriter(const Communicator& comm, const std::string& path, std::span<const TensorInfo> datasets);
  ~TensorWriter();
  TensorWriter(TensorWriter&&) noexcept;

  /// Collective. Every rank writes its rows: `from` as for TensorReader::read, converted to the dataset's dtype.
  void write(const std::string& name, std::span<const Piece> pieces, const ConstTensorView& from);
  /// Collective. Row statistics to a dataset [batch, heads, rows].
  void write(const std::string& name, std::span<const Piece> pieces, const ConstRowStats& from);
  /// Collective. A one-dimensional dataset, from rank 0.
  void write(const std::string& name, std::span<const float> from);

  /// Collective. Flushes, syncs and renames. A writer that goes before removes its temporary file.
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// "1.10.8": the HDF5 library in use.
std::string hdf5_version();

}  // namespace annulus
