/// Verification passes sound layers of every type and names the row of a planted error, on every rank.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/verify.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <string>

#include "runtime/stack/merged_parts.hpp"
#include "runtime/stack/rows.hpp"
#include "tests/runtime/stack/stack_case.hpp"

namespace annulus::test {
namespace {

constexpr std::int64_t seq_len = 61;

StackCase one_batch(DType dtype) {
  StackCase chosen = StackCase::small(seq_len, dtype);
  chosen.model.attention.batch = 1;
  return chosen;
}

/// Where an error is planted, on the rank that keeps `pos` only.
struct Place {
  const stack::LayerView& view;
  const stack::ModelSpec& model;
  std::int64_t row;

  void spoil(const std::byte* tensor, DType dtype, std::int64_t width, float by) const {
    float value = 0;
    stack::load(tensor, dtype, row * width, 1, &value);
    value += by;
    stack::store(&value, const_cast<std::byte*>(tensor), dtype, row * width, 1);
  }
  void spoil_out(float by) const { spoil(reinterpret_cast<const std::byte*>(view.out), DType::f32, model.width(), by); }
  DType dtype() const { return model.attention.dtype; }
};

/// Far beyond the tolerance of the type, no more: elements are about 1.
float slip(const Place& place) { return place.dtype() == DType::f32 ? 0.01F : 0.5F; }

struct Fault {
  const char* name;
  const char* stage;  ///< as the message says it
  std::function<void(const Place&)> plant;
};

const std::vector<Fault> faults{
    {"q", "q", [](const Place& p) { p.spoil(p.view.qkv.q.data(), p.dtype(), p.model.width(), slip(p)); }},
    {"k", "k", [](const Place& p) { p.spoil(p.view.qkv.k.data(), p.dtype(), p.model.kv_width(), slip(p)); }},
    {"v", "v", [](const Place& p) { p.spoil(p.view.qkv.v.data(), p.dtype(), p.model.kv_width(), slip(p)); }},
    {"out", "out", [](const Place& p) { p.spoil_out(slip(p)); }},
    {"a_nan", "out", [](const Place& p) { p.spoil_out(std::numeric_limits<float>::quiet_NaN()); }},
    {"an_infinity", "out", [](const Place& p) { p.spoil_out(std::numeric_limits<float>::infinity()); }},
    {"lse", "lse", [](const Place& p) { const_cast<float*>(p.view.lse)[p.row] += 0.1F; }},
    {"x", "x", [](const Place& p) { p.spoil(p.view.x_out, p.dtype(), p.model.width(), slip(p)); }}};

/// What the verifier says of layer 1 when its row `pos` is spoilt; empty: nothing.
std::string complaint(const StackCase& chosen, const Fault& fault, std::int64_t pos, std::int64_t sampled = 12) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  StackRun run(comm, chosen);
  stack::Stack& stack = run.stack();
  const stack::Verifier verifier(comm, stack.model(), stack.layout(), stack.workers(), sampled, 4);
  try {
    stack.forward([&](const stack::LayerView& view) {
      if (view.index == 1 && stack.layout().owner(pos) == comm.rank()) {
        fault.plant({view, stack.model(), view.rows.rows_before(pos)});
      }
      verifier.check(view);
    });
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::verification);
    return error.what();
  }
  return "";
}

class Verify : public testing::TestWithParam<DType> {};

TEST_P(Verify, FindsEveryPlantedFault) {
  for (const Fault& fault : faults) {
    const std::string said = complaint(one_batch(GetParam()), fault, seq_len - 1);  // the last row is always sampled
    const std::string expected = std::string("layer 1: ") + fault.stage + " of row " + std::to_string(seq_len - 1);
    EXPECT_TRUE(said.starts_with(expected)) << fault.name << ": '" << said << "'";
  }
}

TEST_P(Verify, PassesSoundLayers) {
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    StackCase chosen = StackCase::small(seq_len, GetParam());
    chosen.layout = {kind};
    EXPECT_EQ(complaint(chosen, {"nothing", "", [](const Place&) {}}, 0), "") << chosen.describe();
  }
}

TEST_P(Verify, PassesLayersThatDiffer) {
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    StackCase chosen = StackCase::mixed(seq_len, GetParam());
    chosen.layout = {kind};
    if (kind != LayoutKind::striped) chosen.local_halo = stack::LocalHalo::resident;
    EXPECT_EQ(complaint(chosen, {"nothing", "", [](const Place&) {}}, 0), "") << chosen.describe();
  }
}

