/// Spans on a timeline: how they nest, what they sum to, and that there may be none.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/timeline.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace annulus {
namespace {

void pass_milliseconds(int count) { std::this_thread::sleep_for(std::chrono::milliseconds(count)); }

double length(const Timeline::Span& span) { return std::chrono::duration<double>(span.end - span.begin).count(); }

TEST(Timeline, CountsSpansWithinForTheirOwnActivityAlone) {
  Timeline timeline(Timeline::Keep::spans);
  {
    const Timed layer(&timeline, Activity::other, "layer", 3);
    pass_milliseconds(2);
    {
      const Timed agreement(&timeline, Activity::agreement, "agree");
      const Timed pack(&timeline, Activity::compute, "pack");
      pass_milliseconds(3);
    }
    Timed wait(&timeline, Activity::communication, "wait", 7);
    wait.set_bytes(99);
  }
  ASSERT_EQ(timeline.spans().size(), 4U);
  const Timeline::Span& pack = timeline.spans()[0];
  const Timeline::Span& agreement = timeline.spans()[1];
  const Timeline::Span& wait = timeline.spans()[2];
  const Timeline::Span& layer = timeline.spans()[3];
  EXPECT_EQ(std::string(wait.name), "wait");
  EXPECT_EQ(wait.number, 7);
  EXPECT_EQ(wait.bytes, 99U);
  EXPECT_EQ(layer.number, 3);
  EXPECT_EQ(pack.number, -1);
  EXPECT_LE(layer.begin, agreement.begin);
  EXPECT_LE(agreement.end, wait.begin);
  EXPECT_LE(wait.end, layer.end);
  constexpr double rounding = 1e-9;
  EXPECT_NEAR(timeline.seconds(Activity::compute), length(pack), rounding);
  EXPECT_NEAR(timeline.seconds(Activity::agreement), length(agreement) - length(pack), rounding);
  EXPECT_NEAR(timeline.seconds(Activity::other), length(layer) - length(agreement) - length(wait), rounding);
  double sum = 0;
  for (std::size_t i = 0; i < activities; ++i) sum += timeline.seconds(static_cast<Activity>(i));
  EXPECT_NEAR(sum, length(layer), rounding) << "all time is counted once";
}

TEST(Timeline, MayKeepSumsAloneOrNotBeThere) {
  Timeline sums(Timeline::Keep::sums);
  {
    const Timed span(&sums, Activity::files, "save");
    pass_milliseconds(1);
  }
  EXPECT_TRUE(sums.spans().empty());
  EXPECT_EQ(sums.dropped(), 0U) << "nobody wanted them";
  EXPECT_GT(sums.seconds(Activity::files), 0);
  Timed nothing(nullptr, Activity::compute, "nobody looks");
  nothing.set_bytes(1);
}

TEST(Timeline, StopsKeepingSpansBeforeItFillsTheMemory) {
  Timeline timeline(Timeline::Keep::spans);
  for (std::size_t i = 0; i < Timeline::most_spans + 5; ++i) const Timed span(&timeline, Activity::compute, "step");
  EXPECT_EQ(timeline.spans().size(), Timeline::most_spans);
  EXPECT_EQ(timeline.dropped(), 5U);
}

std::string told;

TEST(Timeline, TellsAProfilerOfEverySpanAsItNests) {
  told.clear();
  Timeline timeline(Timeline::Keep::sums);
  timeline.tell({.begin = [](const char* name, std::int64_t number) { told += std::string("<") + name + std::to_string(number); },
                 .end = [] { told += ">"; }});
  {
    const Timed layer(&timeline, Activity::other, "layer", 3);
    const Timed pack(&timeline, Activity::compute, "pack");
  }
  EXPECT_EQ(told, "<layer3<pack-1>>");
}

}  // namespace
}  // namespace annulus
