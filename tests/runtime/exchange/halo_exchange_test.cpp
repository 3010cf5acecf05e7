/// Rows reach those who need them, gradients find their way home, in a fixed order.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/halo_exchange.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace annulus {
namespace {

constexpr std::int64_t batch = 2;
constexpr std::int64_t heads = 3;
constexpr std::int64_t head_dim = 5;

/// Strided on purpose: rows of a wider tensor.
struct Rows {
  explicit Rows(std::int64_t rows) : memory(batch * (rows + 1) * (heads + 1) * (head_dim + 2)) {
    for (float& x : memory.span()) x = -1;
    view = dense_view(reinterpret_cast<std::byte*>(memory.data()), DType::f32, batch, rows, heads, head_dim);
    view.head_stride = head_dim + 2;
    view.row_stride = (heads + 1) * view.head_stride;
    view.batch_stride = (rows + 1) * view.row_stride;
  }
  template <class Visit>
  void for_each(const RowSet& rows, Visit&& visit) const {
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t row = 0; row < view.rows; ++row) {
        for (std::int64_t i = 0; i < heads * head_dim; ++i) {
          visit(view.at<float>(b, row, i / head_dim)[i % head_dim], (rows.position(row) * batch + b) * 100 + i);
        }
      }
    }
  }
  Buffer<float> memory;
  TensorView view;
};

/// Every rank needs a window of 7 before its own first row and the first 2 rows of the sequence.
RowSet window_and_sinks(const Layout& layout, int rank) {
  std::vector<PosRange> spans{{0, 2}};
  for (const PosRange& own : layout.row_set(rank).spans()) spans.push_back({std::max<std::int64_t>(0, own.begin - 7), own.end});
  return RowSet(spans);
}

class HaloExchangeTest : public testing::TestWithParam<LayoutKind> {
 protected:
  Communicator comm_ = Communicator::duplicate(MPI_COMM_WORLD);
  Layout layout_{GetParam(), 61, comm_.size(), 4};
  HaloPlan plan_ = halo_plan(layout_, comm_.rank(), [this](int rank) { return window_and_sinks(layout_, rank); });
};

TEST_P(HaloExchangeTest, FetchesEveryRowOfTheHalo) {
  HaloExchange exchange(comm_, plan_);
  const Rows own(plan_.own.rows());
  const Rows more(plan_.own.rows());
  own.for_each(plan_.own, [](float& x, std::int64_t name) { x = static_cast<float>(name); });
  more.for_each(plan_.own, [](float& x, std::int64_t name) { x = static_cast<float>(-name); });
  for (int round = 0; round < 3; ++round) {
    const Rows halo(plan_.halo.rows());
    const Rows more_halo(plan_.halo.rows());
    exchange.start(HaloExchange::Way::fetch, std::array<ConstTensorView, 2>{own.view, more.view}, plan_.own);
    exchange.poll();
    exchange.finish(std::array<TensorView, 2>{halo.view, more_halo.view}, plan_.halo);
    halo.for_each(plan_.halo, [](float& x, std::int64_t name) { EXPECT_EQ(x, static_cast<float>(name)); });
    more_halo.for_each(plan_.halo, [](float& x, std::int64_t name) { EXPECT_EQ(x, static_cast<float>(-name)); });
    const Traffic traffic = exchange.take_traffic();
    EXPECT_EQ(traffic.messages, plan_.leaving.size());
    std::int64_t rows = 0;
    for (const HaloPart& part : plan_.leaving) rows += part.rows.rows();
    EXPECT_EQ(traffic.bytes, static_cast<std::uint64_t>(rows * 2 * batch * heads * head_dim) * sizeof(float));
  }
}

