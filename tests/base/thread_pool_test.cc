#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace tenon {
namespace {

// How often each task ran, and on which thread last.
struct Ran {
  std::vector<std::atomic<int>> times, thread;
  explicit Ran(int64_t count) : times(static_cast<size_t>(count)), thread(static_cast<size_t>(count)) {}
  void note(int64_t task, int by) {
    times[static_cast<size_t>(task)].fetch_add(1);
    thread[static_cast<size_t>(task)] = by;
  }
  bool each_once() const {
    return std::ranges::all_of(times, [](const std::atomic<int>& t) { return t == 1; });
  }
};

TEST(ThreadPool, SharedTasksRunOnceEach) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 2, 3, 6, 7, 8, 1000}) {
      for (int again = 0; again < 50; ++again) {
        Ran ran(count);
        pool.share(count, [&](Tasks& tasks, int thread) {
          ASSERT_LT(thread, threads);
          for (int64_t i = tasks.next(); i >= 0; i = tasks.next()) ran.note(i, thread);
          EXPECT_EQ(tasks.next(), -1);
          EXPECT_EQ(tasks.peek(), -1);
        });
        ASSERT_TRUE(ran.each_once()) << threads << " threads, " << count << " tasks";
      }
    }
  }
}

TEST(ThreadPool, OneThreadTakesTasksInOrder) {
  ThreadPool pool(1);
  std::vector<int64_t> seen;
  pool.share(5, [&](Tasks& tasks, int) {
    EXPECT_EQ(tasks.peek(), 0);
    for (int64_t i = tasks.next(); i >= 0; i = tasks.next()) seen.push_back(i);
  });
  EXPECT_EQ(seen, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

TEST(ThreadPool, AFastThreadTakesTheLastTasksOfASlowOne) {
  constexpr int64_t kCount = 64;
  ThreadPool pool(2);
  Ran ran(kCount);
  std::atomic<int64_t> left{kCount};
  pool.share(kCount, [&](Tasks& tasks, int thread) {
    for (int64_t i = tasks.next(); i >= 0; i = tasks.next()) {
      ran.note(i, thread);
      left.fetch_sub(1);
      // The caller stays at its first task until the other has done all the rest.
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (thread == 0 && left > 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    }
  });
  EXPECT_TRUE(ran.each_once());
  EXPECT_EQ(ran.thread[0], 0);
  for (size_t i = 1; i < kCount; ++i) EXPECT_EQ(ran.thread[i], 1) << i;
}

TEST(ThreadPool, ALoopWithinALoopRunsOnTheSameThread) {
  ThreadPool pool(3);
  Ran ran(30 * 20);
  pool.share(30, [&](Tasks& outer, int) {
    for (int64_t i = outer.next(); i >= 0; i = outer.next()) {
      const std::thread::id self = std::this_thread::get_id();
      pool.share(20, [&](Tasks& inner, int thread) {
        EXPECT_EQ(std::this_thread::get_id(), self);
        for (int64_t j = inner.next(); j >= 0; j = inner.next()) ran.note(i * 20 + j, thread);
      });
    }
  });
  EXPECT_TRUE(ran.each_once());
}

}  // namespace
}  // namespace tenon
