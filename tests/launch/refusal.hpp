/// How a command refuses: one code, one message.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/launch/program.hpp"

namespace annulus::test {

inline void expect_refusal(const Outcome& outcome, int code, const std::string& said) {
  EXPECT_EQ(outcome.code, code) << outcome.err;
  ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
  EXPECT_NE(outcome.messages()[0].find(said), std::string::npos) << outcome.messages()[0];
}

}  // namespace annulus::test
