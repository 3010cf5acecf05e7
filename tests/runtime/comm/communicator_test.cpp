/// Communicators, transfers and agreement, on any number of ranks.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/communicator.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "kernels/base/buffer.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/placement.hpp"
#include "runtime/comm/shared_window.hpp"
#include "runtime/comm/transfer.hpp"

namespace annulus {
namespace {

Communicator world() { return Communicator::duplicate(MPI_COMM_WORLD); }

TEST(Communicator, LeavesTheCallersErrorHandlerAlone) {
  MPI_Comm callers = MPI_COMM_NULL;
  ASSERT_EQ(MPI_Comm_dup(MPI_COMM_WORLD, &callers), MPI_SUCCESS);
  ASSERT_EQ(MPI_Comm_set_errhandler(callers, MPI_ERRORS_ARE_FATAL), MPI_SUCCESS);
  {
    const Communicator ours = Communicator::duplicate(callers);
    EXPECT_THROW(check_mpi(MPI_Send(nullptr, 1, MPI_BYTE, ours.size() + 7, 0, ours.raw()), "send to nobody"), MpiError);
  }
  MPI_Errhandler handler = MPI_ERRHANDLER_NULL;
  ASSERT_EQ(MPI_Comm_get_errhandler(callers, &handler), MPI_SUCCESS);
  EXPECT_TRUE(handler == MPI_ERRORS_ARE_FATAL);
  MPI_Errhandler_free(&handler);
  MPI_Comm_free(&callers);
}

TEST(Communicator, RefusesTheNullCommunicator) {
  EXPECT_THROW(Communicator::duplicate(MPI_COMM_NULL), UsageError);
}

TEST(Communicator, ReducesAndBroadcasts) {
  const Communicator comm = world();
  std::array<std::uint64_t, 2> values{static_cast<std::uint64_t>(comm.rank()) + 5, 1};
  comm.min(values);
  EXPECT_EQ(values[0], 5U);
  values = {static_cast<std::uint64_t>(comm.rank()), 1};
  comm.sum(values);
  EXPECT_EQ(values[0], static_cast<std::uint64_t>(comm.size() * (comm.size() - 1) / 2));
  EXPECT_EQ(values[1], static_cast<std::uint64_t>(comm.size()));
  std::string text = comm.rank() == comm.size() - 1 ? "from the last" : "";
  comm.broadcast(text, comm.size() - 1);
  EXPECT_EQ(text, "from the last");
}

TEST(Communicator, SumsDoublesInRankOrder) {
  const Communicator comm = world();
  std::array<double, 1> value{comm.rank() == 0 ? 1e17 : 1.0};
  comm.sum(value);
  double expected = 1e17;
  for (int rank = 1; rank < comm.size(); ++rank) expected += 1.0;  // each is lost, one by one
  EXPECT_EQ(value[0], expected);
}

TEST(Transfer, MovesEverySizeRoundTheRing) {
  const Communicator comm = world();
  const int next = (comm.rank() + 1) % comm.size();
  const int prev = (comm.rank() + comm.size() - 1) % comm.size();
  for (const std::int64_t bytes : {0, 1, 2, 4041, 70000, 8 << 20}) {
    const Buffer<std::byte> out(bytes);
    const Buffer<std::byte> in(bytes);
    std::fill_n(out.data(), bytes, static_cast<std::byte>(comm.rank() + 1));
    Transfer receive = Transfer::receive(comm, in.span(), next, 3);
    Transfer send = Transfer::send(comm, out.span(), prev, 3);
    while (!receive.test()) {
    }
    send.wait();
    for (const std::byte byte : in.span()) ASSERT_EQ(byte, static_cast<std::byte>(next + 1));
  }
}

TEST(Transfer, ASizeThatDiffersIsAnErrorNotSilence) {
  const Communicator comm = world();
  std::array<std::byte, 8> out{};
  std::array<std::byte, 8> in{};
  Transfer receive = Transfer::receive(comm, in, comm.rank(), 4);
  Transfer send = Transfer::send(comm, std::span(out).first(3), comm.rank(), 4);
  EXPECT_THROW(receive.wait(), Error);
  send.wait();
}

TEST(Agreement, AllRanksThrowWhatOneRankFound) {
  const Communicator comm = world();
  const int culprit = comm.size() / 2;
  for (const ExitCode code : {ExitCode::usage, ExitCode::input, ExitCode::resources, ExitCode::internal}) {
    try {
      together(comm, [&] {
        if (comm.rank() == culprit) throw_error(code, "a page is missing");
      });
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_NE(std::string(error.what()).find("a page is missing"), std::string::npos);
      const bool named = std::string(error.what()).find("rank " + std::to_string(culprit)) != std::string::npos;
      EXPECT_EQ(named, comm.size() > 1);
    }
  }
  together(comm, [] {});  // and the communicator still works
}

TEST(Agreement, NamesTheRanksWhoseSettingsDiffer) {
  const Communicator comm = world();
  EXPECT_NO_THROW(agree_on_settings(comm, 42, "the settings", {}));
  if (comm.size() < 3) return;  // no majority to differ from
  const std::uint64_t mine = comm.rank() == 1 ? 7 : 42;
  try {
    agree_on_settings(comm, mine, "the settings", {});
    FAIL() << "nothing was thrown";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("the settings: rank 1 differ"), std::string::npos) << error.what();
  }
}

TEST(SharedWindow, RanksReadEachOthersSegments) {
  const Communicator node = world().node();
  const SharedWindow window(node, 1000);
  window.segment(node.rank())[999] = static_cast<std::byte>(node.rank());
  window.sync();
  node.barrier();
  window.sync();
  for (int rank = 0; rank < node.size(); ++rank) EXPECT_EQ(window.segment(rank)[999], static_cast<std::byte>(rank));
  node.barrier();
}

TEST(SharedWindow, SaysWhenTheNodeHasNoRoom) {
  const Communicator node = world().node();
  EXPECT_THROW(SharedWindow(node, std::uint64_t{1} << 50), ResourceError);
}

TEST(Placement, ThreadsNeverOversubscribeTheNode) {
  const Communicator node = world().node();
  const int threads = fair_threads(node);
  EXPECT_GE(threads, 1);
  EXPECT_LE(threads, usable_cores());
}

}  // namespace
}  // namespace annulus
