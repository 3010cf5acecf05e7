/// Tensors in HDF5 files that all ranks of a communicator read and write, each its own rows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "kernels/base/dtype.hpp"
#include "kernels/base/view.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/layout/layout.hpp"

namespace annulus {

/// A dataset as a file declares it: global extents, no ranks, no layout.
struct TensorInfo {
  std::string name;            ///< in the root group, without "/"
  std::optional<DType> dtype;  ///< empty: 32- or 64-bit signed integers
  std::vector<std::int64_t> dims;
};

/// A file open for reading. Files are not trusted: rank 0 alone looks first, at the file (a regular one, an HDF5 file,
/// not truncated) and at the datasets asked for (no links, no external storage, known types, data inside the file), and
/// all ranks throw the InputError that it found.
class TensorReader {
 public:
  /// Collective. `names` of which the file may hold some.
  TensorReader(const Communicator& comm, const std::string& path, std::span<const std::string> names);
  ~TensorReader();
  TensorReader(TensorReader&&) noexcept;

  /// Null if the file has no such dataset. Local; the same on every rank.
  const TensorInfo* find(const std::string& name) const;

  /// Reads the rows of the shard `pieces` of dataset [batch, rows, heads, head_dim] into `to`, in shard order and in
  /// `to`'s own dtype. [batch, rows, width] is read with one head. Throws InputError if `to` does not fit the dataset.
  /// Local: needs no other rank; throw its failure together().
  void read(const std::string& name, std::span<const Piece> pieces, const TensorView& to) const;

  /// All values of a one-dimensional dataset. Local; throws InputError if it is none or of the other kind.
  std::vector<std::int64_t> read_integers(const std::string& name) const;
  std::vector<float> read_floats(const std::string& name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What a rank puts into a dataset: rows of a tensor [batch, rows, heads, head_dim] (with one head: [batch, rows,
/// width]), row statistics [batch, heads, rows], or a list [n], which rank 0 writes. Converted to the dataset's dtype.
struct TensorPart {
  std::string name;
  std::span<const Piece> pieces;  ///< the shard; not read for lists
  std::variant<ConstTensorView, ConstRowStats, std::span<const float>> data;
};

/// A new file that replaces PATH when it is complete.
class TensorWriter {
 public:
  /// Collective. Creates a temporary file beside `path` and reserves its space, so that a folder that cannot be written
  /// or a full disk is a ResourceError on all ranks before any work. Keeps a reference to `comm`.
  TensorWriter(const Communicator& comm, std::string path, std::vector<TensorInfo> datasets);
  /// Local. Removes the temporary file unless write() came to its end.
  ~TensorWriter();
  TensorWriter(TensorWriter&&) noexcept;

  /// Collective, once, with the same names everywhere. Writes every part, syncs, and renames. Throws DamagedFileError
  /// on all ranks if writing failed on any: see there.
  void write(std::span<const TensorPart> parts);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// "1.10.8": the HDF5 library in use.
std::string hdf5_version();

}  // namespace annulus
