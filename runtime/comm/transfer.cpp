/// Nonblocking transfers in pieces.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/transfer.hpp"

#include <cstdio>
#include <utility>

#include "runtime/comm/transfer_plan.hpp"

namespace annulus {

Transfer Transfer::send(const Communicator& comm, std::span<const std::byte> bytes, int to, int tag) {
  Transfer transfer;
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
  for (const TransferPiece& piece : plan_transfer(bytes.size())) {
    check_mpi(MPI_Irecv(bytes.data() + piece.offset, piece.count, MPI_BYTE, from, tag, comm.raw(),
                        &transfer.requests_.emplace_back(MPI_REQUEST_NULL)),
              "start a receive");
    transfer.expected_.push_back(piece.count);
  }
  transfer.messages_ = transfer.requests_.size();
  return transfer;
}

Transfer& Transfer::operator=(Transfer&& other) noexcept {
  std::swap(requests_, other.requests_);  // what was pending here is waited for by `other`
  std::swap(expected_, other.expected_);
  std::swap(messages_, other.messages_);
  return *this;
}

Transfer::~Transfer() {
  if (requests_.empty()) return;
  if (MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE) != MPI_SUCCESS) {
    std::fprintf(stderr, "annulus: a pending transfer failed while its owner was destroyed\n");
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
  check_mpi(MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), statuses.data()), "finish a transfer");
  check_sizes(statuses);
  requests_.clear();
}

void Transfer::check_sizes(std::span<const MPI_Status> statuses) const {
  for (std::size_t i = 0; i < expected_.size(); ++i) {
    int received = 0;
    check_mpi(MPI_Get_count(&statuses[i], MPI_BYTE, &received), "count the received bytes");
    if (received != expected_[i]) {
      throw Error(ExitCode::communication, "a block of " + std::to_string(received) + " bytes arrived where " +
                                               std::to_string(expected_[i]) +
                                               " were expected (ranks disagree about the shards)");
    }
  }
}

}  // namespace annulus
