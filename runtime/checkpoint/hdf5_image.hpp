/// The HDF5 side of a data file: what surrounds the tensors' bytes, made in memory and compared with what is on disk.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/checkpoint/manifest.hpp"

namespace annulus::checkpoint {

/// Everything in the file that is no tensor data; the manifest says where each piece lies.
struct Hdf5Image {
  std::vector<std::vector<std::byte>> metadata;  ///< [piece of manifest.metadata]
};

/// Lays out the datasets of `manifest` (contiguous, allocated, unfilled) and its attributes, and fills in their
/// offsets, the file's size, and the metadata pieces with checksums. HDF5 writes into memory of the kernel: it never
/// sees a full disk, which version 1.10 does not survive. Throws ResourceError. Local.
Hdf5Image make_image(Manifest& manifest);

/// Whether HDF5 sees in the file the datasets that the manifest describes, where it says: hard links, no external or
/// virtual storage, same types, extents and offsets. Throws InputError. Local; check the metadata's checksums before,
/// as HDF5 1.10 can crash on damaged files.
void check_hdf5_view(const std::string& path, const Manifest& manifest);

}  // namespace annulus::checkpoint
