/// One flag, set by the handler.
// SPDX-License-Identifier: Apache-2.0
#include "launch/stop_request.hpp"

#include <csignal>

namespace annulus::launch {
namespace {

volatile std::sig_atomic_t signalled = 0;

void note_signal(int) { signalled = 1; }

}  // namespace

void listen_for_stop() { std::signal(SIGUSR1, note_signal); }
bool stop_asked() { return signalled != 0; }
void ignore_stop() { std::signal(SIGUSR1, SIG_IGN); }

}  // namespace annulus::launch
