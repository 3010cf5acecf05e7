/// Tensors for tests of checkpoints: bits as a function of the global position, in dense and in padded memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "runtime/checkpoint/checkpoint.hpp"

namespace annulus::test {

/// This rank's rows of /layers/000003/x [2, seq, width] f32, /layers/000003/q [2, seq, 3, 5] bf16 in padded memory, and
/// /layers/000003/lse [2, 3, seq]. All bit patterns occur, NaNs too.
class CheckpointCase {
 public:
  CheckpointCase(const Layout& layout, int rank, std::int64_t width = 640);

  void fill(std::uint64_t seed);
  /// Elements whose bits are not those of `seed`, and padding bytes that were touched.
  std::int64_t wrong(std::uint64_t seed) const;

  std::vector<SavedShard> saved() const;
  std::vector<LoadedShard> loaded() const;
  const TensorView& x() const { return x_; }

 private:
  template <class Visit>
  void for_each_element(std::uint64_t seed, Visit&& visit) const;

  Layout layout_;
  int rank_;
  Buffer<std::byte> x_bytes_;
  Buffer<std::byte> q_bytes_;
  Buffer<float> lse_values_;
  TensorView x_;
  TensorView q_;
  RowStats lse_;
};

/// A folder of its own for a test, made by rank 0 of `comm` and removed at the end.
class SharedFolder {
 public:
  explicit SharedFolder(const Communicator& comm);
  ~SharedFolder();
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  const Communicator& comm_;
  std::filesystem::path path_;
};

/// Changes one byte of a file.
void flip_byte(const std::string& path, std::uint64_t offset);

}  // namespace annulus::test
