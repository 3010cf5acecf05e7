/// A transfer under way: nonblocking, of any size, completed before its memory can be freed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/contract/row_array.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/comm/vigil.hpp"

namespace annulus {

/// Nonblocking sends or receives of one byte range. Move-only. Both sides must give the same size; a receive that gets
/// another size throws when it completes. The destructor waits: memory under a pending transfer may not be freed.
class Transfer {
 public:
  Transfer() = default;
  static Transfer send(const Communicator& comm, std::span<const std::byte> bytes, int to, int tag);
  static Transfer receive(const Communicator& comm, std::span<std::byte> bytes, int from, int tag);
  /// Bytes that lie apart in an array, without a copy of ours (MPI may pack them): what is sent so may be received in one
  /// piece, and the other way round.
  static Transfer send(const Communicator& comm, const std::byte* array, std::span<const kernels::ByteRun> runs, int to,
                       int tag);
  static Transfer receive(const Communicator& comm, std::byte* array, std::span<const kernels::ByteRun> runs, int from,
                          int tag);
  Transfer(Transfer&& other) noexcept = default;
  Transfer& operator=(Transfer&& other) noexcept;
  ~Transfer();

  /// Moves the transfer on; true once complete. Local, does not block. Open MPI 4.1 moves nothing unless polled.
  bool test();
  /// Blocks until complete, but not for ever (set_comm_timeout). Local.
  void wait();
  /// MPI messages that this transfer is made of.
  std::size_t messages() const { return messages_; }
  /// Bytes that it was to move.
  std::uint64_t bytes() const { return awaited_.bytes; }

 private:
  /// `start` makes the MPI call of one piece.
  template <class Start>
  Transfer(const Communicator& comm, Awaited awaited, std::span<const kernels::ByteRun> runs, Start&& start);
  void check_sizes(std::span<const MPI_Status> statuses) const;

  MPI_Comm comm_ = MPI_COMM_NULL;
  Awaited awaited_{};                  ///< for the message of a wait that lasts too long
  std::vector<MPI_Request> requests_;  ///< empty once complete
  std::vector<int> expected_;          ///< bytes per receive piece; empty for sends
  std::size_t messages_ = 0;
};

}  // namespace annulus
