/// What it costs to move messages on while kernels compute: `mpirun -n 2 poll_bench`. Not a test: it judges nothing.
/// Rank 0 attends, in turns with and without the polling hook, to a block while it waits for rank 1, which sleeps: for the
/// next block, or, in backward, for all parts of its gradients but one to come home. And it starts short messages, made anew or
/// persistent. CPU seconds of this thread, medians; the polled calls are counted.
// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "runtime/comm/heartbeat.hpp"
#include "runtime/exchange/exchange.hpp"
#include "tests/bench/cpu_time.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

constexpr std::int64_t rows = 2048;
constexpr std::int64_t head_dim = 64;

/// A full block of one head, attended to once.
class Attention {
 public:
  Attention(const kernels::KernelTable& table, DType dtype)
      : table_(table), block_{1, rows, 1, head_dim, dtype}, spans_(rows, {0, rows}) {
    const auto positions = all_positions(rows);
    for (const Role role : {Role::q, Role::k, Role::v}) {
      inputs_.push_back(random_tensor(dtype, 1, role, 1, positions, 1, head_dim));
    }
    packed_ = Buffer<std::byte>(static_cast<std::int64_t>(table.packed_bytes(block_, kernels::Direction::forward)));
    table.pack(block_, kernels::Direction::forward, inputs_[1].view(), inputs_[2].view(), packed_.data(), workers_);
  }

  double seconds(const Progress& progress) {
    kernels::Problem problem;
    problem.q_rows = rows;
    problem.head_dim = head_dim;
    problem.dtype = block_.dtype;
    problem.softmax_scale = 1 / std::sqrt(static_cast<double>(head_dim));
    const auto pass = table_.forward(problem, inputs_[0].view(), {workers_, memory_});
    const double start = cpu_seconds();
    pass->attend({block_, packed_.data(), {}}, {spans_, 1}, progress);
    return cpu_seconds() - start;
  }

 private:
  const kernels::KernelTable& table_;
  kernels::BlockShape block_;
  Workers workers_{1};
  BufferPool memory_;
  std::vector<Tensor> inputs_;
  Buffer<std::byte> packed_;
  std::vector<kernels::RowSpan> spans_;
};

