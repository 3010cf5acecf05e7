/// Nonblocking transfers in pieces.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/transfer.hpp"

#include <array>
#include <cstdio>
#include <utility>

#include "runtime/comm/transfer_plan.hpp"

namespace annulus {
namespace {

/// What one MPI call moves: bytes in one place, or runs that MPI is told of for as long as the call is made.
class Piece {
 public:
  explicit Piece(const TransferRuns& runs) {
    std::vector<int> lengths;
    std::vector<MPI_Aint> offsets;
    for (const kernels::ByteRun& run : runs) {
      lengths.push_back(static_cast<int>(run.bytes));
      offsets.push_back(static_cast<MPI_Aint>(run.offset));
      bytes_ += lengths.back();
    }
    if (runs.size() == 1) {
      offset_ = runs[0].offset;
      return;
    }
    check_mpi(MPI_Type_create_hindexed(static_cast<int>(runs.size()), lengths.data(), offsets.data(), MPI_BYTE, &runs_),
              "describe rows");
    check_mpi(MPI_Type_commit(&runs_), "describe rows");
  }
  ~Piece() {
    if (runs_ != MPI_DATATYPE_NULL) MPI_Type_free(&runs_);  // a started message keeps what it needs
  }
  Piece(const Piece&) = delete;
  Piece& operator=(const Piece&) = delete;

  std::uint64_t offset() const { return offset_; }
  int count() const { return runs_ == MPI_DATATYPE_NULL ? bytes_ : 1; }
  MPI_Datatype type() const { return runs_ == MPI_DATATYPE_NULL ? MPI_BYTE : runs_; }
  int bytes() const { return bytes_; }

 private:
  std::uint64_t offset_ = 0;
  int bytes_ = 0;
  MPI_Datatype runs_ = MPI_DATATYPE_NULL;
};

}  // namespace

template <class Start>
Transfer::Transfer(const Communicator& comm, Awaited awaited, std::span<const kernels::ByteRun> runs, Start&& start)
    : comm_(comm.raw()), awaited_(awaited) {
  for (const TransferRuns& part : plan_transfer(runs)) {
    const Piece piece(part);
    check_mpi(start(piece, &requests_.emplace_back(MPI_REQUEST_NULL)), "start a transfer");
  }
  messages_ = requests_.size();
}

Transfer Transfer::send(const Communicator& comm, const std::byte* array, std::span<const kernels::ByteRun> runs, int to,
                        int tag) {
  return {comm, {"send", to, sum_of(runs)}, runs, [&](const Piece& piece, MPI_Request* request) {
            return MPI_Isend(array + piece.offset(), piece.count(), piece.type(), to, tag, comm.raw(), request);
          }};
}

Transfer Transfer::receive(const Communicator& comm, std::byte* array, std::span<const kernels::ByteRun> runs, int from,
                           int tag) {
  std::vector<int> expected;
  Transfer transfer(comm, {"receive", from, sum_of(runs)}, runs, [&](const Piece& piece, MPI_Request* request) {
    expected.push_back(piece.bytes());
    return MPI_Irecv(array + piece.offset(), piece.count(), piece.type(), from, tag, comm.raw(), request);
  });
  transfer.expected_ = std::move(expected);
  return transfer;
}

Transfer Transfer::send(const Communicator& comm, std::span<const std::byte> bytes, int to, int tag) {
  return send(comm, bytes.data(), std::array{kernels::ByteRun{0, bytes.size()}}, to, tag);
}

Transfer Transfer::receive(const Communicator& comm, std::span<std::byte> bytes, int from, int tag) {
  return receive(comm, bytes.data(), std::array{kernels::ByteRun{0, bytes.size()}}, from, tag);
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
