/// Granules of any size, from and to shards of any layout, with rows that know their place.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/granule_exchange.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace annulus::checkpoint {
namespace {

using Cell = std::uint32_t;  // a row is two of them, apart by one in memory

constexpr std::int64_t row_bytes = 2 * sizeof(Cell);

Cell cell(std::int64_t line, std::int64_t pos, int part) { return static_cast<Cell>(line * 1000 + pos * 2 + part + 1); }

/// [line][row][2 cells], with a third cell per row as padding or without, and one cell of padding per line.
struct Shard {
  Shard(std::int64_t lines, const Layout& layout, int rank, bool dense)
      : rows(layout.rows(rank)),
        parts(dense ? 2 : 3),
        line_cells(rows * parts + 1),
        cells(static_cast<std::size_t>(lines * line_cells)) {}
  template <class Byte>
  ShardRows<Byte> view(Byte* data) const {
    const std::int64_t row_stride = parts * static_cast<std::int64_t>(sizeof(Cell));
    return {data,         1,           line_cells * static_cast<std::int64_t>(sizeof(Cell)), 0, row_stride, 2,
            sizeof(Cell), sizeof(Cell)};
  }
  Cell& at(std::int64_t line, std::int64_t row, int part) {
    return cells[static_cast<std::size_t>(line * line_cells + row * parts + part)];
  }
  std::int64_t rows;
  std::int64_t parts;
  std::int64_t line_cells;
  std::vector<Cell> cells;
};

struct Case {
  RowSpace space;
  std::int64_t granule_rows;
  Layout layout;
  bool dense;
};

std::vector<Case> cases(int ranks) {
  std::vector<Case> all;
  for (const std::int64_t lines : {1, 3}) {
    for (const std::int64_t seq : {0, 1, 7, 40}) {
      for (const std::int64_t granule_rows : {1, 2, 5, 16, 64, 200}) {
        const RowSpace space{lines, seq, row_bytes};
        for (const bool dense : {true, false}) {
          all.push_back({space, granule_rows, Layout(LayoutKind::contiguous, seq, ranks), dense});
          all.push_back({space, granule_rows, Layout(LayoutKind::zigzag, seq, ranks), dense});
          all.push_back({space, granule_rows, Layout(LayoutKind::striped, seq, ranks), dense});
          all.push_back({space, granule_rows, Layout(LayoutKind::striped, seq, ranks, 3), dense});
        }
      }
    }
  }
  return all;
}

std::string text(const Case& c) {
  return std::to_string(c.space.lines) + " lines of " + std::to_string(c.space.seq) + " in granules of " +
         std::to_string(c.granule_rows) + ", " + std::string(name(c.layout.kind())) +
         (c.dense ? ", dense" : ", padded");
}

class GranuleExchangeTest : public testing::Test {
 protected:
  /// Calls work(line, pos, part) for every cell of a granule, in its order.
  template <class Work>
  static void for_each_cell(const Granules& granules, std::int64_t g, Work&& work) {
    for (std::int64_t row = granules.begin(g); row < granules.begin(g) + granules.rows(g); ++row) {
      for (int part = 0; part < 2; ++part) work(row / granules.space().seq, row % granules.space().seq, part);
    }
  }
  template <class Work>
  void for_each_own_cell(const Case& c, Work&& work) const {
    for (std::int64_t line = 0; line < c.space.lines; ++line) {
      for (std::int64_t row = 0; row < c.layout.rows(comm_.rank()); ++row) {
        for (int part = 0; part < 2; ++part) work(line, row, c.layout.position(comm_.rank(), row), part);
      }
    }
  }

  Communicator comm_ = Communicator::duplicate(MPI_COMM_WORLD);
};

TEST_F(GranuleExchangeTest, CollectsEveryRowOnce) {
  for (const Case& c : cases(comm_.size())) {
    SCOPED_TRACE(text(c));
    const Granules granules(c.space, c.granule_rows);
    Shard shard(c.space.lines, c.layout, comm_.rank(), c.dense);
    for_each_own_cell(c, [&](std::int64_t line, std::int64_t row, std::int64_t pos, int part) {
      shard.at(line, row, part) = cell(line, pos, part);
    });
    const auto view = shard.view(reinterpret_cast<const std::byte*>(shard.cells.data()));
    GranuleExchange exchange(comm_, c.layout, granules);
    std::array<std::uint64_t, 1> seen{0};
    exchange.collect(view, [&](std::int64_t g, std::span<const std::byte> bytes) {
      ++seen[0];
      ASSERT_EQ(static_cast<std::int64_t>(bytes.size()), granules.bytes(g));
      const std::byte* next = bytes.data();
      for_each_cell(granules, g, [&](std::int64_t line, std::int64_t pos, int part) {
        Cell found = 0;
        std::memcpy(&found, next, sizeof found);
        next += sizeof found;
        EXPECT_EQ(found, cell(line, pos, part));
      });
    });
    comm_.sum(seen);
    EXPECT_EQ(static_cast<std::int64_t>(seen[0]), granules.count());
  }
}

TEST_F(GranuleExchangeTest, HandsEveryRowToItsOwner) {
  for (const Case& c : cases(comm_.size())) {
    SCOPED_TRACE(text(c));
    const Granules granules(c.space, c.granule_rows);
    Shard shard(c.space.lines, c.layout, comm_.rank(), c.dense);
    GranuleExchange exchange(comm_, c.layout, granules);
    const auto view = shard.view(reinterpret_cast<std::byte*>(shard.cells.data()));
    exchange.hand_out(view, [&](std::int64_t g, std::span<std::byte> bytes) {
      std::byte* next = bytes.data();
      for_each_cell(granules, g, [&](std::int64_t line, std::int64_t pos, int part) {
        const Cell value = cell(line, pos, part);
        std::memcpy(next, &value, sizeof value);
        next += sizeof value;
      });
    });
    for_each_own_cell(c, [&](std::int64_t line, std::int64_t row, std::int64_t pos, int part) {
      EXPECT_EQ(shard.at(line, row, part), cell(line, pos, part));
    });
    for (std::int64_t line = 0; line < c.space.lines; ++line) {
      EXPECT_EQ(shard.at(line, shard.rows, 0), 0U) << "padding was touched";
      for (std::int64_t row = 0; !c.dense && row < shard.rows; ++row) EXPECT_EQ(shard.at(line, row, 2), 0U) << row;
    }
  }
}

}  // namespace
}  // namespace annulus::checkpoint
