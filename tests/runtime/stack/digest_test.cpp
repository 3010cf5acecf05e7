/// The digest of a sharded tensor is the plain xxh64 of its bytes in global order.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/digest.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <vector>

#include "tests/support/random_tensors.hpp"

namespace annulus::stack {
namespace {

struct Case {
  LayoutKind kind;
  std::int64_t seq;
  std::int64_t stripe;
};

std::vector<std::byte> whole_tensor(std::int64_t batch, std::int64_t seq, std::int64_t row_bytes) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(batch * seq * row_bytes));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(test::mix(i));
  return bytes;
}

std::vector<std::byte> shard_of(const std::vector<std::byte>& whole, const Layout& layout, int rank, std::int64_t batch,
                                std::int64_t row_bytes) {
  std::vector<std::byte> shard;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (const std::int64_t pos : layout.positions(rank)) {
      const auto row = whole.begin() + (b * layout.seq_len() + pos) * row_bytes;
      shard.insert(shard.end(), row, row + row_bytes);
    }
  }
  return shard;
}

TEST(Digest, IsThatOfTheRowsInGlobalOrder) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  constexpr std::int64_t batch = 2, row_bytes = 12;
  for (const Case& tested :
       {Case{LayoutKind::contiguous, 41, 1}, Case{LayoutKind::zigzag, 41, 1}, Case{LayoutKind::striped, 41, 1},
        Case{LayoutKind::striped, 41, 4}, Case{LayoutKind::zigzag, 3, 1}, Case{LayoutKind::contiguous, 1, 1}}) {
    const Layout layout(tested.kind, tested.seq, comm.size(), tested.stripe);
    const std::vector<std::byte> whole = whole_tensor(batch, tested.seq, row_bytes);
    const std::vector<std::byte> rows = shard_of(whole, layout, comm.rank(), batch, row_bytes);
    const std::string expected = fmt::format("{:016x}", XXH64(whole.data(), whole.size(), 0));
    for (const std::int64_t window : {1L, 30L, 120L, 1L << 20}) {
      EXPECT_EQ(digest(comm, layout, batch, row_bytes, rows, window), expected)
          << name(tested.kind) << " of " << tested.seq << ", window " << window;
    }
  }
}

TEST(Digest, SeesOneBit) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  const Layout layout(LayoutKind::zigzag, 20, comm.size());
  std::vector<std::byte> rows = shard_of(whole_tensor(1, 20, 4), layout, comm.rank(), 1, 4);
  const std::string before = digest(comm, layout, 1, 4, rows);
  if (comm.rank() == comm.size() - 1) rows.back() ^= std::byte{1};
  EXPECT_NE(digest(comm, layout, 1, 4, rows), before);
}

}  // namespace
}  // namespace annulus::stack
