/// The CUDA runtime behind Device.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_device.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>

#include "kernels/cuda/cuda_error.hpp"
#include "kernels/cuda/dispatch.hpp"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/launch_clock.hpp"
#include "kernels/cuda/tensor_map.hpp"

namespace annulus::kernels::cuda {
namespace {

/// Slim builds (ANNULUS_CUDA_KERNELS) have one instance of each family.
template <class T, int width>
constexpr bool is_built = ANNULUS_ALL_CUDA_KERNELS != 0 || (std::is_same_v<T, bf16> && width == 128);

constexpr bool hopper_is_built = ANNULUS_HOPPER_KERNELS != 0;
constexpr int hopper_capability = 90;
constexpr int oldest_capability = 80;  ///< 8.0: mma.sync with bf16, cp.async
constexpr std::int64_t slot_bytes = std::int64_t{4} << 20;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

int capability(int device) {
  int major = 0;
  int minor = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "tell its generation");
  check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "tell its generation");
  return major * 10 + minor;
}

int processors() {
  int device = 0;
  int count = 0;
  check_cuda(cudaGetDevice(&device), "tell which one is chosen");
  check_cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "tell how many processors it has");
  return count;
}

/// Code for sm_90a runs on devices of capability 9.0 and on no others.
bool runs_hopper_kernels() {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "tell which one is chosen");
  return hopper_is_built && capability(device) == hopper_capability;
}

/// Pinned memory that one copy at a time goes through.
struct Slot {
  void* memory = nullptr;
  cudaEvent_t passed = nullptr;  ///< when the copy is over
};

