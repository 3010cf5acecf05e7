/// SIGUSR1: save what is done and stop.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace annulus::launch {

/// From here on SIGUSR1 asks to stop: call it before MPI starts, so that none comes too early. Local.
void listen_for_stop();
/// It has come to this rank. Local.
bool stop_asked();
/// One that comes too late is not to kill what has all but ended. Local.
void ignore_stop();

}  // namespace annulus::launch
