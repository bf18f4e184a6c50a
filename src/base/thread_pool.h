// A fixed pool of threads for data-parallel loops. The caller takes part; nothing is allocated per loop.
//
// Results stay bit-identical for any thread count, and whoever computes what, as long as each index writes its own
// outputs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

namespace tenon {

// The tasks [0, count) of ThreadPool::share as one thread sees them.
class Tasks {
 public:
  // All of them, for a loop without a pool.
  explicit Tasks(int64_t count) : left_(count) {}

  // The next task, -1 when none is left.
  int64_t next() {
    if (shares_.empty()) return at_ < left_ ? at_++ : -1;
    return next_shared();
  }
  // What `next` is likely to give, -1 where this thread's own share is used up.
  int64_t peek() const {
    if (shares_.empty()) return at_ < left_ ? at_ : -1;
    const uint64_t range = shares_[own_].range.load(std::memory_order_relaxed);
    return range >> 32 < (range & 0xffffffffu) ? static_cast<int64_t>(range >> 32) : -1;
  }

 private:
  friend class ThreadPool;
  // What is left of a thread's share: its first task in the upper half, the end in the lower.
  struct alignas(64) Share {
    std::atomic<uint64_t> range{0};
  };
  Tasks(std::span<Share> shares, int thread) : shares_(shares), own_(static_cast<size_t>(thread)) {}
  int64_t next_shared();

  int64_t at_ = 0, left_ = 0;
  std::span<Share> shares_;
  size_t own_ = 0;
};

class ThreadPool {
 public:
  // `threads` counts the caller too; 0 means as many as the process may use (affinity and cgroup quota honoured).
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end, thread) over a static partition of [0, count) in contiguous chunks, one per thread (fewer
  // when count is small), and returns when all are done. `body` must not throw. Loops of one pool run one after
  // another; a nested call from inside a body runs serially.
  template <class Body>
  void parallel_for(int64_t count, Body&& body) {
    using B = std::remove_reference_t<Body>;
    run(
        count, [](void* b, int64_t begin, int64_t end, int thread) { (*static_cast<B*>(b))(begin, end, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // Calls body(Tasks&, thread) on every thread, and returns when all tasks, fewer than 2^31, are done. A thread's tasks
  // are neighbours, in order, until it has none and takes the last of another's: threads differ in speed, as others use
  // the same cores. A nested call runs serially.
  template <class Body>
  void share(int64_t count, Body&& body) {
    using B = std::remove_reference_t<Body>;
    share(
        count, [](void* b, Tasks& tasks, int thread) { (*static_cast<B*>(b))(tasks, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // How many threads the process may use.
  static int available();

 private:
  using Function = void (*)(void* body, int64_t begin, int64_t end, int thread);
  using TaskFunction = void (*)(void* body, Tasks& tasks, int thread);
  void run(int64_t count, Function function, void* body);
  void run_on_workers(int64_t count, Function function, void* body);
  void share(int64_t count, TaskFunction function, void* body);
  void work(int index);
  void run_chunk(int index) const;

  std::vector<std::thread> workers_;
  std::mutex callers_;  // one loop at a time
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> pending_{0};
  std::atomic<bool> stop_{false};
  // The loop in progress.
  Function function_ = nullptr;
  void* body_ = nullptr;
  int64_t count_ = 0;
  int chunks_ = 0;
  std::vector<Tasks::Share> shares_;
};

}  // namespace tenon
