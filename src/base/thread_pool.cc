#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tenon {
namespace {

// Spinning bridges the gap between two steps of a run; longer waits sleep, because a spinning thread starves others on
// a shared machine (measured: 25 ms became 130-190 ms when another process took a core).
constexpr auto kSpin = std::chrono::microseconds(50);

thread_local bool inside_loop = false;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

uint64_t packed(auto begin, auto end) { return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end); }

template <class Ready>
bool spin_until(Ready ready) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  while (true) {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      relax();
    }
    if (std::chrono::steady_clock::now() > deadline) return ready();
  }
}

}  // namespace

int ThreadPool::available() {
  int count = 1;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = std::max(1, CPU_COUNT(&set));
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    double quota = 0, period = 0;
    if (std::fscanf(file, "%lf %lf", &quota, &period) == 2 && period > 0) {
      count = std::clamp(static_cast<int>(std::ceil(quota / period)), 1, count);
    }
    std::fclose(file);
  }
  return count;
}

ThreadPool::ThreadPool(int threads) : shares_(static_cast<size_t>(threads > 0 ? threads : threads = available())) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_chunk(int index) const {
  const int64_t begin = count_ * index / chunks_, end = count_ * (index + 1) / chunks_;
  inside_loop = true;
  if (begin < end) function_(body_, begin, end, index);
  inside_loop = false;
}

void ThreadPool::run(int64_t count, Function function, void* body) {
  if (count <= 0) return;
  if (workers_.empty() || inside_loop || count == 1) {
    function(body, 0, count, 0);
    return;
  }
  std::lock_guard serialize(callers_);
  run_on_workers(count, function, body);
}

void ThreadPool::run_on_workers(int64_t count, Function function, void* body) {
  function_ = function;
  body_ = body;
  count_ = count;
  chunks_ = static_cast<int>(std::min<int64_t>(count, threads()));
  pending_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  {
    std::lock_guard lock(mutex_);
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  run_chunk(0);
  // The workers are at most one chunk behind: spin, but yield the core when they were descheduled.
  while (!spin_until([this] { return pending_.load(std::memory_order_acquire) == 0; })) std::this_thread::yield();
}

void ThreadPool::share(int64_t count, TaskFunction function, void* body) {
  if (count <= 0) return;
  if (workers_.empty() || inside_loop || count == 1) {
    Tasks all(count);
    function(body, all, 0);
    return;
  }
  std::lock_guard serialize(callers_);
  for (int64_t i = 0; i < threads(); ++i)
    shares_[static_cast<size_t>(i)].range.store(packed(count * i / threads(), count * (i + 1) / threads()),
                                                std::memory_order_relaxed);
  const auto start = [&](int64_t, int64_t, int thread) {
    Tasks tasks(shares_, thread);
    function(body, tasks, thread);
  };
  run_on_workers(
      threads(),
      [](void* f, int64_t begin, int64_t end, int thread) { (*static_cast<decltype(start)*>(f))(begin, end, thread); },
      const_cast<void*>(static_cast<const void*>(&start)));
}

int64_t Tasks::next_shared() {
  for (size_t i = 0; i < shares_.size(); ++i) {
    std::atomic<uint64_t>& range = shares_[(own_ + i) % shares_.size()].range;
    uint64_t seen = range.load(std::memory_order_relaxed);
    while (true) {
      const uint64_t begin = seen >> 32, end = seen & 0xffffffffu;
      if (begin >= end) break;
      const uint64_t rest = i == 0 ? packed(begin + 1, end) : packed(begin, end - 1);
      if (range.compare_exchange_weak(seen, rest, std::memory_order_relaxed))
        return static_cast<int64_t>(i == 0 ? begin : end - 1);
    }
  }
  return -1;
}

void ThreadPool::work(int index) {
  uint64_t seen = 0;
  while (true) {
    const auto changed = [&] { return generation_.load(std::memory_order_acquire) != seen; };
    if (!spin_until(changed)) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, changed);
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    if (index < chunks_) run_chunk(index);
    pending_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace tenon
