/// Operation graphs of cuDNN, written down tensor by tensor. No header of cuDNN is needed here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/base/error.hpp"

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

enum class Element { f32, f16, bf16, i32, boolean };
enum class Pointwise { add, subtract, multiply, divide, exp, log, identity, row_index, column_index, at_least, select };
enum class Reduction { sum, max };

using Extents = std::array<std::int64_t, 4>;  ///< batch, heads, rows, columns
/// Extents and strides in elements.
struct Form {
  Extents dims;
  Extents strides;

  static Form dense(const Extents& dims) {
    return {dims, {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1}};
  }
  /// Rows and columns swapped: the same memory.
  Form transposed() const {
    return {{dims[0], dims[1], dims[3], dims[2]}, {strides[0], strides[1], strides[3], strides[2]}};
  }
};

/// A tensor of a graph by its number; -1: none.
using Tensor = std::int64_t;

class Graph {
 public:
  /// Memory that the caller binds to the tensor's number.
  Tensor real(Element element, const Form& form) { return add_tensor(element, form, Kind::real); }
  /// Exists between operations alone.
  Tensor between(Element element, const Form& form) { return add_tensor(element, form, Kind::between); }
  /// A number, bound by its address on the host.
  Tensor number() { return add_tensor(Element::f32, Form::dense({1, 1, 1, 1}), Kind::number); }

  void matmul(Tensor a, Tensor b, Tensor c);
  /// y = mode(x, b), or for select y = t ? x : b.
  void pointwise(Pointwise mode, Tensor x, Tensor b, Tensor y, Tensor t = -1);
  void reduce(Reduction mode, Tensor x, Tensor y);
  /// The same memory in another form.
  void view(Tensor x, Tensor y);

  /// Begins the operation graph; `handle` is a cudnnHandle_t, null without a device. Once.
  Descriptor finalize(void* handle) const;
  std::size_t operations() const { return operations_.size(); }

 private:
  enum class Kind { real, between, number };
  Tensor add_tensor(Element element, const Form& form, Kind kind);
  const Descriptor& tensor(Tensor number) const { return tensors_[static_cast<std::size_t>(number)]; }

  std::vector<Descriptor> tensors_;
  std::vector<Descriptor> modes_;  ///< that operations refer to
  std::vector<Descriptor> operations_;
};

}  // namespace annulus::kernels::cuda::cudnn
