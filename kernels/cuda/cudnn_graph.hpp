/// Graphs as cuDNN's backend API has them. No header of cuDNN is needed here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/base/error.hpp"
#include "kernels/cuda/sdpa_graph.hpp"

namespace annulus::kernels::cuda::cudnn {

/// A call of cuDNN failed; says what cuDNN said of it.
struct CudnnError : Error {
  CudnnError(int status, const char* doing);
};
/// `status` is a cudnnStatus_t.
void check_cudnn(int status, const char* doing);

/// A descriptor of the backend API; owned, move-only.
class Descriptor {
 public:
  explicit Descriptor(int type);
  Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  ~Descriptor();

  /// `name` and `type` are cudnnBackendAttributeName_t and cudnnBackendAttributeType_t.
  void set(int name, int type, std::int64_t count, const void* values);
  void set(int name, const Descriptor& value);
  std::int64_t get_int64(int name) const;
  void finalize(const char* what);
  void* raw() const { return raw_; }

 private:
  void* raw_ = nullptr;
};

/// A graph in cuDNN's hands, with the descriptors that it is made of.
struct BuiltGraph {
  std::vector<Descriptor> tensors;
  std::vector<Descriptor> modes;  ///< that operations refer to
  std::vector<Descriptor> operations;
  std::vector<Descriptor> graph;  ///< one
};
/// `handle` is a cudnnHandle_t, null without a device. Throws CudnnError for operations that do not fit each other.
BuiltGraph build(const Graph& graph, void* handle);

}  // namespace annulus::kernels::cuda::cudnn
