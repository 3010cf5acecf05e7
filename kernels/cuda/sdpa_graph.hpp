/// Attention as a list of operations on tensors: cuDNN is given it, and tests compute it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace annulus::kernels::cuda::cudnn {

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

struct TensorSpec {
  enum class Kind {
    real,     ///< memory that the caller binds to the tensor's number
    between,  ///< exists between operations alone
    number    ///< one f32, bound by its address on the host
  };
  Element element;
  Form form;
  Kind kind;
};

struct Operation {
  enum class Kind {
    matmul,     ///< y = x b
    pointwise,  ///< y = mode(x, b), or for select y = t ? x : b; b may have one column
    reduce,     ///< y = of each row of x
    view        ///< y is the memory of x in another form
  };
  Kind kind;
  Tensor x, b, t, y;
  Pointwise mode = Pointwise::identity;
  Reduction reduction = Reduction::sum;
};

class Graph {
 public:
  Tensor real(Element element, const Form& form) { return add({element, form, TensorSpec::Kind::real}); }
  Tensor between(Element element, const Form& form) { return add({element, form, TensorSpec::Kind::between}); }
  Tensor number() { return add({Element::f32, Form::dense({1, 1, 1, 1}), TensorSpec::Kind::number}); }

  void matmul(Tensor a, Tensor b, Tensor c) { operations_.push_back({Operation::Kind::matmul, a, b, -1, c}); }
  void pointwise(Pointwise mode, Tensor x, Tensor b, Tensor y, Tensor t = -1) {
    operations_.push_back({Operation::Kind::pointwise, x, b, t, y, mode});
  }
  void reduce(Reduction reduction, Tensor x, Tensor y) {
    operations_.push_back({Operation::Kind::reduce, x, -1, -1, y, Pointwise::identity, reduction});
  }
  void view(Tensor x, Tensor y) { operations_.push_back({Operation::Kind::view, x, -1, -1, y}); }

  const std::vector<TensorSpec>& tensors() const { return tensors_; }
  const std::vector<Operation>& operations() const { return operations_; }

 private:
  Tensor add(const TensorSpec& tensor) {
    tensors_.push_back(tensor);
    return static_cast<Tensor>(tensors_.size()) - 1;
  }

  std::vector<TensorSpec> tensors_;
  std::vector<Operation> operations_;
};

}  // namespace annulus::kernels::cuda::cudnn
