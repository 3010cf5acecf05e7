/// Distances added to a round while it has room.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/halo_rounds.hpp"

#include <algorithm>

namespace annulus {
namespace {

int distance(int from, int to, int ranks) { return (to - from + ranks) % ranks; }

/// Rows that each rank has to do with in one round.
struct Round {
  explicit Round(int ranks) : arriving(as_size(ranks)), leaving(arriving), returning(arriving), last(as_size(ranks)) {}

  static std::size_t as_size(int count) { return static_cast<std::size_t>(count); }

  /// `parts[owner]` travels `by` ranks on.
  void add(const std::vector<RowSet>& parts, std::size_t by) {
    for (std::size_t owner = 0; owner < parts.size(); ++owner) {
      const std::int64_t rows = parts[owner].rows();
      if (rows == 0) continue;
      arriving[(owner + by) % parts.size()] += rows;
      returning[owner] += rows;
      if (parts[owner] == last[owner]) continue;
      leaving[owner] += rows;
      last[owner] = parts[owner];
    }
  }
  static std::int64_t most(const std::vector<std::int64_t>& rows) { return *std::ranges::max_element(rows); }
  std::int64_t most() const { return std::max(most(arriving), most(leaving)); }

  std::vector<std::int64_t> arriving;
  std::vector<std::int64_t> leaving;
  std::vector<std::int64_t> returning;
  std::vector<RowSet> last;  ///< what left last: the first rows of a sequence say the same to all
};

void close(HaloRounds& rounds, const Round& round, int end) {
  rounds.ends.push_back(end);
  rounds.most_arriving = std::max(rounds.most_arriving, Round::most(round.arriving));
  rounds.most_leaving = std::max(rounds.most_leaving, Round::most(round.leaving));
  rounds.most_returning = std::max(rounds.most_returning, Round::most(round.returning));
}

std::vector<RowSet> parts_at(int by, const std::vector<RowSet>& own, const std::vector<RowSet>& needs) {
  std::vector<RowSet> parts(own.size());
  for (std::size_t owner = 0; owner < own.size(); ++owner) {
    const RowSet& reader = needs[(owner + static_cast<std::size_t>(by)) % own.size()];
    parts[owner] = intersect(reader, own[owner]);
  }
  return parts;
}

std::vector<HaloPart> select(const std::vector<HaloPart>& parts, const std::function<bool(int peer)>& is_in) {
  std::vector<HaloPart> chosen;
  std::ranges::copy_if(parts, std::back_inserter(chosen), [&](const HaloPart& part) { return is_in(part.peer); });
  return chosen;
}

RowSet rows_of(const std::vector<HaloPart>& parts) {
  std::vector<PosRange> spans;
  for (const HaloPart& part : parts) {
    for (const PosRange& span : part.rows.spans()) spans.push_back(span);
  }
  return RowSet(std::move(spans));
}

}  // namespace

HaloRounds halo_rounds(const Layout& layout, const std::function<RowSet(int rank)>& needed, std::int64_t most_rows) {
  const int ranks = layout.ranks();
  std::vector<RowSet> own;
  std::vector<RowSet> needs;
  for (int rank = 0; rank < ranks; ++rank) {
    own.push_back(layout.row_set(rank));
    needs.push_back(needed(rank));
  }
  HaloRounds rounds;
  Round round(ranks);
  for (int by = 1; by < ranks; ++by) {
    const std::vector<RowSet> parts = parts_at(by, own, needs);
    for (const RowSet& part : parts) rounds.largest_part = std::max(rounds.largest_part, part.rows());
    Round longer = round;
    longer.add(parts, Round::as_size(by));
    if (longer.most() > most_rows && round.most() > 0) {
      close(rounds, round, by);
      longer = Round(ranks);
      longer.add(parts, Round::as_size(by));
    }
    round = std::move(longer);
  }
  close(rounds, round, ranks);
  return rounds;
}

std::vector<HaloPlan> plans_of_rounds(const HaloPlan& plan, int rank, int ranks, const HaloRounds& rounds) {
  std::vector<HaloPlan> cut;
  int begin = 1;
  for (const int end : rounds.ends) {
    const auto is_in = [&](int from, int to) {
      const int by = distance(from, to, ranks);
      return begin <= by && by < end;
    };
    HaloPlan& part = cut.emplace_back();
    part.arriving = select(plan.arriving, [&](int owner) { return is_in(owner, rank); });
    part.leaving = select(plan.leaving, [&](int reader) { return is_in(rank, reader); });
    part.halo = rows_of(part.arriving);
    begin = end;
  }
  return cut;
}

}  // namespace annulus