class CudaDevice final : public Device {
 public:
  CudaDevice() {
    for (cudaStream_t& stream : streams_) {
      check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "create a stream");
    }
    allocated_ = create_event();
    for (Slot& slot : slots_) {
      check_cuda(cudaMallocHost(&slot.memory, static_cast<std::size_t>(slot_bytes)), "allocate pinned memory");
      check_cuda(cudaEventCreateWithFlags(&slot.passed, cudaEventDisableTiming), "create an event");
    }
  }

  void* allocate(std::int64_t bytes) override {
    void* memory = nullptr;
    const cudaError_t code = cudaMallocAsync(&memory, static_cast<std::size_t>(bytes), stream(Line::copies));
    if (code == cudaErrorMemoryAllocation) refuse(bytes);
    check_cuda(code, "allocate memory");
    record(allocated_, Line::copies);
    for (const Line line : all_lines) wait(line, allocated_);
    return memory;
  }

  /// Runs in destructors, so a failure shows at the next call.
  void release(void* memory) noexcept override {
    for (const Line line : all_lines) {
      static_cast<void>(cudaEventRecord(static_cast<cudaEvent_t>(allocated_), stream(line)));
      static_cast<void>(cudaStreamWaitEvent(stream(Line::kernels), static_cast<cudaEvent_t>(allocated_), 0));
    }
    static_cast<void>(cudaFreeAsync(memory, stream(Line::kernels)));
  }

  void* allocate_for_peers(std::int64_t bytes) override {
    trim_pool();
    void* memory = nullptr;
    const cudaError_t code = cudaMalloc(&memory, static_cast<std::size_t>(bytes));
    if (code == cudaErrorMemoryAllocation) refuse(bytes);
    check_cuda(code, "allocate memory");
    return memory;
  }
  void release_for_peers(void* memory) noexcept override {
    for (const Line line : all_lines) static_cast<void>(cudaStreamSynchronize(stream(line)));
    static_cast<void>(cudaFree(memory));
  }

  void* allocate_pinned(std::int64_t bytes) override {
    void* memory = nullptr;
    check_cuda(cudaMallocHost(&memory, static_cast<std::size_t>(bytes)), "allocate pinned memory");
    return memory;
  }
  void release_pinned(void* memory) noexcept override { static_cast<void>(cudaFreeHost(memory)); }

  void* create_event() override {
    cudaEvent_t event = nullptr;
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "create an event");
    return event;
  }
  void destroy_event(void* event) noexcept override {
    static_cast<void>(cudaEventDestroy(static_cast<cudaEvent_t>(event)));
  }
  void record(void* event, Line line) override {
    check_cuda(cudaEventRecord(static_cast<cudaEvent_t>(event), stream(line)), "record an event");
  }
  void wait(Line line, void* event) override {
    check_cuda(cudaStreamWaitEvent(stream(line), static_cast<cudaEvent_t>(event), 0), "wait for an event");
  }
  bool passed(void* event) override {
    const cudaError_t code = cudaEventQuery(static_cast<cudaEvent_t>(event));
    if (code == cudaErrorNotReady) {
      static_cast<void>(cudaGetLastError());  // no error, and none for the next launch to report
      return false;
    }
    check_cuda(code, "compute");
    return true;
  }

  void upload(void* to, const void* from, std::int64_t bytes, const Progress& progress) override {
    for (std::int64_t done = 0; done < bytes; done += slot_bytes) {
      const auto count = static_cast<std::size_t>(std::min(slot_bytes, bytes - done));
      Slot& slot = next_slot();
      drain(slot, progress);
      std::memcpy(slot.memory, static_cast<const std::byte*>(from) + done, count);
      copy_through(slot, static_cast<std::byte*>(to) + done, slot.memory, count, cudaMemcpyHostToDevice);
    }
  }

  /// The next piece travels while the host takes one out of its slot.
  void download(void* to, const void* from, std::int64_t bytes, const Progress& progress) override {
    const std::int64_t pieces = ceil_div(bytes, slot_bytes);
    const auto size = [&](std::int64_t piece) {
      return static_cast<std::size_t>(std::min(slot_bytes, bytes - piece * slot_bytes));
    };
    std::array<Slot*, 2> slot_of{};
    for (std::int64_t piece = 0; piece <= pieces; ++piece) {
      if (piece < pieces) {
        Slot*& slot = slot_of[static_cast<std::size_t>(piece % 2)];
        slot = &next_slot();
        drain(*slot, progress);
        const auto* const source = static_cast<const std::byte*>(from) + piece * slot_bytes;
        copy_through(*slot, slot->memory, source, size(piece), cudaMemcpyDeviceToHost);
      }
      if (piece == 0) continue;
      Slot& landed = *slot_of[static_cast<std::size_t>((piece - 1) % 2)];
      drain(landed, progress);
      std::memcpy(static_cast<std::byte*>(to) + (piece - 1) * slot_bytes, landed.memory, size(piece - 1));
    }
  }

  void copy(Line line, void* to, const void* from, std::int64_t bytes) override {
    check_cuda(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault, stream(line)), "copy");
  }
  void clear(Line line, void* to, std::int64_t bytes) override {
    check_cuda(cudaMemsetAsync(to, 0, static_cast<std::size_t>(bytes), stream(line)), "clear memory");
  }
  void add(Line line, const AddArgs& args) override {
    launch<AddKernel>(ceil_div(args.quads, AddKernel::threads), args, stream(line));
  }
  void* native_stream(Line line) override { return stream(line); }

  ForwardTiles forward_tiles(const KernelKind& kind) const override { return dispatch_.forward_tiles(kind); }
  BackwardTiles backward_tiles(const KernelKind& kind) const override { return dispatch_.backward_tiles(kind); }
  void forward(const KernelKind& kind, std::int64_t places, const ForwardArgs& args) override {
    check_built(kind);
    dispatch_.forward(kind, places, args, tensor_map, [&]<class Kernel>(std::int64_t blocks, const auto& own) {
      launch_if_built<Kernel>(blocks, own);
    });
  }
  void backward(const KernelKind& kind, Gradients wanted, std::int64_t blocks, const BackwardArgs& args) override {
    check_built(kind);
    dispatch_.backward(kind, wanted, args, tensor_map,
                       [&]<class Kernel>(const auto& own) { launch_if_built<Kernel>(blocks, own); });
  }
  void finish(DType out, int width, const FinishArgs& args) override {
    const std::int64_t rows = std::int64_t{args.batch} * args.heads * args.rows;
    with_finish_kernel(out, width,
                       [&]<class Kernel>() { launch<Kernel>(ceil_div(rows, Kernel::warps), args, stream(Line::kernels)); });
  }
  void delta(const KernelKind& kind, const DeltaArgs& args) override {
    with_delta_kernel(kind, [&]<class Kernel>() { launch<Kernel>(ceil_div(args.rows, Kernel::warps), args, stream(Line::kernels)); });
  }
  void order_dq(int width, std::int64_t rows, const DqRowsArgs& args) override {
    with_dq_rows_kernel(width, [&]<class Kernel>() {
      launch<Kernel>(rows * width / Kernel::Shares::tile, args, stream(Line::kernels));
    });
  }
  double take_seconds() { return clock_.take(); }
  cudaStream_t stream(Line line) const { return streams_[static_cast<std::size_t>(line)]; }

 private:
  /// Gives back what released memory still takes: pools do so only when a stream, an event or the device is waited for.
  static void trim_pool() {
    cudaMemPool_t pool = nullptr;
    int device = 0;
    check_cuda(cudaGetDevice(&device), "tell which one is chosen");
    check_cuda(cudaDeviceGetDefaultMemPool(&pool, device), "tell its pool of memory");
    check_cuda(cudaMemPoolTrimTo(pool, 0), "give memory back");
  }

  [[noreturn]] static void refuse(std::int64_t bytes) {
    static_cast<void>(cudaGetLastError());  // else the next launch reports it once more
    std::size_t free = 0;
    std::size_t total = 0;
    check_cuda(cudaMemGetInfo(&free, &total), "tell its free memory");
    refuse_memory(bytes, free, total);
  }

  template <class Kernel>
  void launch_if_built(std::int64_t blocks, const typename Kernel::Args& args) {
    constexpr bool has_architecture = hopper_is_built || !is_hopper_kernel<Kernel>;
    if constexpr (has_architecture && is_built<typename Kernel::Element, Kernel::row_width>) {
      clock_.time(stream(Line::kernels), [&] { launch<Kernel>(blocks, args, stream(Line::kernels)); });
    }
  }
  static void check_built(const KernelKind& kind) {
    with_element_and_width(kind.dtype, kind.width, [&](auto element, auto width) {
      if (is_built<decltype(element), decltype(width)::value>) return;
      throw UsageError("this build has no cuda kernels for " + std::string(name(kind.dtype)) + " at head_dim up to " +
                       std::to_string(kind.width) +
                       " (only those for bf16 at 128); try a build with -D ANNULUS_CUDA_KERNELS=all");
    });
  }

  Slot& next_slot() {
    turn_ ^= 1U;
    return slots_[turn_];
  }
  void copy_through(const Slot& slot, void* to, const void* from, std::size_t bytes, cudaMemcpyKind direction) {
    check_cuda(cudaMemcpyAsync(to, from, bytes, direction, stream(Line::copies)), "copy");
    check_cuda(cudaEventRecord(slot.passed, stream(Line::copies)), "record an event");
  }
  static void drain(const Slot& slot, const Progress& progress) {
    auto last = std::chrono::steady_clock::now();
    for (;;) {
      const cudaError_t code = cudaEventQuery(slot.passed);
      if (code != cudaErrorNotReady) return check_cuda(code, "compute");
      const auto now = std::chrono::steady_clock::now();
      if (progress && now - last > std::chrono::microseconds(100)) {
        progress();
        last = now;
      }
      std::this_thread::yield();
    }
  }

  std::array<cudaStream_t, all_lines.size()> streams_{};  ///< by Line
  void* allocated_ = nullptr;              ///< orders memory between the lines
  std::array<Slot, 2> slots_;
  unsigned turn_ = 0;
  LaunchClock clock_;  ///< of attention kernels
  Dispatch dispatch_{runs_hopper_kernels(), processors()};
};

}  // namespace

