/// A stack on P ranks equals the stack on one; its digest, verification and backward hold on all of them.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/stack.hpp"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <vector>

#include "runtime/stack/digest.hpp"
#include "runtime/stack/verify.hpp"

namespace annulus::stack {
namespace {

using kernels::Direction;

struct Case {
  std::int64_t seq_len = 45;
  std::int64_t batch = 1;
  LayoutKind layout = LayoutKind::zigzag;
  ExchangeKind exchange = ExchangeKind::messages;
  DType dtype = DType::f32;
  int threads = 1;
  bool causal = true;
};

ModelSpec model_of(const Case& test) {
  ModelSpec model;
  model.layers = 2;
  model.seed = 11;
  model.attention = {.batch = test.batch,
                     .seq_q = test.seq_len,
                     .seq_k = test.seq_len,
                     .heads = 4,
                     .kv_heads = 2,
                     .head_dim = 8,
                     .dtype = test.dtype};
  model.attention.mask.causal = test.causal;
  return model;
}

/// A smooth input as a function of the global position, one element of it moved.
struct Nudge {
  std::int64_t pos = 0;
  std::int64_t channel = 0;
  double by = 0;
};

void fill_input(Stack& stack, int rank, const Nudge& nudge) {
  const DType dtype = stack.model().attention.dtype;
  const std::int64_t width = stack.model().width();
  const std::int64_t rows = stack.rows();
  with_dtype(dtype, [&](auto element) {
    using T = decltype(element);
    T* x = reinterpret_cast<T*>(stack.input().data());
    for (std::int64_t i = 0; i < stack.model().attention.batch * rows * width; ++i) {
      const std::int64_t pos = stack.layout().position(rank, i / width % rows);
      const std::int64_t channel = i % width;
      double value = std::sin(0.7 * static_cast<double>(pos) + 1.3 * static_cast<double>(channel)) +
                     0.1 * static_cast<double>(i / width / rows);
      if (i / width / rows == 0 && pos == nudge.pos && channel == nudge.channel) value += nudge.by;
      x[i] = from_double<T>(value);
    }
  });
}

/// A stack with its communicator, run on the ranks of `comm`.
struct StackRun {
  StackRun(MPI_Comm comm, const Case& test, Direction direction = Direction::forward, const Nudge& nudge = {})
      : ranks(Communicator::duplicate(comm)),
        stack(ranks, {test.layout, 3}, model_of(test),
              {.exchange = test.exchange, .threads = test.threads}, direction) {
    fill_input(stack, ranks.rank(), nudge);
    stack.forward({});
  }
  std::string digest_of_output() const {
    const auto row_bytes = stack.model().width() * static_cast<std::int64_t>(size_of(stack.model().attention.dtype));
    return digest(ranks, stack.layout(), stack.model().attention.batch, row_bytes, stack.output());
  }
  Communicator ranks;
  Stack stack;
};

/// The output in global order on every rank of MPI_COMM_WORLD, as floats.
std::vector<float> gathered(const Stack& stack, int rank, std::span<const std::byte> rows, DType dtype) {
  const std::int64_t width = stack.model().width();
  const std::int64_t seq = stack.layout().seq_len();
  std::vector<float> all(static_cast<std::size_t>(stack.model().attention.batch * seq * width), 0.0F);
  with_dtype(dtype, [&](auto element) {
    const auto* from = reinterpret_cast<const decltype(element)*>(rows.data());
    for (std::int64_t i = 0; i < stack.model().attention.batch * stack.rows() * width; ++i) {
      const std::int64_t batch = i / width / stack.rows();
      const std::int64_t pos = stack.layout().position(rank, i / width % stack.rows());
      all[static_cast<std::size_t>((batch * seq + pos) * width + i % width)] = to_float(from[i]);
    }
  });
  MPI_Allreduce(MPI_IN_PLACE, all.data(), static_cast<int>(all.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  return all;
}

std::vector<float> output_of(const Case& test) {
  const StackRun run(MPI_COMM_WORLD, test);
  return gathered(run.stack, run.ranks.rank(), run.stack.output(), test.dtype);
}

/// The same stack, each rank for itself: one rank's answer.
std::vector<float> output_alone(Case test) {
  test.layout = LayoutKind::contiguous;
  const StackRun run(MPI_COMM_SELF, test);
  std::vector<float> all(run.stack.output().size() / size_of(test.dtype));
  with_dtype(test.dtype, [&](auto element) {
    const auto* from = reinterpret_cast<const decltype(element)*>(run.stack.output().data());
    std::transform(from, from + all.size(), all.begin(), [](auto x) { return to_float(x); });
  });
  return all;
}

void expect_close(const std::vector<float>& got, const std::vector<float>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  double worst = 0;
  double largest = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i])));
    largest = std::max(largest, std::abs(static_cast<double>(want[i])));
  }
  EXPECT_LE(worst, tolerance * largest);
  EXPECT_GT(largest, 0.1);
}

TEST(Stack, EqualsOneRankInEveryLayoutAndExchange) {
  for (const LayoutKind layout : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    for (const bool causal : {true, false}) {
      Case test{.seq_len = 45, .batch = 2, .layout = layout, .causal = causal};
      test.exchange = causal ? ExchangeKind::messages : ExchangeKind::shared;
      expect_close(output_of(test), output_alone(test), 2e-5);
    }
  }
}

TEST(Stack, SixteenBitActivationsAgreeToTheirPrecision) {
  expect_close(output_of({.dtype = DType::bf16}), output_alone({.dtype = DType::bf16}), 3 * 0x1p-8);
  expect_close(output_of({.dtype = DType::f16}), output_alone({.dtype = DType::f16}), 3 * 0x1p-11);
}

