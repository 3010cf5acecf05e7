/// One message per journey (or per 256 MiB), started when its memory is ready.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/aware_mover.hpp"

#include <optional>
#include <vector>

#include "runtime/comm/transfer_plan.hpp"
#include "runtime/device/passage.hpp"

namespace annulus {
namespace {

using kernels::ByteRun;
using kernels::cuda::Device;
using kernels::cuda::DeviceEvent;

class AwarePassage final : public Passage {
 public:
  using Start = std::function<Transfer(std::span<const ByteRun>)>;
  /// Its memory is ready when `line` has done what it was told so far.
  AwarePassage(Device& device, kernels::cuda::Line line, std::span<const ByteRun> runs, const Channel& channel, Start start)
      : Passage(channel, sum_of(runs)), ready_(device), runs_(runs.begin(), runs.end()), start_(std::move(start)) {
    ready_.record(line);
  }

  bool started_all() const override { return message_.has_value(); }
  bool is_over() const override { return is_over_; }
  void move_on(bool may_start) override {
    if (!message_ && may_start && ready_.passed()) message_ = start_(runs_);
    if (message_ && !is_over_) is_over_ = message_->test();
  }

 private:
  DeviceEvent ready_;
  std::vector<ByteRun> runs_;
  Start start_;
  std::optional<Transfer> message_;
  bool is_over_ = false;
};

class AwareMover final : public Mover {
 public:
  AwareMover(Device& device, const Communicator& comm) : device_(device), comm_(comm), passages_(comm) {}

  Journey send(const Lane& lane, const std::byte* array, Runs runs, int to, int tag) override {
    return begin(lane.out, runs, {false, to, tag},
                 [=, this](Runs own) { return Transfer::send(comm_, array, own, to, tag); });
  }
  Journey receive(const Lane& lane, std::byte* array, Runs runs, int from, int tag) override {
    return begin(lane.in, runs, {true, from, tag},
                 [=, this](Runs own) { return Transfer::receive(comm_, array, own, from, tag); });
  }

 private:
  Journey begin(kernels::cuda::Line line, Runs runs, const Channel& channel, AwarePassage::Start start) {
    return passages_.begin(std::make_shared<AwarePassage>(device_, line, runs, channel, std::move(start)),
                           plan_transfer(runs).size());
  }

  Device& device_;
  const Communicator& comm_;
  Passages passages_;
};

}  // namespace

std::unique_ptr<Mover> aware_mover(Device& device, const Communicator& comm) {
  return std::make_unique<AwareMover>(device, comm);
}

}  // namespace annulus
