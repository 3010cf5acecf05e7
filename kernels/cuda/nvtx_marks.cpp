/// NVTX 3 is headers alone: without a profiler a mark is a jump through a pointer.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/nvtx_marks.hpp"

#include <nvtx3/nvToolsExt.h>

namespace annulus::kernels::cuda {
namespace {

nvtxDomainHandle_t domain() {
  static const nvtxDomainHandle_t handle = nvtxDomainCreateA("annulus");
  return handle;
}

void begin(const char* name, std::int64_t number) {
  nvtxEventAttributes_t event{};
  event.version = NVTX_VERSION;
  event.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  event.messageType = NVTX_MESSAGE_TYPE_ASCII;
  event.message.ascii = name;
  if (number >= 0) {
    event.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    event.payload.llValue = number;
  }
  nvtxDomainRangePushEx(domain(), &event);
}

void end() { nvtxDomainRangePop(domain()); }

}  // namespace

RangeMarks nvtx_marks() { return {begin, end}; }

}  // namespace annulus::kernels::cuda
