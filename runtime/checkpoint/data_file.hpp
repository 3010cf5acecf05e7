/// A file whose bytes ranks write and read at offsets of their own, every result checked.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "runtime/comm/handle.hpp"

namespace annulus::checkpoint {

struct DescriptorTraits {
  using Raw = int;
  static Raw empty() { return -1; }
  static void release(Raw raw) noexcept;
};
using Descriptor = Handle<DescriptorTraits>;

/// Plain pwrite and pread instead of MPI-IO: a full disk is then an error that is reported and survived, while
/// HDF5 1.10 over Open MPI 4.1 hangs in collective writes and crashes in MPI_Finalize after independent ones that
/// failed. All local.
class DataFile {
 public:
  /// Exclusively: throws ResourceError if the file exists.
  static DataFile create(const std::string& path);
  static DataFile open_to_write(const std::string& path);  ///< throws ResourceError
  /// Throws InputError unless it is a regular file; follows no link and never blocks.
  static DataFile open_to_read(const std::string& path);

  /// An unnamed file of zero bytes in memory; its path is good for as long as it lives. Throws ResourceError.
  static DataFile in_memory();

  const std::string& path() const { return path_; }
  std::uint64_t bytes() const;

  /// Disk space for the whole file, which gets that size: a full disk shows here, before data. Throws ResourceError.
  void reserve(std::uint64_t bytes) const;
  void write(std::uint64_t offset, std::span<const std::byte> bytes) const;  ///< throws ResourceError
  void read(std::uint64_t offset, std::span<std::byte> bytes) const;         ///< throws InputError
  /// Advice that the disk may begin with what was written there: the caller collects the next bytes meanwhile.
  void has_written(std::uint64_t offset, std::uint64_t bytes) const;
  /// To the disk. Every rank syncs what it wrote: on a network file system its host alone holds those pages.
  /// ResourceError.
  void sync() const;
  /// Lets the next read come from the disk, where the file system can (clean pages only, so after sync()).
  void drop_cache() const;

 private:
  DataFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  std::string path_;
  Descriptor descriptor_;
};

}  // namespace annulus::checkpoint
