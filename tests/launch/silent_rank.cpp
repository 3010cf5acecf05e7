/// Ranks that wait for what never comes. `asleep`: rank 1 says nothing. `deadlock`: each waits for the next; rank 0 has
/// computed before, so that signs of life are on their way.
// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "runtime/comm/session.hpp"
#include "runtime/comm/vigil.hpp"

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  const std::string what = argc == 2 ? argv[1] : "";
  const annulus::Session session(argc, argv);
  const annulus::Communicator& world = session.world();
  annulus::set_comm_timeout(1, [&](const std::string& message) {
    std::printf("last word of rank %d: %s\n", world.rank(), message.c_str());
    std::fflush(stdout);
  });
  if (what == "asleep" && world.rank() == 1) std::this_thread::sleep_for(50s);
  if (what == "deadlock") {
    const auto end = std::chrono::steady_clock::now() + 1500ms;
    while (world.rank() == 0 && std::chrono::steady_clock::now() < end) annulus::Heartbeat::beat();
    std::byte token{};
    world.receive({&token, 1}, (world.rank() + 1) % world.size(), 0);
  }
  world.barrier();
  return 0;
}