/// Runs work() on rank 0 while messages are under way that cannot end before rank 1 takes part; rank 1 sleeps meanwhile.
template <class Work>
void while_the_other_sleeps(const Communicator& comm, Work&& work) {
  std::byte done{};
  if (comm.rank() == 0) {
    work();
    return Transfer::send(comm, {&done, 1}, 1, 99).wait();
  }
  auto end = Transfer::receive(comm, {&done, 1}, 0, 99);
  while (!end.test()) usleep(100'000);
}

/// Lets what both ranks have sent arrive.
void settle(Exchange& exchange) {
  for (int i = 0; i < 200; ++i) {
    exchange.poll();
    usleep(500);
  }
}

/// One pass of two ranks. Forward: work() runs beside the hop; backward: beside the way home.
template <class Work>
void beside_messages(const Communicator& comm, Exchange& exchange, bool backward, Work&& work) {
  PassSizes sizes{.rows = rows,
                  .travel = travel_plan(exchange.ring(), [](int, int) { return rows; }),
                  .block = {.heads = 1, .k_bytes = 4 * head_dim, .v_bytes = 4 * head_dim},
                  .home_parts = 8};
  if (backward) sizes.gradient = sizes.block;
  exchange.begin(std::move(sizes));
  exchange.packed();
  exchange.open();
  comm.barrier();
  if (backward || comm.rank() == 0) exchange.start(0);
  if (!backward) while_the_other_sleeps(comm, work);
  if (!backward && comm.rank() == 1) exchange.start(0);
  for (int step = 0; step < 2; ++step) {
    if (step > 0) exchange.start(step);
    for (const BlockPart& part : backward ? exchange.parts(step) : std::vector<BlockPart>{}) {
      if (step == 1 && part.is_first()) settle(exchange);
      if (step == 1 && (comm.rank() == 0 ? part.is_last() : part.is_first())) while_the_other_sleeps(comm, work);
      exchange.add_share(step, part, true);
    }
    exchange.finish(step);
  }
  if (backward) exchange.home();
}

void measure_polling(const Communicator& comm, const kernels::KernelTable& table, DType dtype, bool backward) {
  ExchangeKind resolved{};
  const auto exchange = make_exchange(ExchangeKind::messages, comm, 0, &resolved);
  beside_messages(comm, *exchange, backward, [&] {
    Attention attention(table, dtype);
    std::int64_t polls = 0;
    const Progress progress = [&] {
      exchange->poll();
      Heartbeat::beat();
      ++polls;
    };
    std::vector<double> without;
    std::vector<double> with;
    attention.seconds({});
    for (int turn = 0; turn < 101; ++turn) {
      for (const bool polled : {turn % 2 == 0, turn % 2 != 0}) {  // neither is always the second
        (polled ? with : without).push_back(attention.seconds(polled ? progress : Progress{}));
      }
    }
    const double polls_per_pass = static_cast<double>(polls) / static_cast<double>(with.size());
    std::vector<double> bare;
    for (int turn = 0; turn < 101; ++turn) {
      const double start = cpu_seconds();
      for (int i = 0; i < 1000; ++i) progress();
      bare.push_back((cpu_seconds() - start) / 1000);
    }
    const double poll = median(bare);
    std::printf("%-12s %-4s %-8s every %5.1f us  poll %6.1f ns  cost %6.3f %% (polls), %+6.2f %% (passes with against without)\n",
                std::string(table.name).c_str(), std::string(name(dtype)).c_str(), backward ? "backward" : "forward",
                1e6 * median(without) / polls_per_pass, 1e9 * poll, 100 * poll * polls_per_pass / median(without),
                100 * (median(with) / median(without) - 1));
    std::fflush(stdout);
  });
}

/// Of a send and its receive: making the requests, and starting ones that persist.
void measure_starts(const Communicator& comm) {
  constexpr int count = 16;
  std::array<std::byte, 1024> to{};
  std::array<std::byte, 1024> from{};
  const int peer = 1 - comm.rank();
  std::array<MPI_Request, 2> requests{};
  const auto size = static_cast<int>(to.size());
  std::vector<double> fresh;
  std::vector<double> persistent;
  for (int turn = 0; turn < 101; ++turn) {
    double spent = 0;
    for (int i = 0; i < count; ++i) {
      const double start = cpu_seconds();
      check_mpi(MPI_Irecv(to.data(), size, MPI_BYTE, peer, 1, comm.raw(), &requests[0]), "receive");
      check_mpi(MPI_Isend(from.data(), size, MPI_BYTE, peer, 1, comm.raw(), &requests[1]), "send");
      spent += cpu_seconds() - start;
      check_mpi(MPI_Waitall(2, requests.data(), MPI_STATUSES_IGNORE), "wait");
    }
    fresh.push_back(spent / count);
    check_mpi(MPI_Recv_init(to.data(), size, MPI_BYTE, peer, 1, comm.raw(), &requests[0]), "prepare to receive");
    check_mpi(MPI_Send_init(from.data(), size, MPI_BYTE, peer, 1, comm.raw(), &requests[1]), "prepare to send");
    spent = 0;
    for (int i = 0; i < count; ++i) {
      const double start = cpu_seconds();
      check_mpi(MPI_Startall(2, requests.data()), "start");
      spent += cpu_seconds() - start;
      check_mpi(MPI_Waitall(2, requests.data(), MPI_STATUSES_IGNORE), "wait");
    }
    persistent.push_back(spent / count);
    for (MPI_Request& request : requests) check_mpi(MPI_Request_free(&request), "free a request");
  }
  if (comm.rank() == 0) {
    std::printf("start of a send and a receive of 1 KiB: %.0f ns made anew, %.0f ns persistent\n", 1e9 * median(fresh),
                1e9 * median(persistent));
  }
}

void measure() {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  if (comm.size() != 2) {
    if (comm.rank() == 0) std::fprintf(stderr, "poll_bench: takes two ranks: mpirun -n 2 poll_bench\n");
    return;
  }
  for (const kernels::KernelTable& table : kernels::kernel_tables()) {
    if (!table.unavailable.empty() || table.name == "reference" || table.device_bytes != nullptr) continue;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const bool backward : {false, true}) measure_polling(comm, table, dtype, backward);
    }
  }
  measure_starts(comm);
}

}  // namespace
}  // namespace annulus::test

int main(int argc, char** argv) {
  annulus::check_mpi(MPI_Init(&argc, &argv), "start MPI");
  annulus::test::measure();
  annulus::check_mpi(MPI_Finalize(), "end MPI");
}
