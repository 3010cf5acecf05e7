/// One rank meets an error that the others know nothing of: they are in a barrier for ever.
// SPDX-License-Identifier: Apache-2.0
#include "launch/farewell.hpp"
#include "runtime/comm/session.hpp"

int main(int argc, char** argv) {
  const annulus::Session session(argc, argv);
  const auto goodbye = annulus::Communicator::duplicate(session.world().raw());
  if (goodbye.rank() == 1) annulus::launch::part_with_error(goodbye, annulus::ExitCode::resources, "one rank alone");
  session.world().barrier();
  return 0;
}
