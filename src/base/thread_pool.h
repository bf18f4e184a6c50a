// A fixed pool of threads for data-parallel loops. The caller takes part; nothing is allocated per loop.
//
// Work is split statically, so which thread computes what never depends on timing (kernels keep bit-identical results
// for any thread count as long as each index writes its own outputs).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace tenon {

class ThreadPool {
 public:
  // `threads` counts the caller too; 0 means as many as the process may use (affinity and cgroup quota honoured).
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end, thread) over a static partition of [0, count) in contiguous chunks, one per thread (fewer when
  // count is small), and returns when all are done. `body` must not throw. Loops of one pool run one after another; a
  // nested call from inside a body runs serially.
  template <class Body>
  void parallel_for(int64_t count, Body&& body) {
    using B = std::remove_reference_t<Body>;
    run(count, [](void* b, int64_t begin, int64_t end, int thread) { (*static_cast<B*>(b))(begin, end, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // How many threads the process may use.
  static int available();

 private:
  using Function = void (*)(void* body, int64_t begin, int64_t end, int thread);
  void run(int64_t count, Function function, void* body);
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
};

}  // namespace tenon
