/// Checked collectives on an owned communicator.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/communicator.hpp"

#include <chrono>
#include <cstdio>
#include <limits>
#include <thread>

#include "runtime/comm/transfer.hpp"
#include "runtime/comm/transfer_plan.hpp"
#include "runtime/comm/vigil.hpp"

namespace annulus {
namespace {

std::string mpi_message(int code, const char* doing, const std::source_location& at) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return std::string("cannot ") + doing + " (" + text.data() + ", at " + at.file_name() + ":" +
         std::to_string(at.line()) + ")";
}

template <class T>
void reduce(std::span<T> values, MPI_Datatype type, MPI_Op op, MPI_Comm comm, const char* doing) {
  if (values.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw Error(ExitCode::internal, "a reduction of more than 2^31 values");
  }
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), type, op, comm, &request), doing);
  await_all({&request, 1}, MPI_STATUSES_IGNORE, comm, {doing});
}

}  // namespace

MpiError::MpiError(int mpi_code, const char* doing, std::source_location at)
    : Error(ExitCode::communication, mpi_message(mpi_code, doing, at)), mpi_code_(mpi_code) {}

void Communicator::CommTraits::release(MPI_Comm comm) noexcept {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized != 0) return;  // a host program may finalise MPI before its last ring dies
  if (MPI_Comm_free(&comm) != MPI_SUCCESS) std::fprintf(stderr, "annulus: a communicator could not be freed\n");
}

Communicator::Communicator(MPI_Comm owned, std::shared_ptr<Heartbeat> heartbeat)
    : comm_(owned), heartbeat_(std::move(heartbeat)) {
  check_mpi(MPI_Comm_set_errhandler(owned, MPI_ERRORS_RETURN), "let a communicator return errors");
  check_mpi(MPI_Comm_rank(owned, &rank_), "ask for the rank");
  check_mpi(MPI_Comm_size(owned, &size_), "ask for the number of ranks");
}

Communicator Communicator::duplicate(MPI_Comm parent) {
  int initialized = 0;
  check_mpi(MPI_Initialized(&initialized), "ask whether MPI runs");
  if (initialized == 0 || parent == MPI_COMM_NULL) {
    throw UsageError("no communicator to run on (MPI is not initialised, or MPI_COMM_NULL was given); try MPI_Init first");
  }
  MPI_Comm raw = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(parent, &raw), "duplicate the caller's communicator");
  return Communicator(raw, std::make_shared<Heartbeat>(raw));
}

Communicator Communicator::node() const {
  await_all_ranks("find the node's ranks");
  MPI_Comm raw = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(comm_.get(), MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &raw), "find the node's ranks");
  return Communicator(raw, heartbeat_);
}

Communicator Communicator::split(int color) const {
  await_all_ranks("split a communicator");
  MPI_Comm raw = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(comm_.get(), color, rank_, &raw), "split a communicator");
  return Communicator(raw, heartbeat_);
}

void Communicator::await_all_ranks(const char* doing) const {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(comm_.get(), &request), doing);
  await_all({&request, 1}, MPI_STATUSES_IGNORE, comm_.get(), {doing});
}

void Communicator::barrier_asleep() const {
  constexpr const char* doing = "meet ranks that work";
  constexpr auto nap = std::chrono::milliseconds(2);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(comm_.get(), &request), doing);
  Vigil vigil(comm_.get(), {doing});
  for (int done = 0; done == 0; vigil.keep()) {
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), doing);
    if (done == 0) std::this_thread::sleep_for(nap);
  }
}

void Communicator::min(std::span<std::uint64_t> values) const {
  reduce(values, MPI_UINT64_T, MPI_MIN, comm_.get(), "take a minimum over ranks");
}

void Communicator::max(std::span<std::uint64_t> values) const {
  reduce(values, MPI_UINT64_T, MPI_MAX, comm_.get(), "take a maximum over ranks");
}

void Communicator::max(std::span<double> values) const {
  reduce(values, MPI_DOUBLE, MPI_MAX, comm_.get(), "take a maximum over ranks");
}

void Communicator::sum(std::span<std::uint64_t> values) const {
  reduce(values, MPI_UINT64_T, MPI_SUM, comm_.get(), "sum over ranks");
}

void Communicator::sum(std::span<double> values) const {
  constexpr int tag = 1;
  if (rank_ == 0) {
    std::vector<double> others(values.size());
    for (int from = 1; from < size_; ++from) {
      receive(std::as_writable_bytes(std::span(others)), from, tag);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] += others[i];
    }
  } else {
    send(std::as_bytes(values), 0, tag);
  }
  broadcast(std::as_writable_bytes(values), 0);
}

void Communicator::broadcast(std::span<std::byte> bytes, int root) const {
  for (const TransferPiece& piece : plan_transfer(bytes.size())) {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibcast(bytes.data() + piece.offset, piece.count, MPI_BYTE, root, comm_.get(), &request), "broadcast");
    await_all({&request, 1}, MPI_STATUSES_IGNORE, comm_.get(), {"broadcast", root, bytes.size()});
  }
}

void Communicator::broadcast(std::string& text, int root) const {
  std::uint64_t size = text.size();
  broadcast(std::as_writable_bytes(std::span(&size, 1)), root);
  text.resize(size);
  broadcast(std::as_writable_bytes(std::span(text)), root);
}

std::vector<std::uint64_t> Communicator::all_gather(std::uint64_t value) const {
  std::vector<std::uint64_t> all(static_cast<std::size_t>(size_));
  constexpr const char* doing = "gather from all ranks";
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(&value, 1, MPI_UINT64_T, all.data(), 1, MPI_UINT64_T, comm_.get(), &request), doing);
  await_all({&request, 1}, MPI_STATUSES_IGNORE, comm_.get(), {doing});
  return all;
}

void Communicator::send(std::span<const std::byte> bytes, int to, int tag) const {
  Transfer::send(*this, bytes, to, tag).wait();
}

void Communicator::receive(std::span<std::byte> bytes, int from, int tag) const {
  Transfer::receive(*this, bytes, from, tag).wait();
}

}  // namespace annulus
