/// Each call tells a line of the device, and holds back the lines that must see it.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/device_carrier.hpp"

#include "kernels/base/buffer.hpp"

namespace annulus {
namespace {

using kernels::ByteRun;
using namespace kernels::cuda;

class DeviceCarrier final : public Carrier {
 public:
  DeviceCarrier(Device& device, std::shared_ptr<Mover> mover, const Lane& lane)
      : device_(device), mover_(std::move(mover)), lane_(lane), told_(device) {}

  kernels::Memory memory() const override { return kernels::Memory::device; }
  Room allocate(std::uint64_t bytes) override {
    if (bytes == 0) return {};
    auto* const memory = static_cast<std::byte*>(device_.allocate_for_peers(static_cast<std::int64_t>(bytes)));
    return {memory, [&device = device_](std::byte* room) { device.release_for_peers(room); }};
  }

  std::byte* view(std::byte*, std::uint64_t bytes) override {
    if (static_cast<std::uint64_t>(view_.size()) < bytes) view_ = Buffer<std::byte>(static_cast<std::int64_t>(bytes));
    return view_.data();
  }
  void push(std::byte* room, std::uint64_t bytes) override {
    if (bytes > 0) device_.upload(room, view_.data(), static_cast<std::int64_t>(bytes), {});
    order(Line::copies, lane_.readers);
    order(Line::copies, lane_.out);
  }
  const std::byte* pull(const std::byte* room, std::uint64_t bytes) override {
    std::byte* const host = view(nullptr, bytes);
    order(lane_.readers, Line::copies);
    if (bytes > 0) device_.download(host, room, static_cast<std::int64_t>(bytes), {});
    return host;
  }

  Journey send(const std::byte* array, Runs runs, int to, int tag) override {
    return mover_->send(lane_, array, runs, to, tag);
  }
  Journey receive(std::byte* array, Runs runs, int from, int tag) override {
    order(lane_.readers, lane_.in);
    return mover_->receive(lane_, array, runs, from, tag);
  }
  void landed() override {
    order(lane_.in, lane_.readers);
    order(lane_.in, lane_.out);
  }

  void clear(std::byte* to, Runs runs) override {
    for (const ByteRun& run : runs) device_.clear(lane_.readers, to + run.offset, static_cast<std::int64_t>(run.bytes));
  }
  /// Kernels write the next share where they read this one.
  void add(DType, std::byte* to, const std::byte* from, Runs runs) override {
    for (const ByteRun& run : runs) {
      if (run.bytes == 0) continue;
      device_.add(lane_.readers, {.sum = reinterpret_cast<float*>(to + run.offset),
                                  .term = reinterpret_cast<const float*>(from + run.offset),
                                  .quads = static_cast<std::int64_t>(run.bytes / sizeof(Float4))});
    }
    order(lane_.readers, Line::kernels);
  }
  void copy(std::byte* to, Runs to_runs, const std::byte* from, Runs from_runs) override {
    kernels::each_common_run(to_runs, from_runs, [&](const ByteRun& target, std::uint64_t source) {
      device_.copy(lane_.readers, to + target.offset, from + source, static_cast<std::int64_t>(target.bytes));
    });
  }

 private:
  void begin_group() override { mover_->begin_group(); }
  void end_group() override { mover_->end_group(lane_); }
  void order(Line first, Line then) {
    if (first == then) return;
    told_.record(first);
    told_.hold(then);
  }

  Device& device_;
  std::shared_ptr<Mover> mover_;
  Lane lane_;
  DeviceEvent told_;
  Buffer<std::byte> view_;
};

}  // namespace

Carriers device_carriers(Device& device, std::shared_ptr<Mover> mover) {
  const Lane blocks{Line::blocks_in, Line::blocks_out, Line::kernels};
  const Lane sums{Line::sums_in, Line::sums_out, Line::sums_out};
  return {std::make_unique<DeviceCarrier>(device, mover, blocks), std::make_unique<DeviceCarrier>(device, mover, sums)};
}

}  // namespace annulus
