/// A bounded barrier: every rank's code to rank 0, one answer back.
// SPDX-License-Identifier: Apache-2.0
#include "launch/farewell.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "runtime/comm/session.hpp"
#include "runtime/comm/transfer.hpp"

namespace annulus::launch {
namespace {

constexpr int code_tag = 1;
constexpr int answer_tag = 2;
constexpr auto patience = std::chrono::seconds(5);  ///< agreed errors arrive within milliseconds of each other

[[noreturn]] void end_alone(const Communicator& goodbye, ExitCode code, const std::string& message) {
  print_error(fmt::format("{} [on rank {}; ending all ranks]", message, goodbye.rank()));
  Session::abort(code);
}

/// False if the deadline passes first.
bool done_in_time(Transfer& transfer) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!transfer.test()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace

void print_error(const std::string& message) {
  fmt::print(stderr, "annulus: {}\n", message);
  std::fflush(stderr);
}

void part_with_error(const Communicator& goodbye, ExitCode code, const std::string& message) {
  const auto mine = static_cast<std::byte>(code);
  std::byte theirs{};
  if (goodbye.rank() != 0) {
    Transfer send = Transfer::send(goodbye, {&mine, 1}, 0, code_tag);
    Transfer answer = Transfer::receive(goodbye, {&theirs, 1}, 0, answer_tag);
    if (!done_in_time(answer)) end_alone(goodbye, code, message);
    return;
  }
  for (int rank = 1; rank < goodbye.size(); ++rank) {
    Transfer other = Transfer::receive(goodbye, {&theirs, 1}, rank, code_tag);
    if (!done_in_time(other) || theirs != mine) end_alone(goodbye, code, message);
  }
  print_error(message);
  for (int rank = 1; rank < goodbye.size(); ++rank) goodbye.send({&mine, 1}, rank, answer_tag);
}

}  // namespace annulus::launch
