/// Hop by hop, all ranks side by side.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/forecast/ring_times.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "runtime/layout/ring_schedule.hpp"

namespace annulus::forecast {
namespace {

/// The state of all ranks at some point of the ring.
class Play {
 public:
  explicit Play(const RingCosts& costs)
      : costs_(costs), now_(ranks(), 0), busy_(ranks(), 0), link_(ranks(), 0), last_step_(ranks(), 0), turn_(ranks(), 0) {
    for (int rank = 0; rank < costs.ranks; ++rank) rings_.emplace_back(rank, costs.ranks, costs.group_size);
  }

  RingTimes run() {
    const int hops = rings_[0].groups();
    std::vector<double> closed = now_;  // the sums of the last hop
    for (int hop = 0; hop < hops; ++hop) {
      if (hop > 0 && backward()) link_ = arrivals(closed, hop - 1, costs_.gradient);
      const std::vector<double> sums = link_;
      if (hop + 1 < hops) link_ = arrivals(now_, hop, costs_.block);
      compute(hop, sums);
      closed = latest_of_groups(now_);
      if (hop + 1 < hops) meet(link_);
    }
    if (backward() && hops > 1) come_home(hops - 1);
    return times();
  }

 private:
  std::size_t ranks() const { return static_cast<std::size_t>(costs_.ranks); }
  bool backward() const { return static_cast<bool>(costs_.gradient); }
  double& at(std::vector<double>& times, int rank) const { return times[static_cast<std::size_t>(rank)]; }
  double at(const std::vector<double>& times, int rank) const { return times[static_cast<std::size_t>(rank)]; }

  /// When the transfer of `hop` has arrived at each rank, if both sides are ready at `ready`.
  std::vector<double> arrivals(const std::vector<double>& ready, int hop, const std::function<double(int, int)>& seconds) const {
    std::vector<double> arrived(ranks());
    for (int rank = 0; rank < costs_.ranks; ++rank) {
      const int from = rings_[static_cast<std::size_t>(rank)].next();
      const double begin = std::max({at(ready, rank), at(ready, from), at(link_, rank)});
      at(arrived, rank) = begin + seconds(rank, hop);
    }
    return arrived;
  }

  void compute(int hop, const std::vector<double>& sums) {
    const int group = costs_.group_size;
    for (int step = hop * group; step < (hop + 1) * group; ++step) {
      const std::vector<double> before = now_;
      for (int rank = 0; rank < costs_.ranks; ++rank) {
        const double seconds = costs_.compute(rank, step);
        at(last_step_, rank) = seconds;
        at(busy_, rank) += seconds;
        at(now_, rank) += seconds;
        if (!backward()) continue;
        at(turn_, rank) = step % group == 0 ? at(sums, rank) : at(before, neighbour(rank));
        at(now_, rank) = std::max(at(now_, rank), at(turn_, rank));
      }
    }
  }
  /// The member of the group that adds to a sum before `rank` does.
  int neighbour(int rank) const {
    const int first = rank / costs_.group_size * costs_.group_size;
    return first + (rank - first + 1) % costs_.group_size;
  }

  /// A rank has its next block and has given its own away; its group goes on together.
  void meet(const std::vector<double>& blocks) {
    for (int rank = 0; rank < costs_.ranks; ++rank) {
      const int to = rings_[static_cast<std::size_t>(rank)].prev();
      at(now_, rank) = std::max({at(now_, rank), at(blocks, rank), at(blocks, to)});
    }
    now_ = latest_of_groups(now_);
  }
  std::vector<double> latest_of_groups(std::vector<double> times) const {
    for (auto begin = times.begin(); begin != times.end(); begin += costs_.group_size) {
      const auto end = begin + costs_.group_size;
      std::fill(begin, end, *std::max_element(begin, end));
    }
    return times;
  }

  /// All pieces but the last leave while the last step computes, once the sum they are added to is there.
  void come_home(int hop) {
    const double part = 1.0 / costs_.last_pieces;
    std::vector<double> first_piece = now_;
    for (int rank = 0; rank < costs_.ranks; ++rank) {
      at(first_piece, rank) = std::max(at(now_, rank) - (1 - part) * at(last_step_, rank), at(turn_, rank));
    }
    const std::vector<double> streamed = arrivals(with_neighbours(first_piece), hop, costs_.gradient);
    const auto last_part = [&](int rank, int) { return part * costs_.gradient(rank, hop); };
    const std::vector<double> last = arrivals(with_neighbours(now_), hop, last_part);
    for (std::size_t rank = 0; rank < ranks(); ++rank) now_[rank] = std::max(streamed[rank], last[rank]);
  }
  /// The neighbour is the last to add to a rank's own sum.
  std::vector<double> with_neighbours(const std::vector<double>& times) const {
    std::vector<double> later = times;
    for (int rank = 0; rank < costs_.ranks; ++rank) at(later, rank) = std::max(at(times, rank), at(times, neighbour(rank)));
    return later;
  }

  RingTimes times() const {
    RingTimes times;
    times.seconds = *std::max_element(now_.begin(), now_.end());
    times.compute_seconds = *std::max_element(busy_.begin(), busy_.end());
    times.mean_compute_seconds = std::accumulate(busy_.begin(), busy_.end(), 0.0) / costs_.ranks;
    for (std::size_t rank = 0; rank < ranks(); ++rank) {
      times.exposed_seconds = std::max(times.exposed_seconds, now_[rank] - busy_[rank]);
    }
    return times;
  }

  const RingCosts& costs_;
  std::vector<RingSchedule> rings_;
  std::vector<double> now_;   ///< when a rank goes on
  std::vector<double> busy_;  ///< what it has computed
  std::vector<double> link_;  ///< from the next rank: when it is free
  std::vector<double> last_step_;
  std::vector<double> turn_;  ///< when the sum is there that the last step adds to
};

}  // namespace

RingTimes ring_times(const RingCosts& costs) { return Play(costs).run(); }

}  // namespace annulus::forecast