TEST_P(HaloExchangeTest, BringsGradientsHomeInTheOrderOfTheRanks) {
  const auto share = [](int rank, std::int64_t name) {  // its sum depends on the order of addition
    return std::sin(static_cast<float>(name % 97)) * std::pow(10.0F, static_cast<float>(rank % 5));
  };
  HaloExchange exchange(comm_, plan_);
  const Rows halo(plan_.halo.rows());
  const Rows own(plan_.own.rows());
  halo.for_each(plan_.halo, [&](float& x, std::int64_t name) { x = share(comm_.rank(), name); });
  own.for_each(plan_.own, [&](float& x, std::int64_t name) { x = share(comm_.rank(), name); });
  exchange.start(HaloExchange::Way::home, std::array<ConstTensorView, 1>{halo.view}, plan_.halo);
  exchange.finish(std::array<TensorView, 1>{own.view}, plan_.own);
  own.for_each(plan_.own, [&](float& x, std::int64_t name) {
    float sum = share(comm_.rank(), name);
    for (int rank = 0; rank < comm_.size(); ++rank) {
      const bool adds = rank != comm_.rank() && window_and_sinks(layout_, rank).contains(name / 100 / batch);
      if (adds) sum += share(rank, name);
    }
    EXPECT_EQ(x, sum) << "element " << name;
  });
}

/// Keys by one plan and queries by another, so that some pairs share both, some one and some none.
TEST_P(HaloExchangeTest, MovesSeveralPlansInOneMessagePerPair) {
  const auto first_rows = [](int rank) { return rank % 2 == 0 ? RowSet({{0, 3}, {30, 31}}) : RowSet(); };
  const HaloPlan other = halo_plan(layout_, comm_.rank(), first_rows);
  HaloExchange exchange(comm_, {&plan_, &other});
  const Rows own(plan_.own.rows());
  own.for_each(plan_.own, [](float& x, std::int64_t name) { x = static_cast<float>(name); });
  const std::array<ConstTensorView, 1> from{own.view};
  const Rows halo(plan_.halo.rows());
  const Rows others(other.halo.rows());
  exchange.start(HaloExchange::Way::fetch, {{from, plan_.own}, {from, other.own}});
  exchange.finish({{{&halo.view, 1}, plan_.halo}, {{&others.view, 1}, other.halo}});
  halo.for_each(plan_.halo, [](float& x, std::int64_t name) { EXPECT_EQ(x, static_cast<float>(name)); });
  others.for_each(other.halo, [](float& x, std::int64_t name) { EXPECT_EQ(x, static_cast<float>(name)); });
  std::set<int> peers;
  for (const HaloPlan* plan : std::array<const HaloPlan*, 2>{&plan_, &other}) {
    for (const HaloPart& part : plan->leaving) peers.insert(part.peer);
  }
  EXPECT_EQ(exchange.take_traffic().messages, peers.size());

  // Home by the second plan alone, where the larger number wins.
  const HaloExchange::Meet keep_larger = [](std::byte* row, const std::byte* arrived, const TensorView&) {
    auto& x = *reinterpret_cast<float*>(row);
    x = std::max(x, *reinterpret_cast<const float*>(arrived));
  };
  const auto offer = [](int rank, std::int64_t name) { return static_cast<float>((rank * 7 + name) % 11); };
  others.for_each(other.halo, [&](float& x, std::int64_t name) { x = offer(comm_.rank(), name); });
  own.for_each(plan_.own, [&](float& x, std::int64_t name) { x = offer(comm_.rank(), name); });
  const std::array<ConstTensorView, 1> leaving{others.view};
  exchange.start(HaloExchange::Way::home, {{{}, plan_.halo}, {leaving, other.halo}});
  exchange.finish({{{}, plan_.own}, {{&own.view, 1}, other.own, keep_larger}});
  EXPECT_EQ(exchange.take_traffic().messages, other.arriving.size());
  own.for_each(plan_.own, [&](float& x, std::int64_t name) {
    if (name % 100 % head_dim != 0) return;  // the first element of each head's row
    float largest = offer(comm_.rank(), name);
    for (int rank = 0; rank < comm_.size(); ++rank) {
      if (first_rows(rank).contains(name / 100 / batch)) largest = std::max(largest, offer(rank, name));
    }
    EXPECT_EQ(x, largest) << "element " << name;
  });
}

INSTANTIATE_TEST_SUITE_P(Layouts, HaloExchangeTest,
                         testing::Values(LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped));

}  // namespace
}  // namespace annulus
