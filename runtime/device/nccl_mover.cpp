/// All of a group's sends and receives are one launch on the lane's way in: no rank waits there for one to begin another.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/nccl_mover.hpp"

#include <nccl.h>

#include <array>
#include <cstdio>
#include <exception>
#include <vector>

#include "runtime/comm/agreement.hpp"
#include "runtime/comm/transfer_plan.hpp"
#include "runtime/comm/vigil.hpp"

namespace annulus {
namespace {

using kernels::ByteRun;
using kernels::cuda::Device;
using kernels::cuda::DeviceArray;
using kernels::cuda::DeviceEvent;

void check_nccl(ncclResult_t code, const char* doing) {
  if (code == ncclSuccess || code == ncclInProgress) return;
  throw Error(ExitCode::communication, "NCCL failed to " + std::string(doing) + " (" + ncclGetErrorString(code) +
                                           "); try NCCL_DEBUG=WARN to see why, or --exchange messages");
}

/// A communicator that never blocks: whoever waits for it looks at the clock, too.
class NcclRanks {
 public:
  explicit NcclRanks(const Communicator& comm) : comm_(comm) {
    ncclUniqueId id{};
    together(comm, [&] {
      if (comm.rank() == 0) check_nccl(ncclGetUniqueId(&id), "begin");
    });
    comm.broadcast(std::as_writable_bytes(std::span(id.internal)), 0);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const Verdict mine = verdict_of([&] {
      check_nccl(ncclCommInitRankConfig(&ranks_, comm.size(), id, comm.rank(), &config), "connect the ranks");
      settle("connect the ranks");
    });
    try {
      agree(comm, mine);
    } catch (...) {
      if (ranks_ != nullptr) static_cast<void>(ncclCommAbort(ranks_));
      throw;
    }
  }
  /// Where an exception unwinds, or something has failed, the others do not come to the end.
  ~NcclRanks() {
    if (std::uncaught_exceptions() > 0 || !end()) static_cast<void>(ncclCommAbort(ranks_));
  }
  NcclRanks(const NcclRanks&) = delete;
  NcclRanks& operator=(const NcclRanks&) = delete;

  ncclComm_t raw() const { return ranks_; }
  /// Throws if a call has failed since, here or on the way.
  bool is_in_progress(const char* doing) const {
    ncclResult_t state = ncclSuccess;
    check_nccl(ncclCommGetAsyncError(ranks_, &state), doing);
    check_nccl(state, doing);
    return state == ncclInProgress;
  }
  void settle(const char* doing) const {
    await(comm_, {doing}, [&] { return !is_in_progress(doing); });
  }

 private:
  bool end() const noexcept {
    const Verdict verdict = verdict_of([this] {
      check_nccl(ncclCommFinalize(ranks_), "end");
      settle("end");
      check_nccl(ncclCommDestroy(ranks_), "end");
    });
    if (verdict.code != ExitCode::done) std::fprintf(stderr, "annulus: %s\n", verdict.message.c_str());
    return verdict.code == ExitCode::done;
  }

  const Communicator& comm_;
  ncclComm_t ranks_ = nullptr;
};

/// What a group's journeys wait for.
struct Launch {
  Launch(Device& device, const NcclRanks& its_ranks) : ranks(its_ranks), done(device) {}
  bool is_over() {
    over = over || (begun && !ranks.is_in_progress("move blocks") && done.passed());
    return over;
  }
  const NcclRanks& ranks;
  DeviceEvent done;
  bool begun = false;
  bool over = false;
};

class ByLaunch final : public Journey::Way {
 public:
  ByLaunch(const Communicator& comm, std::shared_ptr<Launch> launch, const Awaited& awaited)
      : comm_(comm), launch_(std::move(launch)), awaited_(awaited) {}
  ~ByLaunch() override {
    try {
      if (launch_->begun) wait();
    } catch (const Error& error) {
      std::fprintf(stderr, "annulus: a journey failed while its owner was destroyed: %s\n", error.what());
    }
  }
  bool test() override { return launch_->is_over(); }
  void wait() override {
    await(comm_, awaited_, [this] { return launch_->is_over(); });
  }

 private:
  const Communicator& comm_;
  std::shared_ptr<Launch> launch_;
  Awaited awaited_;
};

class NcclMover final : public Mover {
 public:
  NcclMover(Device& device, const Communicator& comm) : device_(device), comm_(comm), ranks_(comm), told_(device) {}

