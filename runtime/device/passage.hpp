/// Journeys that this process moves on itself, in the order in which their messages must match.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/journey.hpp"

namespace annulus {

/// MPI matches messages of one way, peer and tag in the order in which they are started.
struct Channel {
  bool incoming;
  int peer;
  int tag;
  friend bool operator==(const Channel&, const Channel&) = default;
};

/// What one journey still has to do.
class Passage {
 public:
  Passage(const Channel& channel, std::uint64_t bytes) : channel_(channel), bytes_(bytes) {}
  virtual ~Passage() = default;
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;

  const Channel& channel() const { return channel_; }
  std::uint64_t bytes() const { return bytes_; }
  /// Does not block. `may_start`: all messages that its own must follow have been started.
  virtual void move_on(bool may_start) = 0;
  virtual bool started_all() const = 0;
  virtual bool is_over() const = 0;

 private:
  Channel channel_;
  std::uint64_t bytes_;
};

/// Those under way, oldest first. Outlives its journeys.
class Passages {
 public:
  explicit Passages(const Communicator& comm) : comm_(comm) {}

  Journey begin(std::shared_ptr<Passage> passage, std::uint64_t messages);
  void poll();
  /// Until `passage` is over, but not for ever.
  void await(const Passage& passage);

 private:
  bool may_start(std::size_t at) const;

  const Communicator& comm_;
  std::deque<std::shared_ptr<Passage>> passages_;
};

}  // namespace annulus
