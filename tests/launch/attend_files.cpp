/// Seeded tensors in the shapes that `attend` reads.
// SPDX-License-Identifier: Apache-2.0
#include "tests/launch/attend_files.hpp"

#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

PlainDataset tensor(const AttendCase& attend, const char* name, Role role, std::int64_t seq, std::int64_t heads) {
  const OracleProblem& p = attend.problem;
  const auto positions = all_positions(seq);
  const Tensor dense = random_tensor(DType::f64, attend.seed, role, p.batch, positions, heads, p.head_dim);
  return {name, attend.type, {p.batch, seq, heads, p.head_dim}, values(dense.view())};
}

PlainDataset list(const char* name, const char* type, const std::vector<double>& values) {
  return {name, type, {static_cast<std::int64_t>(values.size())}, values};
}

}  // namespace

std::vector<PlainDataset> attend_datasets(const AttendCase& attend) {
  const OracleProblem& p = attend.problem;
  std::vector<PlainDataset> datasets{tensor(attend, "q", Role::q, p.seq_q, p.heads),
                                     tensor(attend, "k", Role::k, p.seq_k, p.kv_heads),
                                     tensor(attend, "v", Role::v, p.seq_k, p.kv_heads)};
  if (attend.dout) datasets.push_back(tensor(attend, "dout", Role::dout, p.seq_q, p.heads));
  if (!p.mask.cu_seqlens.empty()) {
    datasets.push_back(list("cu_seqlens", "i32", {p.mask.cu_seqlens.begin(), p.mask.cu_seqlens.end()}));
  }
  if (!p.alibi_slopes.empty()) {
    datasets.push_back(list("alibi_slopes", "f32", {p.alibi_slopes.begin(), p.alibi_slopes.end()}));
  }
  if (!p.sink.empty()) datasets.push_back(list("sink", "f32", {p.sink.begin(), p.sink.end()}));
  return datasets;
}

void write_attend_input(const std::string& path, const AttendCase& attend) {
  write_plain(path, attend_datasets(attend));
}

OracleTensors stored_tensors(const std::string& path) {
  const auto stored = [&](const char* name) {
    const auto dataset = read_plain(path, name);
    return dataset ? dataset->values : std::vector<double>();
  };
  return {stored("q"), stored("k"), stored("v"), stored("dout")};
}

}  // namespace annulus::test
