/// Whoever polls moves all of them on.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/passage.hpp"

#include <algorithm>
#include <cstdio>

#include "runtime/comm/vigil.hpp"

namespace annulus {
namespace {

class ByPassage final : public Journey::Way {
 public:
  ByPassage(Passages& passages, std::shared_ptr<Passage> passage) : passages_(passages), passage_(std::move(passage)) {}
  /// Memory under way may not be freed.
  ~ByPassage() override {
    try {
      wait();
    } catch (const Error& error) {
      std::fprintf(stderr, "annulus: a journey failed while its owner was destroyed: %s\n", error.what());
    }
  }
  bool test() override {
    if (!passage_->is_over()) passages_.poll();
    return passage_->is_over();
  }
  void wait() override { passages_.await(*passage_); }

 private:
  Passages& passages_;
  std::shared_ptr<Passage> passage_;
};

}  // namespace

Journey Passages::begin(std::shared_ptr<Passage> passage, std::uint64_t messages) {
  passages_.push_back(passage);
  const std::uint64_t bytes = passage->bytes();
  Journey journey(std::make_unique<ByPassage>(*this, std::move(passage)), messages, bytes);
  poll();
  return journey;
}

bool Passages::may_start(std::size_t at) const {
  for (std::size_t earlier = 0; earlier < at; ++earlier) {
    if (passages_[earlier]->channel() == passages_[at]->channel() && !passages_[earlier]->started_all()) return false;
  }
  return true;
}

void Passages::poll() {
  for (std::size_t at = 0; at < passages_.size(); ++at) passages_[at]->move_on(may_start(at));
  std::erase_if(passages_, [](const auto& passage) { return passage->is_over(); });
}

void Passages::await(const Passage& passage) {
  const Channel& channel = passage.channel();
  annulus::await(comm_, {channel.incoming ? "receive" : "send", channel.peer, passage.bytes()}, [&] {
    if (!passage.is_over()) poll();
    return passage.is_over();
  });
}

}  // namespace annulus
