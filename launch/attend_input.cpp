/// Checks what a file offers before anything is allocated for it.
// SPDX-License-Identifier: Apache-2.0
#include "launch/attend_input.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "kernels/kernel_table.hpp"

namespace annulus::launch {
namespace {

const TensorInfo& require_tensor(const TensorReader& file, const std::string& name) {
  const TensorInfo* info = file.find(name);
  if (info == nullptr) throw InputError(fmt::format("the input has no dataset /{} (attention needs it)", name));
  if (info->dims.size() != 4) {
    throw InputError(
        fmt::format("/{} has {} dimensions (four are wanted: batch, rows, heads, head_dim)", name, info->dims.size()));
  }
  if (!info->dtype) throw InputError(fmt::format("/{} holds integers (f32, bf16, f16 or f64 are wanted)", name));
  return *info;
}

void require_shape(const TensorInfo& info, const std::vector<std::int64_t>& wanted, const char* like) {
  if (info.dims == wanted) return;
  throw InputError(fmt::format("/{} has shape [{}] but [{}] is wanted ({})", info.name, fmt::join(info.dims, ", "),
                               fmt::join(wanted, ", "), like));
}

/// --dtype, else the one type that q, k and v are stored in.
DType dtype_of(const TensorInfo& q, const TensorInfo& k, const TensorInfo& v, const AttentionOptions& options) {
  if (options.dtype) return *options.dtype;
  if (k.dtype != q.dtype || v.dtype != q.dtype) {
    throw InputError(fmt::format("/q, /k and /v are stored as {}, {} and {} (one type is wanted); try --dtype",
                                 name(*q.dtype), name(*k.dtype), name(*v.dtype)));
  }
  if (q.dtype == DType::f64 && options.backend != "reference") {
    throw UsageError(
        "the input is f64 (only the reference backend computes in it); "
        "try --dtype f32, or --backend reference");
  }
  return *q.dtype;
}

/// A list with one finite value per head, empty if the file has none.
std::vector<float> per_head(const TensorReader& file, const std::string& name, std::int64_t heads) {
  const TensorInfo* info = file.find(name);
  if (info == nullptr) return {};
  require_shape(*info, {heads}, "one value per head");
  std::vector<float> values = file.read_floats(name);
  for (const float value : values) {
    if (!std::isfinite(value)) throw InputError(fmt::format("/{} holds a value that is not finite", name));
  }
  return values;
}

std::vector<std::int64_t> document_bounds(const TensorReader& file) {
  if (file.find("cu_seqlens") == nullptr) return {};
  std::vector<std::int64_t> bounds = file.read_integers("cu_seqlens");
  if (bounds.empty()) throw InputError("/cu_seqlens is empty (it starts with 0 and ends with the sequence length)");
  return bounds;
}

/// The engine's own rules, as verdicts on the file: nothing that options say can break them.
void check_fits(const AttentionSpec& spec, const AttentionOptions& options) {
  const kernels::KernelTable& table = kernels::kernel_table(options.backend, spec.dtype);
  try {
    attention_bytes(spec, {options.resolved_layout()}, 1, table, options.exchange, kernels::Direction::forward);
  } catch (const UsageError& error) {
    throw InputError(fmt::format("the input does not fit together: {}", error.what()));
  }
}

}  // namespace

std::vector<std::string> attend_datasets() { return {"q", "k", "v", "dout", "cu_seqlens", "alibi_slopes", "sink"}; }

AttendProblem attend_problem(const TensorReader& file, const AttentionOptions& options) {
  const TensorInfo& q = require_tensor(file, "q");
  const TensorInfo& k = require_tensor(file, "k");
  const TensorInfo& v = require_tensor(file, "v");
  require_shape(k, {q.dims[0], k.dims[1], k.dims[2], q.dims[3]}, "batch and head_dim of /q");
  require_shape(v, k.dims, "that of /k");
  if (options.backward) require_shape(require_tensor(file, "dout"), q.dims, "that of /q");
  AttendProblem problem;
  problem.spec = {.batch = q.dims[0],
                  .seq_q = q.dims[1],
                  .seq_k = k.dims[1],
                  .heads = q.dims[2],
                  .kv_heads = k.dims[2],
                  .head_dim = q.dims[3],
                  .dtype = dtype_of(q, k, v, options),
                  .mask = options.mask,
                  .softmax_scale = options.softmax_scale,
                  .softcap = options.softcap.value_or(0),
                  .alibi_slopes = per_head(file, "alibi_slopes", q.dims[2])};
  problem.spec.mask.cu_seqlens = document_bounds(file);
  problem.sink = per_head(file, "sink", q.dims[2]);
  problem.spec.sink = !problem.sink.empty();
  check_fits(problem.spec, options);
  return problem;
}

}  // namespace annulus::launch
