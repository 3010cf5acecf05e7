/// The main of every test under MPI: rank 0 reports, the others speak up only when something fails.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <string>

namespace {

/// Prints failures with their rank and keeps ranks in step: none enters a test while another is still in the one
/// before.
class RankReporter : public testing::EmptyTestEventListener {
 public:
  explicit RankReporter(int rank) : rank_(rank) {}

  void OnTestStart(const testing::TestInfo& test) override {
    test_ = std::string(test.test_suite_name()) + "." + test.name();
  }

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (rank_ == 0 || !result.failed()) return;  // gtest's own printer speaks for rank 0
    std::fprintf(stderr, "[rank %d] %s\n%s:%d: %s\n", rank_, test_.c_str(),
                 result.file_name() == nullptr ? "?" : result.file_name(), result.line_number(), result.message());
  }

  void OnTestEnd(const testing::TestInfo&) override { MPI_Barrier(MPI_COMM_WORLD); }

 private:
  int rank_;
  std::string test_;  ///< kept here: gtest holds its lock while it reports a result
};

/// 0 if this rank ran at least one test and none failed.
int run_tests() {
  const int failed = RUN_ALL_TESTS();
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  if (testing::GTEST_FLAG(list_tests)) return failed;
  if (all.test_to_run_count() > 0) return failed;
  std::fprintf(stderr, "no test ran: the filter matches none\n");
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  int level = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
  testing::InitGoogleTest(&argc, argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);

  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new RankReporter(rank));  // gtest deletes it

  const int own_status = run_tests();
  int status = own_status;
  MPI_Allreduce(MPI_IN_PLACE, &status, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  if (rank == 0 && status != own_status) std::printf("[  FAILED  ] on another rank, see its own lines\n");
  MPI_Finalize();
  return status;
}
