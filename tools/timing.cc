#include "tools/timing.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "tools/report.h"

namespace tenon::tools {
namespace {

void pause(double seconds) {
  if (seconds > 0) std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

TimedRun time_run(const TimingPlan& plan, const TimedWork& work, size_t stream, size_t index) {
  if (work.prepare) work.prepare(stream, index);
  pause(plan.pause_before);
  TimedRun run;
  run.index = index;
  run.begin = seconds_now();
  work.run(stream);
  run.end = seconds_now();
  pause(plan.pause_after);
  return run;
}

void in_all_streams(size_t streams, const std::function<void(size_t)>& work) {
  std::vector<std::exception_ptr> failed(streams);
  const auto guarded = [&](size_t stream) {
    try {
      work(stream);
    } catch (...) {
      failed[stream] = std::current_exception();
    }
  };
  std::vector<std::jthread> others;
  for (size_t stream = 1; stream < streams; ++stream) others.emplace_back(guarded, stream);
  guarded(0);
  others.clear();
  for (const std::exception_ptr& e : failed)
    if (e) std::rethrow_exception(e);
}

}  // namespace

Timing time_runs(const TimingPlan& plan, const TimedWork& work) {
  Timing timing;
  timing.first = time_run(plan, work, 0, 0).seconds();
  std::mutex mutex;
  in_all_streams(plan.streams, [&](size_t stream) {
    int runs = 0;
    for (const double start = seconds_now(); runs < plan.warmup_runs || seconds_now() - start < plan.warmup_seconds; ++runs) {
      time_run(plan, work, stream, static_cast<size_t>(runs));
    }
    const std::lock_guard lock(mutex);
    timing.warmup_runs += runs;
  });
  size_t taken = 0;
  const double start = seconds_now();
  in_all_streams(plan.streams, [&](size_t stream) {
    for (std::unique_lock lock(mutex); taken < static_cast<size_t>(plan.runs) || seconds_now() - start < plan.seconds;) {
      const size_t index = taken++;
      lock.unlock();
      const TimedRun run = time_run(plan, work, stream, index);
      lock.lock();
      timing.runs.push_back(run);
      if (work.done) work.done(plan.seconds > 0 ? std::min(1.0, (run.end - start) / plan.seconds) : static_cast<double>(taken) / plan.runs);
    }
  });
  std::sort(timing.runs.begin(), timing.runs.end(), [](const TimedRun& a, const TimedRun& b) { return a.begin < b.begin; });
  for (const TimedRun& run : timing.runs) timing.walltime = std::max(timing.walltime, run.end - timing.runs.front().begin);
  return timing;
}

double percentile(const std::vector<double>& sorted, double percent) {
  const auto rank = static_cast<size_t>(percent / 100 * static_cast<double>(sorted.size()));
  return sorted[std::min(sorted.size() - 1, rank)];
}

double mean(const std::vector<double>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0) / static_cast<double>(numbers.size());
}

}  // namespace tenon::tools
