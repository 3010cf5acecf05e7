/// MPI's profiling interface (MPI 3.1, chapter 14): these definitions stand before the library's own.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/message_counter.hpp"

#include <mpi.h>

#include <utility>

#include "runtime/comm/vigil.hpp"

namespace annulus::test {
namespace {
MpiCalls calls;

void count_send(int count, MPI_Datatype type) {
  int size = 0;
  PMPI_Type_size(type, &size);
  ++calls.messages;
  calls.bytes += static_cast<std::uint64_t>(count) * static_cast<std::uint64_t>(size);
}
}  // namespace

MpiCalls take_mpi_calls() {
  set_comm_timeout(0);
  return std::exchange(calls, {});
}

}  // namespace annulus::test

using annulus::test::calls;
using annulus::test::count_send;

extern "C" {

int MPI_Send(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm) {
  count_send(count, type);
  return PMPI_Send(data, count, type, to, tag, comm);
}
int MPI_Isend(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request* request) {
  count_send(count, type);
  return PMPI_Isend(data, count, type, to, tag, comm, request);
}
int MPI_Sendrecv(const void* out, int out_count, MPI_Datatype out_type, int to, int out_tag, void* in, int in_count,
                 MPI_Datatype in_type, int from, int in_tag, MPI_Comm comm, MPI_Status* status) {
  count_send(out_count, out_type);
  return PMPI_Sendrecv(out, out_count, out_type, to, out_tag, in, in_count, in_type, from, in_tag, comm, status);
}
int MPI_Send_init(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request* request) {
  count_send(count, type);
  return PMPI_Send_init(data, count, type, to, tag, comm, request);
}
int MPI_Barrier(MPI_Comm comm) {
  ++calls.others;
  return PMPI_Barrier(comm);
}
int MPI_Bcast(void* data, int count, MPI_Datatype type, int root, MPI_Comm comm) {
  ++calls.others;
  return PMPI_Bcast(data, count, type, root, comm);
}
int MPI_Allreduce(const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
  ++calls.others;
  return PMPI_Allreduce(in, out, count, type, op, comm);
}
int MPI_Allgather(const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count, MPI_Datatype out_type,
                  MPI_Comm comm) {
  ++calls.others;
  return PMPI_Allgather(in, in_count, in_type, out, out_count, out_type, comm);
}
int MPI_Ibarrier(MPI_Comm comm, MPI_Request* request) {
  ++calls.others;
  return PMPI_Ibarrier(comm, request);
}
int MPI_Ibcast(void* data, int count, MPI_Datatype type, int root, MPI_Comm comm, MPI_Request* request) {
  ++calls.others;
  return PMPI_Ibcast(data, count, type, root, comm, request);
}
int MPI_Iallreduce(const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                   MPI_Request* request) {
  ++calls.others;
  return PMPI_Iallreduce(in, out, count, type, op, comm, request);
}
int MPI_Iallgather(const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count, MPI_Datatype out_type,
                   MPI_Comm comm, MPI_Request* request) {
  ++calls.others;
  return PMPI_Iallgather(in, in_count, in_type, out, out_count, out_type, comm, request);
}
int MPI_Allgatherv(const void* in, int in_count, MPI_Datatype in_type, void* out, const int* counts, const int* offsets,
                   MPI_Datatype out_type, MPI_Comm comm) {
  ++calls.others;
  return PMPI_Allgatherv(in, in_count, in_type, out, counts, offsets, out_type, comm);
}
int MPI_Gather(const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count, MPI_Datatype out_type,
               int root, MPI_Comm comm) {
  ++calls.others;
  return PMPI_Gather(in, in_count, in_type, out, out_count, out_type, root, comm);
}
int MPI_Reduce(const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm) {
  ++calls.others;
  return PMPI_Reduce(in, out, count, type, op, root, comm);
}
int MPI_Win_fence(int assertion, MPI_Win window) {
  ++calls.others;
  return PMPI_Win_fence(assertion, window);
}
int MPI_Win_allocate_shared(MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void* base, MPI_Win* window) {
  ++calls.others;
  return PMPI_Win_allocate_shared(size, unit, info, comm, base, window);
}

}  // extern "C"
