/// The ring's steps as tasks of an event-driven simulation, which shares nothing with the forecast but the costs.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/forecast/ring_times.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <queue>
#include <random>
#include <vector>

namespace annulus::forecast {
namespace {

/// Tasks that begin when all they wait for have ended.
class Simulation {
 public:
  using Id = std::size_t;

  Id add(double seconds, std::initializer_list<Id> after) { return add(seconds, std::vector<Id>(after)); }
  Id add(double seconds, const std::vector<Id>& after) {
    tasks_.push_back({.seconds = seconds, .missing = after.size(), .end = 0, .then = {}});
    for (const Id id : after) tasks_[id].then.push_back(tasks_.size() - 1);
    return tasks_.size() - 1;
  }
  void run() {
    for (Id id = 0; id < tasks_.size(); ++id) {
      if (tasks_[id].missing == 0) events_.push({tasks_[id].seconds, id});
    }
    while (!events_.empty()) {
      const auto [now, id] = events_.top();
      events_.pop();
      tasks_[id].end = now;
      for (const Id next : tasks_[id].then) {
        if (--tasks_[next].missing == 0) events_.push({now + tasks_[next].seconds, next});
      }
    }
  }
  double end(Id id) const { return tasks_[id].end; }

 private:
  struct Task {
    double seconds;
    std::size_t missing;
    double end;
    std::vector<Id> then;
  };
  using Event = std::pair<double, Id>;
  std::vector<Task> tasks_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
};

/// Ranks on links that carry one message after the other, in the order in which their receivers ask for them.
class SimulatedRing {
 public:
  using Ids = std::vector<Simulation::Id>;

  explicit SimulatedRing(const RingCosts& costs) : costs_(costs) {
    const Simulation::Id origin = simulation_.add(0, {});
    const Ids all(static_cast<std::size_t>(costs.ranks), origin);
    link_ = sum_ = done_ = all;
    const int hops = costs.ranks / costs.group_size;
    for (int hop = 0; hop < hops; ++hop) {
      const bool last = hop + 1 == hops;
      if (!last) send(hop, done_, costs_.block);
      const Ids blocks = link_;
      attend(hop, last && hops > 1);
      if (last) break;
      if (costs_.gradient) sum_ = send(hop, group_ends(done_), costs_.gradient);
      meet(blocks);
    }
    simulation_.run();
  }

  double seconds() const {
    double latest = 0;
    for (const Simulation::Id id : done_) latest = std::max(latest, simulation_.end(id));
    for (const Simulation::Id id : home_) latest = std::max(latest, simulation_.end(id));
    return latest;
  }

 private:
  static Simulation::Id& at(Ids& ids, int rank) { return ids[static_cast<std::size_t>(rank)]; }
  int sender(int rank) const { return (rank + costs_.group_size) % costs_.ranks; }
  int first_of_group(int rank) const { return rank - rank % costs_.group_size; }
  /// Who adds to a sum before `rank` does.
  int before(int rank) const { return first_of_group(rank) + (rank - first_of_group(rank) + 1) % costs_.group_size; }

  /// A message to every rank, once it and its sender have got as far as `ready`.
  Ids send(int hop, Ids ready, const std::function<double(int, int)>& seconds) {
    Ids arrived(ready.size());
    for (int rank = 0; rank < costs_.ranks; ++rank) {
      at(arrived, rank) = simulation_.add(seconds(rank, hop), {at(ready, rank), at(ready, sender(rank)), at(link_, rank)});
    }
    link_ = arrived;
    return arrived;
  }

  void attend(int hop, bool goes_home) {
    for (int step = hop * costs_.group_size; step < (hop + 1) * costs_.group_size; ++step) {
      Ids turn = sum_;
      for (int rank = 0; step % costs_.group_size > 0 && rank < costs_.ranks; ++rank) at(turn, rank) = at(done_, before(rank));
      const bool in_pieces = costs_.gradient && goes_home && (step + 1) % costs_.group_size == 0;
      for (int piece = 0, pieces = in_pieces ? costs_.last_pieces : 1; piece < pieces; ++piece) {
        work(step, turn, pieces);
        if (in_pieces) send_home(hop, pieces);
      }
    }
  }
  /// Backward, what was worked out is added when the sum is there.
  void work(int step, Ids& turn, int pieces) {
    for (int rank = 0; rank < costs_.ranks; ++rank) {
      at(done_, rank) = simulation_.add(costs_.compute(rank, step) / pieces, {at(working_on(step), rank)});
    }
    working_ = done_;
    if (!costs_.gradient) return;
    for (int rank = 0; rank < costs_.ranks; ++rank) at(done_, rank) = simulation_.add(0, {at(working_, rank), at(turn, rank)});
  }
  /// A step begins when the last one is added; its pieces follow each other without waiting for the sum.
  Ids& working_on(int step) {
    if (step != working_step_) working_ = done_;
    working_step_ = step;
    return working_;
  }
  void send_home(int hop, int pieces) {
    Ids added = done_;
    for (int rank = 0; rank < costs_.ranks; ++rank) at(added, rank) = simulation_.add(0, {at(done_, rank), at(done_, before(rank))});
    home_ = send(hop, added, [&](int rank, int its_hop) { return costs_.gradient(rank, its_hop) / pieces; });
  }
  Ids group_ends(const Ids& ids) {
    Ids ends;
    for (int rank = 0; rank < costs_.ranks; ++rank) {
      if (rank % costs_.group_size > 0) {
        ends.push_back(ends.back());
        continue;
      }
      const auto first = ids.begin() + rank;
      ends.push_back(simulation_.add(0, Ids(first, first + costs_.group_size)));
    }
    return ends;
  }
  /// Each has its next block and has given its own away.
  void meet(Ids blocks) {
    Ids met = done_;
    for (int rank = 0; rank < costs_.ranks; ++rank) {
      const int receiver = (rank + costs_.ranks - costs_.group_size) % costs_.ranks;
      at(met, rank) = simulation_.add(0, {at(done_, rank), at(blocks, rank), at(blocks, receiver)});
    }
    done_ = group_ends(met);
  }

