/// Nonblocking transfers in pieces.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/transfer.hpp"

#include <cstdio>
#include <utility>

#include "runtime/comm/transfer_plan.hpp"

namespace annulus {
namespace {

/// MPI's description of runs of one array, for as long as a message is started.
class RunsType {
 public:
  explicit RunsType(const TransferRuns& runs) {
    std::vector<int> lengths;
    std::vector<MPI_Aint> offsets;
    for (const kernels::ByteRun& run : runs) {
      lengths.push_back(static_cast<int>(run.bytes));
      offsets.push_back(static_cast<MPI_Aint>(run.offset));
      bytes_ += static_cast<int>(run.bytes);
    }
    check_mpi(MPI_Type_create_hindexed(static_cast<int>(runs.size()), lengths.data(), offsets.data(), MPI_BYTE, &type_),
              "describe rows");
    check_mpi(MPI_Type_commit(&type_), "describe rows");
  }
  ~RunsType() { MPI_Type_free(&type_); }  // a started message keeps what it needs
  RunsType(const RunsType&) = delete;
  RunsType& operator=(const RunsType&) = delete;

  MPI_Datatype raw() const { return type_; }
  int bytes() const { return bytes_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
  int bytes_ = 0;
};

std::uint64_t sum_of(std::span<const kernels::ByteRun> runs) {
  std::uint64_t bytes = 0;
  for (const kernels::ByteRun& run : runs) bytes += run.bytes;
  return bytes;
}

}  // namespace

Transfer Transfer::send(const Communicator& comm, std::span<const std::byte> bytes, int to, int tag) {
  Transfer transfer;
  transfer.comm_ = comm.raw();
  transfer.awaited_ = {"send", to, bytes.size()};
  for (const TransferPiece& piece : plan_transfer(bytes.size())) {
    check_mpi(MPI_Isend(bytes.data() + piece.offset, piece.count, MPI_BYTE, to, tag, comm.raw(),
                        &transfer.requests_.emplace_back(MPI_REQUEST_NULL)),
              "start a send");
  }
  transfer.messages_ = transfer.requests_.size();
  return transfer;
}

Transfer Transfer::receive(const Communicator& comm, std::span<std::byte> bytes, int from, int tag) {
  Transfer transfer;
  transfer.comm_ = comm.raw();
  transfer.awaited_ = {"receive", from, bytes.size()};
  for (const TransferPiece& piece : plan_transfer(bytes.size())) {
    check_mpi(MPI_Irecv(bytes.data() + piece.offset, piece.count, MPI_BYTE, from, tag, comm.raw(),
                        &transfer.requests_.emplace_back(MPI_REQUEST_NULL)),
              "start a receive");
    transfer.expected_.push_back(piece.count);
  }
  transfer.messages_ = transfer.requests_.size();
  return transfer;
}

Transfer Transfer::send(const Communicator& comm, const std::byte* array, std::span<const kernels::ByteRun> runs, int to,
                        int tag) {
  if (runs.size() == 1) return send(comm, {array + runs[0].offset, runs[0].bytes}, to, tag);
  Transfer transfer;
  transfer.comm_ = comm.raw();
  transfer.awaited_ = {"send", to, sum_of(runs)};
  for (const TransferRuns& piece : plan_transfer(runs)) {
    const RunsType type(piece);
    check_mpi(MPI_Isend(array, 1, type.raw(), to, tag, comm.raw(), &transfer.requests_.emplace_back(MPI_REQUEST_NULL)),
              "start a send");
  }
  transfer.messages_ = transfer.requests_.size();
  return transfer;
}

Transfer Transfer::receive(const Communicator& comm, std::byte* array, std::span<const kernels::ByteRun> runs, int from,
                           int tag) {
  if (runs.size() == 1) return receive(comm, {array + runs[0].offset, runs[0].bytes}, from, tag);
  Transfer transfer;
  transfer.comm_ = comm.raw();
  transfer.awaited_ = {"receive", from, sum_of(runs)};
  for (const TransferRuns& piece : plan_transfer(runs)) {
    const RunsType type(piece);
    check_mpi(MPI_Irecv(array, 1, type.raw(), from, tag, comm.raw(), &transfer.requests_.emplace_back(MPI_REQUEST_NULL)),
              "start a receive");
    transfer.expected_.push_back(type.bytes());
  }
  transfer.messages_ = transfer.requests_.size();
  return transfer;
}

Transfer& Transfer::operator=(Transfer&& other) noexcept {
  std::swap(requests_, other.requests_);  // what was pending here is waited for by `other`
  std::swap(expected_, other.expected_);
  std::swap(messages_, other.messages_);
  std::swap(comm_, other.comm_);
  std::swap(awaited_, other.awaited_);
  return *this;
}

Transfer::~Transfer() {
  if (requests_.empty()) return;
  try {
    await_all(requests_, MPI_STATUSES_IGNORE, comm_, awaited_);
  } catch (const MpiError& error) {
    std::fprintf(stderr, "annulus: a pending transfer failed while its owner was destroyed: %s\n", error.what());
  }
}

bool Transfer::test() {
  if (requests_.empty()) return true;
  std::vector<MPI_Status> statuses(requests_.size());
  int done = 0;
  check_mpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, statuses.data()),
            "move a transfer on");
  if (done == 0) return false;
  check_sizes(statuses);
  requests_.clear();
  return true;
}

void Transfer::wait() {
  if (requests_.empty()) return;
  std::vector<MPI_Status> statuses(requests_.size());
  await_all(requests_, statuses.data(), comm_, awaited_);
  check_sizes(statuses);
  requests_.clear();
}

void Transfer::check_sizes(std::span<const MPI_Status> statuses) const {
  for (std::size_t i = 0; i < expected_.size(); ++i) {
    int received = 0;
    check_mpi(MPI_Get_elements(&statuses[i], MPI_BYTE, &received), "count the received bytes");
    if (received != expected_[i]) {
      throw Error(ExitCode::communication, "a block of " + std::to_string(received) + " bytes arrived where " +
                                               std::to_string(expected_[i]) +
                                               " were expected (ranks disagree about the shards)");
    }
  }
}

}  // namespace annulus
