/// Fills and compares bit by bit.
// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/checkpoint/checkpoint_case.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

constexpr std::int64_t batch = 2;
constexpr std::int64_t heads = 3;
constexpr std::int64_t head_dim = 5;
constexpr std::int64_t padded_head = 7;
constexpr std::int64_t padded_row = heads * padded_head + 4;
constexpr int padding = 0xa5;

std::uint64_t word(std::uint64_t seed, std::int64_t tensor, std::int64_t line, std::int64_t pos, std::int64_t i) {
  std::uint64_t mixed = mix(seed);
  for (const std::int64_t coordinate : {tensor, line, pos, i})
    mixed = mix(mixed ^ static_cast<std::uint64_t>(coordinate));
  return mixed;
}

}  // namespace

CheckpointCase::CheckpointCase(const Layout& layout, int rank, std::int64_t width)
    : layout_(layout),
      rank_(rank),
      x_bytes_(batch * layout.rows(rank) * width * 4),
      q_bytes_(batch * layout.rows(rank) * padded_row * 2),
      lse_values_(batch * heads * layout.rows(rank)) {
  const std::int64_t rows = layout.rows(rank);
  x_ = dense_view(x_bytes_.data(), DType::f32, batch, rows, 1, width);
  q_ = {q_bytes_.data(), DType::bf16, batch, rows, heads, head_dim, rows * padded_row, padded_row, padded_head};
  lse_ = dense_stats(lse_values_.data(), batch, heads, rows);
  x_bytes_.clear();
  if (q_bytes_.size() > 0) std::memset(q_bytes_.data(), padding, q_bytes_.span().size());
  lse_values_.clear();
}

/// visit(memory, bytes, wanted bits) for every element.
template <class Visit>
void CheckpointCase::for_each_element(std::uint64_t seed, Visit&& visit) const {
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t row = 0; row < x_.rows; ++row) {
      const std::int64_t pos = layout_.position(rank_, row);
      for (std::int64_t i = 0; i < x_.head_dim; ++i) visit(x_.at<float>(b, row, 0) + i, 4U, word(seed, 0, b, pos, i));
      for (std::int64_t head = 0; head < heads; ++head) {
        for (std::int64_t i = 0; i < head_dim; ++i) {
          visit(q_.at<bf16>(b, row, head) + i, 2U, word(seed, 1, b, pos, head * head_dim + i));
        }
        visit(lse_.at(b, head) + row, 4U, word(seed, 2, b * heads + head, pos, 0));
      }
    }
  }
}

void CheckpointCase::fill(std::uint64_t seed) {
  for_each_element(seed,
                   [](void* memory, std::size_t bytes, std::uint64_t bits) { std::memcpy(memory, &bits, bytes); });
}

std::int64_t CheckpointCase::wrong(std::uint64_t seed) const {
  std::int64_t count = 0;
  for_each_element(seed, [&](const void* memory, std::size_t bytes, std::uint64_t bits) {
    count += std::memcmp(memory, &bits, bytes) == 0 ? 0 : 1;
  });
  for (std::int64_t row = 0; row < batch * x_.rows; ++row) {
    const std::byte* const end = q_bytes_.data() + (row + 1) * padded_row * 2;
    for (const std::byte* byte = end - 4 * 2; byte < end; ++byte) count += *byte == std::byte{padding} ? 0 : 1;
  }
  return count;
}

std::vector<SavedShard> CheckpointCase::saved() const {
  return {{"layers/000003/x", layout_, ConstTensorView(x_), true},
          {"layers/000003/q", layout_, ConstTensorView(q_)},
          {"layers/000003/lse", layout_, ConstRowStats(lse_)}};
}

std::vector<LoadedShard> CheckpointCase::loaded() const {
  return {{"layers/000003/x", layout_, x_}, {"layers/000003/q", layout_, q_}, {"layers/000003/lse", layout_, lse_}};
}

SharedFolder::SharedFolder(const Communicator& comm) : comm_(comm) {
  std::string name = (std::filesystem::temp_directory_path() / "annulus_checkpoint.XXXXXX").string();
  if (comm.rank() == 0 && mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a folder for a test");
  comm.broadcast(name, 0);
  path_ = name;
}

SharedFolder::~SharedFolder() {
  comm_.barrier();
  if (comm_.rank() == 0) std::filesystem::remove_all(path_);
}

void flip_byte(const std::string& path, std::uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 0x10));
  if (!file) throw std::runtime_error("cannot damage " + path);
}

}  // namespace annulus::test