void check_cuda(int code, const char* doing) {
  if (code != cudaSuccess) throw CudaError(code, cudaGetErrorString(static_cast<cudaError_t>(code)), doing);
}

std::string device_absence() {
  int devices = 0;
  const cudaError_t code = cudaGetDeviceCount(&devices);
  if (code != cudaSuccess || devices == 0) {
    int driver = 0;
    static_cast<void>(cudaDriverGetVersion(&driver));  // 0: there is none
    static_cast<void>(cudaGetLastError());
    return "no GPU is found (CUDA: " + std::string(cudaGetErrorString(code)) + "; the driver supports " +
           version_text(driver) + ", this build was made with " + version_text(CUDART_VERSION) + ")";
  }
  int device = 0;
  check_cuda(cudaGetDevice(&device), "tell which one is chosen");
  const int found = capability(device);
  if (found >= oldest_capability) return {};
  return "GPU " + std::to_string(device) + " has compute capability " + std::to_string(found / 10) + "." +
         std::to_string(found % 10) + " (the kernels need 8.0)";
}

namespace {
CudaDevice& only_device() {
  static CudaDevice* const device = new CudaDevice;  // never deleted: the runtime may be gone before static objects
  return *device;
}
}  // namespace

Device& cuda_device() { return only_device(); }
CUstream_st* line_stream(Line line) { return only_device().stream(line); }
double take_device_seconds() { return only_device().take_seconds(); }

}  // namespace annulus::kernels::cuda
