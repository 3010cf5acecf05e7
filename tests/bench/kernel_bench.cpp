/// Rates of the kernel rows on one core: `kernel_bench [rows [backend...]]`, and of causal windows against dense causal:
/// `kernel_bench window [rows [backend...]]`. Not a test: it judges nothing.
/// Times whole passes (packing and finish included) and the attend step alone in CPU time of this thread, which other
/// jobs on the machine disturb less than the clock on the wall, and prints the median over many of them and its share
/// of the f32 multiply-add peak, measured in between.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "kernels/simd/peak.hpp"
#include "tests/bench/cpu_time.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

using kernels::Direction;

/// GFLOP/s of nothing but multiply-adds.
double peak(double (*burst)(std::int64_t rounds)) {
  const double start = cpu_seconds();
  const double flops = burst(20'000);  // 50 us
  return flops / (cpu_seconds() - start) / 1e9;
}

/// Both peaks in turns, as the kernels meet them.
void measure_peaks() {
  std::vector<double> f32;
  std::vector<double> bf16;
  for (int i = 0; i < 2000; ++i) {
    f32.push_back(peak(kernels::simd::multiply_add_burst));
    bf16.push_back(peak(kernels::simd::bf16_multiply_add_burst));
  }
  std::printf("peak: f32 %.1f GFLOP/s, bf16 pairs %.1f GFLOP/s (0: no such instructions)\n", median(f32), median(bf16));
}

struct Shape {
  std::int64_t rows;
  std::int64_t head_dim;
  DType dtype;
  bool causal;
  std::int64_t window = 0;  ///< causal only: keys that a row sees; 0: all before it

  std::int64_t first_key(std::int64_t row) const {
    return window > 0 ? std::max<std::int64_t>(row + 1 - window, 0) : 0;
  }
  std::int64_t end_key(std::int64_t row) const { return causal ? row + 1 : rows; }
};

/// One head attending to one block, with everything that a pass needs.
class Subject {
 public:
  Subject(const Shape& shape, const kernels::KernelTable& table) : shape_(shape), table_(table) {
    const auto positions = all_positions(shape.rows);
    for (const Role role : {Role::q, Role::k, Role::v, Role::dout}) {
      inputs_.push_back(random_tensor(shape.dtype, 1, role, 1, positions, 1, shape.head_dim));
    }
    out_ = Tensor(DType::f32, 1, shape.rows, 1, shape.head_dim);
    for (Tensor* gradient : {&dq_, &dk_, &dv_}) *gradient = Tensor(DType::f32, 1, shape.rows, 1, shape.head_dim);
    lse_.resize(positions.size());
    for (const std::int64_t row : positions) spans_.push_back({shape.first_key(row), shape.end_key(row)});
    problem_.q_rows = shape.rows;
    problem_.head_dim = shape.head_dim;
    problem_.dtype = shape.dtype;
    problem_.softmax_scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
    block_ = {1, shape.rows, 1, shape.head_dim, shape.dtype};
    gradient_ = Buffer<float>(table.gradient_elements(block_));
  }

  /// CPU seconds of the attend step; `whole` receives those of the pass.
  double run(Direction direction, double& whole) {
    const double start = cpu_seconds();
    Buffer<std::byte> packed(static_cast<std::int64_t>(table_.packed_bytes(block_, direction)));
    table_.pack(block_, direction, inputs_[1].view(), inputs_[2].view(), packed.data(), workers_);
    const kernels::Block block{block_, packed.data(), {}};
    const double step = direction == Direction::forward ? forward(block) : backward(block);
    whole = cpu_seconds() - start;
    return step;
  }

  double flops(Direction direction) const {
    double pairs = 0;
    for (const kernels::RowSpan& span : spans_) pairs += static_cast<double>(span.rows());
    return (direction == Direction::forward ? 4 : 10) * pairs * static_cast<double>(shape_.head_dim);
  }

 private:
  RowStats lse() { return dense_stats(lse_.data(), 1, 1, shape_.rows); }

  double forward(const kernels::Block& block) {
    const auto pass = table_.forward(problem_, inputs_[0].view(), {workers_, memory_});
    const double start = cpu_seconds();
    pass->attend(block, {spans_, 1}, {});
    const double step = cpu_seconds() - start;
    pass->finish(out_.view(), lse());
    return step;
  }

  double backward(const kernels::Block& block) {
    const auto pass = table_.backward(problem_, {inputs_[0].view(), out_.view(), inputs_[3].view(), lse()}, {workers_, memory_});
    const double start = cpu_seconds();
    auto* const gradient = reinterpret_cast<std::byte*>(gradient_.data());
    pass->attend(block, {spans_, 1}, gradient, {});
    const double step = cpu_seconds() - start;
    pass->finish(dq_.view(), {});
    table_.unpack_gradient(block_, gradient, dk_.view(), dv_.view());
    return step;
  }

  Shape shape_;
  const kernels::KernelTable& table_;
  Workers workers_{1};
  BufferPool memory_;
  std::vector<Tensor> inputs_;
  Tensor out_;
  Tensor dq_;
  Tensor dk_;
  Tensor dv_;
  std::vector<float> lse_;
  std::vector<kernels::RowSpan> spans_;
  kernels::Problem problem_;
  kernels::BlockShape block_;
  Buffer<float> gradient_;
};

void measure(const Shape& shape, const kernels::KernelTable& table) {
  const bool pairs = shape.dtype == DType::bf16 && table.bf16_products;
  Subject subject(shape, table);
  for (const Direction direction : {Direction::forward, Direction::backward}) {
    std::vector<double> steps;
    std::vector<double> wholes;
    std::vector<double> peaks;
    for (double spent = 0; spent < 1 || steps.size() < 3; spent += wholes.back()) {
      wholes.emplace_back();
      steps.push_back(subject.run(direction, wholes.back()));
      peaks.push_back(peak(pairs ? kernels::simd::bf16_multiply_add_burst : kernels::simd::multiply_add_burst));
    }
    const double giga_flops = subject.flops(direction) / 1e9;
    const double step = giga_flops / median(steps);
    const double whole = giga_flops / median(wholes);
    std::printf("%-9s %-8s %-4s d%-3lld %-6s n=%-5lld attend %6.1f (%2.0f %%)  whole %6.1f (%2.0f %%) GFLOP/s\n",
                std::string(table.name).c_str(), direction == Direction::forward ? "forward" : "backward",
                std::string(name(shape.dtype)).c_str(), static_cast<long long>(shape.head_dim),
                shape.causal ? "causal" : "full", static_cast<long long>(shape.rows), step, 100 * step / median(peaks),
                whole, 100 * whole / median(peaks));
    std::fflush(stdout);
  }
}

/// GFLOP/s of the attend step, medians of runs that take turns, so that the machine's moods meet all shapes alike.
std::vector<double> rates_in_turns(const std::vector<Shape>& shapes, const kernels::KernelTable& table,
                                   Direction direction) {
  std::vector<std::unique_ptr<Subject>> subjects;
  std::vector<std::vector<double>> seconds(shapes.size());
  for (const Shape& shape : shapes) subjects.push_back(std::make_unique<Subject>(shape, table));
  double whole = 0;
  for (int round = 0; round < 5; ++round) {
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      for (int run = 0; run < (i == 0 ? 1 : 4); ++run) seconds[i].push_back(subjects[i]->run(direction, whole));
    }
  }
  std::vector<double> rates;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    rates.push_back(subjects[i]->flops(direction) / median(seconds[i]) / 1e9);
  }
  return rates;
}