TEST_P(Verify, PassesThreeRowsOnAnyRanks) {
  EXPECT_EQ(complaint(StackCase::small(3, GetParam()), {"nothing", "", [](const Place&) {}}, 0), "");
}

INSTANTIATE_TEST_SUITE_P(Types, Verify, testing::Values(DType::f32, DType::bf16, DType::f16),
                         [](const auto& tested) { return std::string(name(tested.param)); });

TEST(Verifier, FindsAFaultInARowThatIsNotSampled) {
  const StackCase chosen = one_batch(DType::f32);
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  const Layout layout(chosen.layout.kind, seq_len, comm.size());
  std::int64_t pos = 1;
  for (const stack::Sample& sample : stack::sample_rows(layout, 1, 12, 4)) {
    if (sample.pos == pos) ++pos;  // samples ascend, so this ends at the first row between them
  }
  ASSERT_LT(pos, seq_len - 1);
  const std::string said = complaint(
      chosen, {"", "", [](const Place& p) { p.spoil(p.view.qkv.v.data(), p.dtype(), p.model.kv_width(), 50); }}, pos);
  EXPECT_TRUE(said.starts_with("layer 1: out of row ")) << "later rows see its value: '" << said << "'";
}

/// Of two sampled rows the first sees one key and the last two, of nearly the same weight, which is why a plain computation
/// puts little off here.
TEST(Verifier, AllowsTheRoundingOfFewWeights) {
  StackCase chosen = one_batch(DType::bf16);
  chosen.model.attention.softmax_scale = 0.001;
  chosen.model.pattern = "L";
  chosen.model.local_masks = {{.causal = true, .window_size = {1, 0}}};
  const auto said = [&](float slip) {
    return complaint(chosen, {"", "", [&](const Place& p) { p.spoil_out(slip); }}, seq_len - 1, 2);
  };
  EXPECT_EQ(said(0.004F), "");
  EXPECT_TRUE(said(0.02F).starts_with("layer 1: out of row 60")) << "'" << said(0.02F) << "'";
}

/// Of a row to which every rank adds so many keys of the same weight, of which `seen` have values of +-1 and +-3, others of 0.
double weight_rounding(double keys, double seen) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  stack::AttentionPart sums{0, keys, {0, 0}};
  if (keys == 0) sums.max = -std::numeric_limits<double>::infinity();
  const stack::AttentionParts part{sums, sums, {seen, 3 * seen}, {seen, 9 * seen}, 0};
  return stack::MergedParts(comm, {&part, 1}, 2).weight_rounding(0);
}

TEST(MergedParts, AllowLessForTheRoundingOfManyWeights) {
  const double ranks = Communicator::duplicate(MPI_COMM_WORLD).size();
  EXPECT_EQ(weight_rounding(0, 0), 0) << "no key";
  EXPECT_EQ(weight_rounding(1, 1), 3) << "sum p|v|: so few do not cancel";
  EXPECT_DOUBLE_EQ(weight_rounding(64 / ranks, 64 / ranks), 3 * 4 / 8.0);
  EXPECT_DOUBLE_EQ(weight_rounding(6400 / ranks, 6400 / ranks), 3 * 4 / 80.0);
  EXPECT_DOUBLE_EQ(weight_rounding(6400, 1), 3.0 / 6400) << "nor do those few that are not 0";
}

TEST(Verifier, ReportsErrorsThatAreSmallButThere) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  StackRun run(comm, one_batch(DType::f32));
  stack::Stack& stack = run.stack();
  const stack::Verifier verifier(comm, stack.model(), stack.layout(), stack.workers(), 12, 4);
  stack.forward([&](const stack::LayerView& view) {
    const stack::LayerErrors errors = verifier.check(view);
    EXPECT_GT(errors.max_abs_error, 0);
    EXPECT_LT(errors.max_rel_error, 1e-5);
  });
}

TEST(Verifier, TakesMemoryOfOneShard) {
  const StackCase chosen = one_batch(DType::f32);
  const std::uint64_t few = stack::Verifier::bytes(chosen.model, 1000, 8, 1);
  const std::uint64_t many = stack::Verifier::bytes(chosen.model, 2000, 8, 1);
  EXPECT_EQ(many - few, 1000 * sizeof(double)) << "a score per key of the shard";
}

}  // namespace
}  // namespace annulus::test
