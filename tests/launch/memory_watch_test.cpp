/// What a process held, to the page, and what it held for a moment only.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "launch/memory.hpp"
#include "runtime/comm/shared_window.hpp"

namespace annulus::launch {
namespace {

const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));

/// Page by page, where no sanitizer adds the shadow of the pages.
class ExactMemoryWatch : public testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "the sanitizer's shadow of the pages would be counted";
#endif
  }
};

/// Pages of its own, of which the first `touched` bytes are written.
class Pages {
 public:
  explicit Pages(std::uint64_t bytes, std::uint64_t touched)
      : bytes_(bytes), at_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    EXPECT_NE(at_, MAP_FAILED);
    madvise(at_, bytes, MADV_NOHUGEPAGE);
    std::memset(at_, 1, touched);
  }
  ~Pages() { munmap(at_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

 private:
  std::uint64_t bytes_;
  void* at_;
};

TEST_F(ExactMemoryWatch, CountsWhatIsTouchedWhileItLooks) {
  const std::uint64_t bytes = 75 * page;  // below what the system's counters are off by
  MemoryWatch watch;
  EXPECT_LE(watch.most_bytes(), 16 * page);
  {
    const Pages held(10 * bytes, bytes);
    watch.look();
  }
  watch.look();
  EXPECT_NEAR(static_cast<double>(watch.most_bytes()), static_cast<double>(bytes), static_cast<double>(16 * page)) << "the most, not what is left";
  EXPECT_LE(MemoryWatch().most_bytes(), 16 * page) << "begins anew";
}

TEST(MemoryWatch, MissesNothingLargeBetweenLooks) {
  constexpr std::uint64_t bytes = std::uint64_t{256} << 20;
  const auto cpus = static_cast<std::uint64_t>(sysconf(_SC_NPROCESSORS_CONF));
  const std::uint64_t late = 3 * std::max<std::uint64_t>(32, 2 * cpus) * cpus * page;
  if (late > bytes / 4) GTEST_SKIP() << "the system's counters may be off by much of what is taken here";
  if (!(std::ofstream("/proc/self/clear_refs") << "5" << std::flush)) GTEST_SKIP() << "the system's peak cannot begin anew";
  MemoryWatch watch;
  { const Pages unseen(bytes, bytes); }
  watch.look();
  EXPECT_GE(watch.most_bytes(), bytes - 2 * late);
}

/// Every rank its own segment, whoever writes there; of one rank it is private memory.
TEST_F(ExactMemoryWatch, CountsOwnSegmentsOfWindows) {
  const Communicator world = Communicator::duplicate(MPI_COMM_WORLD);
  const std::uint64_t bytes = 400 * page;
  MemoryWatch watch;
  {
    const SharedWindow window(world, 2 * bytes);
    world.barrier();
    watch.look();
    const std::uint64_t made = watch.most_bytes();
    EXPECT_LE(made, 64 * page) << "nobody has touched it";
    world.barrier();
    std::memset(window.segment((world.rank() + 1) % world.size()), 1, bytes);
    world.barrier();
    watch.look();
    EXPECT_NEAR(static_cast<double>(watch.most_bytes() - made), static_cast<double>(bytes), static_cast<double>(16 * page));
    world.barrier();
  }
  EXPECT_EQ(resident_window_bytes(), 0U);
}

}  // namespace
}  // namespace annulus::launch