void measure_windows(std::int64_t rows, std::int64_t head_dim, DType dtype, const kernels::KernelTable& table) {
  const std::vector<Shape> shapes{
      {rows, head_dim, dtype, true}, {rows, head_dim, dtype, true, 1024}, {rows, head_dim, dtype, true, 256}};
  for (const Direction direction : {Direction::forward, Direction::backward}) {
    const std::vector<double> rates = rates_in_turns(shapes, table, direction);
    std::printf("%-11s %-8s %-4s d%-3lld causal n=%lld %6.1f GFLOP/s  W=1024 %5.1f %%  W=256 %5.1f %%\n",
                std::string(table.name).c_str(), direction == Direction::forward ? "forward" : "backward",
                std::string(name(dtype)).c_str(), static_cast<long long>(head_dim), static_cast<long long>(rows),
                rates[0], 100 * rates[1] / rates[0], 100 * rates[2] / rates[0]);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace annulus::test

int main(int argc, char** argv) {
  using namespace annulus;
  std::vector<std::string> words(argv + 1, argv + argc);
  const bool windows = !words.empty() && words.front() == "window";
  if (windows) words.erase(words.begin());
  const std::int64_t rows = words.empty() ? (windows ? 16384 : 1536) : std::atoll(words.front().c_str());
  const std::vector<std::string> wanted(words.begin() + std::min<std::ptrdiff_t>(std::ssize(words), 1), words.end());
  if (!windows) test::measure_peaks();
  for (const kernels::KernelTable& table : kernels::kernel_tables()) {
    const bool named = std::find(wanted.begin(), wanted.end(), table.name) != wanted.end();
    if (!table.unavailable.empty() || (wanted.empty() ? table.name == "reference" : !named)) continue;
    for (const std::int64_t head_dim : {64, 128}) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        if (windows) test::measure_windows(rows, head_dim, dtype, table);
        for (const bool causal : {false, true}) {
          if (!windows) test::measure({rows, head_dim, dtype, causal}, table);
        }
      }
    }
  }
}