  const RingCosts& costs_;
  Simulation simulation_;
  Ids link_;  ///< the last message asked for on the link to each rank
  Ids sum_;   ///< has come to each rank
  Ids done_;
  Ids home_;
  Ids working_;
  int working_step_ = -1;
};

enum class Way { forward, backward };

/// Costs drawn once, link by link and step by step: most links alike, some ten times slower.
class Drawn {
 public:
  Drawn(int ranks, int group_size, Way way, std::uint64_t seed) : draw_(seed) {
    const auto many = static_cast<std::size_t>(ranks);
    std::uniform_real_distribution<double> some(0.5, 1.5);
    const double regime = std::array{0.1, 1.0, 5.0}[seed % 3];  // traffic hides, about as long as compute, or not at all
    for (std::size_t i = 0; i < many; ++i) {
      speed_.push_back(some(draw_));
      link_.push_back(regime * group_size * some(draw_) * (draw_() % 8 == 0 ? 10 : 1));
    }
    costs.ranks = ranks;
    costs.group_size = group_size;
    costs.last_pieces = way == Way::backward ? 8 : 1;
    costs.compute = [this](int rank, int step) { return of(speed_, rank) * (1 + 0.3 * ((rank * 7 + step * 13) % 5)); };
    costs.block = [this](int rank, int hop) { return of(link_, rank) * (1 + 0.1 * (hop % 3)); };
    if (way == Way::backward) costs.gradient = [this](int rank, int hop) { return 1.5 * of(link_, rank) * (1 + 0.2 * (hop % 2)); };
  }
  Drawn(const Drawn&) = delete;

  RingCosts costs;

 private:
  static double of(const std::vector<double>& values, int rank) { return values[static_cast<std::size_t>(rank)]; }
  std::mt19937_64 draw_;
  std::vector<double> speed_;
  std::vector<double> link_;
};

void expect_simulated(int ranks, int group_size, Way way, std::uint64_t seed) {
  const Drawn drawn(ranks, group_size, way, seed);
  const double simulated = SimulatedRing(drawn.costs).seconds();
  EXPECT_NEAR(ring_times(drawn.costs).seconds, simulated, 1e-9 * simulated)
      << ranks << " ranks in groups of " << group_size << (way == Way::forward ? " forward" : " backward") << ", seed " << seed;
}

TEST(RingTimes, AgreeWithASimulationOnUnequalLinks) {
  for (const Way way : {Way::forward, Way::backward}) {
    for (const int ranks : {1, 2, 3, 4, 6, 7, 8, 12, 24, 64}) {
      for (const int group_size : {1, 2, 3, 4, 8}) {
        if (ranks % group_size != 0) continue;
        for (std::uint64_t seed = 0; seed < 9; ++seed) expect_simulated(ranks, group_size, way, seed);
      }
    }
  }
}

TEST(RingTimes, AgreeWithASimulationOfManyRanks) {
  expect_simulated(1000, 1, Way::forward, 1);
  expect_simulated(1024, 8, Way::forward, 2);
  expect_simulated(512, 1, Way::backward, 1);
  expect_simulated(768, 8, Way::backward, 2);
}

RingCosts uniform(int ranks, double compute, double block, double gradient) {
  RingCosts costs;
  costs.ranks = ranks;
  costs.compute = [=](int, int) { return compute; };
  costs.block = [=](int, int) { return block; };
  if (gradient > 0) costs.gradient = [=](int, int) { return gradient; };
  return costs;
}

TEST(RingTimes, HideTrafficThatIsShorterThanASteps) {
  const RingTimes times = ring_times(uniform(8, 3, 2.5, 0));
  EXPECT_DOUBLE_EQ(times.seconds, 24);
  EXPECT_DOUBLE_EQ(times.compute_seconds, 24);
  EXPECT_DOUBLE_EQ(times.exposed_seconds, 0);
}

TEST(RingTimes, WaitForTrafficThatIsLonger) {
  const RingTimes times = ring_times(uniform(8, 3, 5, 0));
  EXPECT_DOUBLE_EQ(times.seconds, 7 * 5 + 3);
  EXPECT_DOUBLE_EQ(times.exposed_seconds, 7 * 2);
}

TEST(RingTimes, SendSumsAndBlocksOverTheSameLink) {
  // The first block alone, then a sum and a block in every hop; the last sum goes on, and then home.
  const RingTimes times = ring_times(uniform(5, 0.001, 2, 3));
  EXPECT_NEAR(times.seconds, 2 + 3 * (3 + 2) + 3 + 3, 0.02);
}

TEST(RingTimes, WaitForTheSlowestLinkOnceTheRingIsInStep) {
  RingCosts costs = uniform(16, 1, 0.5, 0);
  costs.block = [](int rank, int) { return rank == 5 ? 4.0 : 0.5; };
  const RingTimes times = ring_times(costs);
  EXPECT_NEAR(times.seconds, 15 * 4 + 1, 1e-9);
  EXPECT_DOUBLE_EQ(times.mean_compute_seconds, 16);
}

}  // namespace
}  // namespace annulus::forecast
