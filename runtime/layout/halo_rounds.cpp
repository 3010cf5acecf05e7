/// Distances added to a round while it has room.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/halo_rounds.hpp"

#include <algorithm>

namespace annulus {
namespace {

int distance(int from, int to, int ranks) { return (to - from + ranks) % ranks; }

std::size_t as_size(int count) { return static_cast<std::size_t>(count); }

/// Rows that each rank has to do with in one round.
struct Round {
  explicit Round(int ranks) : arriving(as_size(ranks)), leaving(arriving), returning(arriving) {}

  /// `parts[owner]` travels `by` ranks on. `last[owner]` left last in this round: the first rows of a sequence say the same to all.
  void add(const std::vector<RowSet>& parts, std::size_t by, const std::vector<RowSet>& last) {
    for (std::size_t owner = 0; owner < parts.size(); ++owner) {
      const std::int64_t rows = parts[owner].rows();
      if (rows == 0) continue;
      arriving[(owner + by) % parts.size()] += rows;
      returning[owner] += rows;
      if (parts[owner] != last[owner]) leaving[owner] += rows;
    }
  }
  static std::int64_t most(const std::vector<std::int64_t>& rows) { return *std::ranges::max_element(rows); }
  std::int64_t most() const { return std::max(most(arriving), most(leaving)); }

  std::vector<std::int64_t> arriving;
  std::vector<std::int64_t> leaving;
  std::vector<std::int64_t> returning;
};

void close(HaloRounds& rounds, const Round& round, int end) {
  rounds.ends.push_back(end);
  rounds.most_arriving = std::max(rounds.most_arriving, Round::most(round.arriving));
  rounds.most_leaving = std::max(rounds.most_leaving, Round::most(round.leaving));
  rounds.most_returning = std::max(rounds.most_returning, Round::most(round.returning));
}

/// Rows of all ranks, and who may have to do with whom: most pairs have not, and lists of stripes are long.
class Needs {
 public:
  Needs(const Layout& layout, const std::function<RowSet(int rank)>& needed)
      : meets_(as_size(layout.ranks()), std::vector<bool>(as_size(layout.ranks()))) {
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      own_.push_back(layout.row_set(rank));
      needed_.push_back(needed(rank));
      for (const Piece& piece : needed_.back().pieces()) note(layout, rank, piece);
    }
  }

  /// What each owner sends to the rank so many after it.
  std::vector<RowSet> parts_at(int by) const {
    std::vector<RowSet> parts(own_.size());
    for (std::size_t owner = 0; owner < own_.size(); ++owner) {
      const std::size_t reader = (owner + as_size(by)) % own_.size();
      if (meets_[reader][owner]) parts[owner] = intersect(needed_[reader], own_[owner]);
    }
    return parts;
  }

 private:
  void note(const Layout& layout, int reader, const Piece& piece) {
    const std::int64_t first = layout.deal(piece.pos);
    const std::int64_t last = layout.deal(piece.pos + piece.rows - 1);
    for (std::int64_t deal = first; deal <= std::min(last, first + 2 * layout.ranks() - 1); ++deal) {
      meets_[as_size(reader)][as_size(layout.owner_of_deal(deal))] = true;
    }
  }

  std::vector<RowSet> own_;
  std::vector<RowSet> needed_;
  std::vector<std::vector<bool>> meets_;  ///< by reader and owner
};

/// What is empty leaves nothing behind.
void replace(std::vector<RowSet>& last, std::vector<RowSet> parts) {
  for (std::size_t owner = 0; owner < parts.size(); ++owner) {
    if (!parts[owner].empty()) last[owner] = std::move(parts[owner]);
  }
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
  const Needs needs(layout, needed);
  HaloRounds rounds;
  Round round(ranks);
  std::vector<RowSet> last(as_size(ranks));
  for (int by = 1; by < ranks; ++by) {
    std::vector<RowSet> parts = needs.parts_at(by);
    for (const RowSet& part : parts) rounds.largest_part = std::max(rounds.largest_part, part.rows());
    Round longer = round;
    longer.add(parts, as_size(by), last);
    if (longer.most() > most_rows && round.most() > 0) {
      close(rounds, round, by);
      last.assign(as_size(ranks), RowSet());
      longer = Round(ranks);
      longer.add(parts, as_size(by), last);
    }
    round = std::move(longer);
    replace(last, std::move(parts));
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
