/// Attributes of the backend API.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cudnn_graph.hpp"

#include <cudnn_graph.h>

#include <string>

namespace annulus::kernels::cuda::cudnn {
namespace {

constexpr std::int64_t alignment = 16;  ///< bytes; of every tensor

std::string last_words() {
  std::array<char, 512> text{};
  cudnnGetLastErrorString(text.data(), text.size());
  const std::string words = text.data();
  return words.empty() ? "" : "; " + words;
}

cudnnDataType_t data_type(Element element) {
  switch (element) {
    case Element::f16: return CUDNN_DATA_HALF;
    case Element::bf16: return CUDNN_DATA_BFLOAT16;
    case Element::i32: return CUDNN_DATA_INT32;
    case Element::boolean: return CUDNN_DATA_BOOLEAN;
    default: return CUDNN_DATA_FLOAT;
  }
}

cudnnPointwiseMode_t mode_of(Pointwise mode) {
  switch (mode) {
    case Pointwise::add: return CUDNN_POINTWISE_ADD;
    case Pointwise::subtract: return CUDNN_POINTWISE_SUB;
    case Pointwise::multiply: return CUDNN_POINTWISE_MUL;
    case Pointwise::divide: return CUDNN_POINTWISE_DIV;
    case Pointwise::exp: return CUDNN_POINTWISE_EXP;
    case Pointwise::log: return CUDNN_POINTWISE_LOG;
    case Pointwise::row_index:
    case Pointwise::column_index: return CUDNN_POINTWISE_GEN_INDEX;
    case Pointwise::at_least: return CUDNN_POINTWISE_CMP_GE;
    case Pointwise::select: return CUDNN_POINTWISE_BINARY_SELECT;
    default: return CUDNN_POINTWISE_IDENTITY;
  }
}

void set_type(Descriptor& descriptor, int name, cudnnDataType_t type) {
  descriptor.set(name, CUDNN_TYPE_DATA_TYPE, 1, &type);
}

}  // namespace

CudnnError::CudnnError(int status, const char* doing)
    : Error(ExitCode::resources, "cuDNN failed to " + std::string(doing) + " (status " + std::to_string(status) + ": " +
                                     cudnnGetErrorString(static_cast<cudnnStatus_t>(status)) + last_words() +
                                     "); try a build with -D ANNULUS_ENABLE_CUDNN=OFF") {}

void check_cudnn(int status, const char* doing) {
  if (status != CUDNN_STATUS_SUCCESS) throw CudnnError(status, doing);
}

Descriptor::Descriptor(int type) {
  check_cudnn(cudnnBackendCreateDescriptor(static_cast<cudnnBackendDescriptorType_t>(type), &raw_), "create a descriptor");
}

Descriptor::~Descriptor() {
  if (raw_ != nullptr) static_cast<void>(cudnnBackendDestroyDescriptor(raw_));
}

void Descriptor::set(int name, int type, std::int64_t count, const void* values) {
  check_cudnn(cudnnBackendSetAttribute(raw_, static_cast<cudnnBackendAttributeName_t>(name),
                                       static_cast<cudnnBackendAttributeType_t>(type), count, values),
              "take an attribute");
}

void Descriptor::set(int name, const Descriptor& value) {
  void* const raw = value.raw();
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
}

std::int64_t Descriptor::get_int64(int name) const {
  std::int64_t value = 0;
  std::int64_t count = 0;
  check_cudnn(cudnnBackendGetAttribute(raw_, static_cast<cudnnBackendAttributeName_t>(name), CUDNN_TYPE_INT64, 1, &count, &value),
              "tell an attribute");
  return value;
}

void Descriptor::finalize(const char* what) { check_cudnn(cudnnBackendFinalize(raw_), what); }

namespace {

void add_tensor(BuiltGraph& built, const TensorSpec& spec) {
  const auto number = static_cast<std::int64_t>(built.tensors.size());
  Descriptor& tensor = built.tensors.emplace_back(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  set_type(tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, data_type(spec.element));
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, std::ssize(spec.form.dims), spec.form.dims.data());
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, std::ssize(spec.form.strides), spec.form.strides.data());
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &number);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  const bool is_between = spec.kind == TensorSpec::Kind::between;
  const bool is_number = spec.kind == TensorSpec::Kind::number;
  tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_between);
  tensor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &is_number);
  tensor.finalize("describe a tensor");
}

const Descriptor& tensor(const BuiltGraph& built, Tensor number) { return built.tensors[static_cast<std::size_t>(number)]; }

void add_matmul(BuiltGraph& built, const Operation& wanted) {
  Descriptor& mode = built.modes.emplace_back(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  set_type(mode, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
  mode.finalize("describe a product");
  Descriptor& operation = built.operations.emplace_back(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, tensor(built, wanted.x));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, tensor(built, wanted.b));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, tensor(built, wanted.y));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, mode);
  operation.finalize("take a product");
}

void add_pointwise(BuiltGraph& built, const Operation& wanted) {
  Descriptor& how = built.modes.emplace_back(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  const cudnnPointwiseMode_t word = mode_of(wanted.mode);
  how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &word);
  set_type(how, CUDNN_ATTR_POINTWISE_MATH_PREC, wanted.mode == Pointwise::at_least ? CUDNN_DATA_BOOLEAN : CUDNN_DATA_FLOAT);
  if (word == CUDNN_POINTWISE_GEN_INDEX) {
    const std::int64_t axis = wanted.mode == Pointwise::row_index ? 2 : 3;
    how.set(CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
  }
  how.finalize("describe a pointwise operation");
  Descriptor& operation = built.operations.emplace_back(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, tensor(built, wanted.x));
  if (wanted.b >= 0) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, tensor(built, wanted.b));
  if (wanted.t >= 0) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, tensor(built, wanted.t));
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, tensor(built, wanted.y));
  operation.finalize("take a pointwise operation");
}

void add_reduction(BuiltGraph& built, const Operation& wanted) {
  Descriptor& how = built.modes.emplace_back(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  const cudnnReduceTensorOp_t word = wanted.reduction == Reduction::max ? CUDNN_REDUCE_TENSOR_MAX : CUDNN_REDUCE_TENSOR_ADD;
  how.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &word);
  set_type(how, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  how.finalize("describe a reduction");
  Descriptor& operation = built.operations.emplace_back(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, how);
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, tensor(built, wanted.x));
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, tensor(built, wanted.y));
  operation.finalize("take a reduction");
}

void add_view(BuiltGraph& built, const Operation& wanted) {
  Descriptor& operation = built.operations.emplace_back(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, tensor(built, wanted.x));
  operation.set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, tensor(built, wanted.y));
  operation.finalize("take a view");
}

}  // namespace

BuiltGraph build(const Graph& graph, void* handle) {
  BuiltGraph built;
  for (const TensorSpec& spec : graph.tensors()) add_tensor(built, spec);
  for (const Operation& operation : graph.operations()) {
    switch (operation.kind) {
      case Operation::Kind::matmul: add_matmul(built, operation); break;
      case Operation::Kind::pointwise: add_pointwise(built, operation); break;
      case Operation::Kind::reduce: add_reduction(built, operation); break;
      case Operation::Kind::view: add_view(built, operation); break;
    }
  }
  std::vector<void*> raw;
  for (const Descriptor& operation : built.operations) raw.push_back(operation.raw());
  Descriptor& whole = built.graph.emplace_back(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (handle != nullptr) whole.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  whole.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::ssize(raw), raw.data());
  whole.finalize("take the operations as a graph");
  return built;
}

}  // namespace annulus::kernels::cuda::cudnn