  Journey send(const Lane&, const std::byte* array, Runs runs, int to, int) override {
    return add({.out = array, .in = nullptr, .runs = {runs.begin(), runs.end()}, .peer = to}, "send");
  }
  Journey receive(const Lane&, std::byte* array, Runs runs, int from, int) override {
    return add({.out = nullptr, .in = array, .runs = {runs.begin(), runs.end()}, .peer = from}, "receive");
  }
  void begin_group() override {
    parts_.clear();
    launch_ = std::make_shared<Launch>(device_, ranks_);
  }
  void end_group(const Lane& lane) override {
    order(lane.out, lane.in);
    for (std::size_t at = 0; at < parts_.size(); ++at) gather(lane, at);
    launch(lane);
    for (std::size_t at = 0; at < parts_.size(); ++at) scatter(lane, at);
    launch_->done.record(lane.in);
    launch_->begun = true;
  }

 private:
  struct Part {
    const std::byte* out;
    std::byte* in;
    std::vector<ByteRun> runs;
    int peer;
    std::byte* place = nullptr;  ///< where its bytes lie together
  };

  Journey add(Part part, const char* doing) {
    const std::uint64_t bytes = sum_of(part.runs);
    if (bytes == 0) return {};
    const Awaited awaited{doing, part.peer, bytes};
    parts_.push_back(std::move(part));
    return {std::make_unique<ByLaunch>(comm_, launch_, awaited), 1, bytes};
  }

  /// NCCL moves bytes that lie together: others are copied, by the lane itself.
  void gather(const Lane& lane, std::size_t at) {
    Part& part = parts_[at];
    if (part.runs.size() == 1) {
      part.place = (part.in != nullptr ? part.in : const_cast<std::byte*>(part.out)) + part.runs[0].offset;
      return;
    }
    part.place = place_of(lane, at, sum_of(part.runs));
    std::byte* to = part.place;
    for (const ByteRun& run : part.runs) {
      if (part.out != nullptr) device_.copy(lane.in, to, part.out + run.offset, static_cast<std::int64_t>(run.bytes));
      to += run.bytes;
    }
  }

  void scatter(const Lane& lane, std::size_t at) {
    const Part& part = parts_[at];
    if (part.in == nullptr || part.runs.size() == 1) return;
    const std::byte* from = part.place;
    for (const ByteRun& run : part.runs) {
      device_.copy(lane.in, part.in + run.offset, from, static_cast<std::int64_t>(run.bytes));
      from += run.bytes;
    }
  }

  void launch(const Lane& lane) {
    auto* const stream = static_cast<cudaStream_t>(device_.native_stream(lane.in));
    check_nccl(ncclGroupStart(), "move blocks");
    for (const Part& part : parts_) {
      const std::size_t bytes = sum_of(part.runs);
      check_nccl(part.in != nullptr ? ncclRecv(part.place, bytes, ncclChar, part.peer, ranks_.raw(), stream)
                                    : ncclSend(part.place, bytes, ncclChar, part.peer, ranks_.raw(), stream),
                 "move blocks");
    }
    check_nccl(ncclGroupEnd(), "move blocks");
    ranks_.settle("move blocks");  // until it is on the stream: only then may the stream be told more
  }

  /// Kept, one per lane and place in a group: the lane's order keeps one use from the next.
  std::byte* place_of(const Lane& lane, std::size_t at, std::uint64_t bytes) {
    auto& places = places_[lane.in == kernels::cuda::Line::blocks_in ? 0 : 1];
    while (places.size() <= at) places.push_back(std::make_unique<DeviceArray<std::byte>>(device_));
    places[at]->reserve(static_cast<std::int64_t>(bytes));
    return places[at]->data();
  }

  void order(kernels::cuda::Line first, kernels::cuda::Line then) {
    told_.record(first);
    told_.hold(then);
  }

  Device& device_;
  const Communicator& comm_;
  NcclRanks ranks_;
  DeviceEvent told_;
  std::array<std::vector<std::unique_ptr<DeviceArray<std::byte>>>, 2> places_;
  std::vector<Part> parts_;  ///< of the group under way
  std::shared_ptr<Launch> launch_;
};

}  // namespace

std::string nccl_absence() { return {}; }

std::string nccl_version() {
  int version = 0;  // 22803: 2.28.3
  check_nccl(ncclGetVersion(&version), "tell its version");
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
}

std::unique_ptr<Mover> nccl_mover(Device& device, const Communicator& comm) {
  return std::make_unique<NcclMover>(device, comm);
}

}  // namespace annulus
