/// A group is one work of its line: it posts all messages, then waits for them. Calls are in progress twice before they are done.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/emulated_nccl.hpp"

#include <mpi.h>
#include <nccl.h>

#include <stdexcept>
#include <vector>

#include "tests/support/emulated_device.hpp"

namespace {

struct Message {
  void* memory;
  int bytes;
  int peer;
  bool incoming;
};

struct Group {
  bool open = false;
  std::vector<Message> messages;
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
};
Group group;

void require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

ncclResult_t add(const Message& message, ncclComm_t comm, cudaStream_t stream) {
  require(group.open, "an operation outside of a group");
  require(message.bytes > 0, "an operation without bytes");
  require(group.stream == nullptr || group.stream == stream, "a group of several streams");
  group.messages.push_back(message);
  group.comm = comm;
  group.stream = stream;
  return ncclSuccess;
}

/// Both sides name the same number of bytes, or NCCL hangs.
void move(const std::vector<Message>& messages, MPI_Comm comm) {
  std::vector<MPI_Request> requests;
  std::vector<MPI_Status> statuses(messages.size());
  for (const Message& message : messages) {
    MPI_Request& request = requests.emplace_back();
    message.incoming ? MPI_Irecv(message.memory, message.bytes, MPI_BYTE, message.peer, 0, comm, &request)
                     : MPI_Isend(message.memory, message.bytes, MPI_BYTE, message.peer, 0, comm, &request);
  }
  MPI_Waitall(static_cast<int>(requests.size()), requests.data(), statuses.data());
  for (std::size_t i = 0; i < messages.size(); ++i) {
    int received = 0;
    MPI_Get_count(&statuses[i], MPI_BYTE, &received);
    require(!messages[i].incoming || received == messages[i].bytes, "a peer sends another number of bytes");
  }
}

}  // namespace

struct ncclComm {
  MPI_Comm comm = MPI_COMM_NULL;
  int in_progress = 2;
};

namespace annulus::test {
EmulatedNccl& emulated_nccl() {
  static EmulatedNccl ours;
  return ours;
}
}  // namespace annulus::test

using annulus::test::emulated_nccl;

ncclResult_t ncclGetVersion(int* version) {
  *version = 22803;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t code) { return code == ncclRemoteError ? "remote error" : "another error"; }
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  id->internal[0] = 'a';
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int, ncclUniqueId id, int, ncclConfig_t* config) {
  require(id.internal[0] == 'a', "an id that rank 0 has not made");
  require(config->blocking == 0, "a communicator that blocks");
  *comm = new ncclComm;
  MPI_Comm_dup(MPI_COMM_WORLD, &(*comm)->comm);
  return ncclInProgress;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  comm->in_progress = 2;
  return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  require(comm->in_progress == 0, "destroyed before it is finalised");
  MPI_Comm_free(&comm->comm);
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  *state = emulated_nccl().broken ? ncclRemoteError : comm->in_progress > 0 ? ncclInProgress : ncclSuccess;
  if (comm->in_progress > 0) --comm->in_progress;
  return ncclSuccess;
}
ncclResult_t ncclGroupStart() {
  require(!group.open, "a group in a group");
  group = {};
  group.open = true;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  group.open = false;
  if (group.messages.empty()) return ncclSuccess;
  require(group.comm->in_progress == 0, "a launch while another call is in progress");
  ++emulated_nccl().launches;
  group.comm->in_progress = 2;
  annulus::test::EmulatedDevice::of_stream(
      group.stream, [messages = group.messages, comm = group.comm->comm] { move(messages, comm); });
  return ncclInProgress;
}
ncclResult_t ncclSend(const void* from, std::size_t count, ncclDataType_t, int peer, ncclComm_t comm, cudaStream_t stream) {
  return add({const_cast<void*>(from), static_cast<int>(count), peer, false}, comm, stream);
}
ncclResult_t ncclRecv(void* to, std::size_t count, ncclDataType_t, int peer, ncclComm_t comm, cudaStream_t stream) {
  return add({to, static_cast<int>(count), peer, true}, comm, stream);
}