TEST(Stack, WorksWithFewerTokensThanRanks) {
  const Case test{.seq_len = 3};
  expect_close(output_of(test), output_alone(test), 2e-5);
}

TEST(Digest, DoesNotDependOnExchangeOrThreadsAndIsThatOfTheGlobalBytes) {
  for (const LayoutKind layout : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    Case test{.seq_len = 301, .batch = 2, .layout = layout};
    const StackRun run(MPI_COMM_WORLD, test);
    const std::string digest = run.digest_of_output();
    const std::vector<float> all = gathered(run.stack, run.ranks.rank(), run.stack.output(), DType::f32);
    std::array<char, 17> hex{};
    std::snprintf(hex.data(), hex.size(), "%016llx",
                  static_cast<unsigned long long>(XXH64(all.data(), all.size() * sizeof(float), 0)));
    EXPECT_EQ(digest, hex.data());
    test.exchange = ExchangeKind::shared;
    test.threads = 3;
    EXPECT_EQ(StackRun(MPI_COMM_WORLD, test).digest_of_output(), digest);
  }
}

TEST(Digest, IsTheSameThroughSmallWindows) {
  const StackRun run(MPI_COMM_WORLD, {.seq_len = 301, .batch = 2, .layout = LayoutKind::striped});
  const std::int64_t row_bytes = run.stack.model().width() * 4;
  EXPECT_EQ(digest(run.ranks, run.stack.layout(), 2, row_bytes, run.stack.output(), 3 * row_bytes), run.digest_of_output());
}

TEST(Stack, BackwardMatchesFiniteDifferencesOnEveryRankCount) {
  const Case test{.seq_len = 13};
  StackRun run(MPI_COMM_WORLD, test, Direction::backward);
  seed_gradient(run.stack, 5, run.ranks.rank());
  const std::span<float> gradient = run.stack.gradient();
  const std::vector<float> dout =
      gathered(run.stack, run.ranks.rank(), std::as_bytes(gradient), DType::f32);
  run.stack.backward({});
  const std::vector<float> dx = gathered(run.stack, run.ranks.rank(), std::as_bytes(gradient), DType::f32);
  const auto loss = [&](const Nudge& nudge) {
    const StackRun moved(MPI_COMM_WORLD, test, Direction::forward, nudge);
    const std::vector<float> x = gathered(moved.stack, moved.ranks.rank(), moved.stack.output(), DType::f32);
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(dout[i]) * static_cast<double>(x[i]);
    return sum;
  };
  const std::int64_t width = run.stack.model().width();
  for (const auto& [pos, channel] : {std::pair{0, 3}, {5, 0}, {6, 31}, {12, 17}}) {
    constexpr double step = 0x1p-7;
    const double slope = (loss({pos, channel, step}) - loss({pos, channel, -step})) / (2 * step);
    EXPECT_NEAR(dx[static_cast<std::size_t>(pos * width + channel)], slope, 5e-3 * std::max(1.0, std::abs(slope)));
  }
}

/// Verifies a stack whose tensors are spoiled between a layer and its check.
template <class Spoil>
std::string verdict_on(const Case& test, Spoil&& spoil) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  Stack stack(comm, {test.layout, 3}, model_of(test), {.exchange = test.exchange, .threads = 2}, Direction::forward);
  fill_input(stack, comm.rank(), {});
  const Verifier verifier(comm, stack.model(), stack.layout(), stack.workers(), 12, 1);
  try {
    stack.forward([&](const LayerView& view, const LayerCost&) {
      if (view.index == 1) spoil(view, comm);
      verifier.check(view);
    });
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::verification);
    return error.what();
  }
  return "";
}

TEST(Verify, AcceptsWhatIsRight) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const LayoutKind layout : {LayoutKind::contiguous, LayoutKind::striped}) {
      EXPECT_EQ(verdict_on({.batch = 2, .layout = layout, .dtype = dtype}, [](const LayerView&, const Communicator&) {}), "");
    }
  }
}

TEST(Verify, FindsOneWrongElementOfEveryStageOnEveryRank) {
  // The first row is always sampled; in these layouts rank 0 keeps it as row 0. Key row 0 is seen by all rows.
  const auto on_first = [](auto change) {
    return [change](const LayerView& view, const Communicator& comm) {
      if (comm.rank() == 0) change(view);
    };
  };
  const auto nudge = [](const auto* data) { *const_cast<float*>(reinterpret_cast<const float*>(data)) += 0.01F; };
  EXPECT_NE(verdict_on({}, on_first([&](const LayerView& v) { nudge(v.out); })).find("layer 1: out of row 0"), std::string::npos);
  EXPECT_NE(verdict_on({}, on_first([&](const LayerView& v) { nudge(v.lse); })).find("layer 1: lse of row 0"), std::string::npos);
  EXPECT_NE(verdict_on({}, on_first([&](const LayerView& v) { nudge(v.x_out); })).find("layer 1: x of row 0"), std::string::npos);
  EXPECT_NE(verdict_on({}, on_first([&](const LayerView& v) { nudge(v.qkv.q.data()); })).find("layer 1: q of row 0"), std::string::npos);
  EXPECT_NE(verdict_on({}, on_first([&](const LayerView& v) { nudge(v.qkv.k.data()); })).find("layer 1: k of row 0"), std::string::npos);
  EXPECT_NE(verdict_on({}, on_first([&](const LayerView& v) { nudge(v.qkv.v.data()); })).find("layer 1: v of row 0"), std::string::npos);
}

}  // namespace
}  // namespace annulus::stack
