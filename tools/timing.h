// The one loop that times runs: `tenon bench` and `tenon exec`.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace tenon::tools {

// Warming up, then measuring, each until both its count and its time are reached.
struct TimingPlan {
  size_t streams = 1;   // that run at the same time, each in a thread
  int warmup_runs = 0;  // of each stream
  double warmup_seconds = 0;
  int runs = 1;  // of all streams together
  double seconds = 0;
  double pause_before = 0, pause_after = 0;  // seconds, around every run
};

struct TimedWork {
  // Before run number `run`, not timed; may be empty.
  std::function<void(size_t stream, size_t run)> prepare;
  std::function<void(size_t stream)> run;
  std::function<void(double fraction)> done;  // after each run that counts; may be empty
};

struct TimedRun {
  double begin = 0, end = 0;  // seconds_now()
  size_t index = 0;           // its number
  double seconds() const { return end - begin; }
};

struct Timing {
  double first = 0;            // seconds of the first run of all, which allocates and records
  int warmup_runs = 0;         // done by all streams
  std::vector<TimedRun> runs;  // that count, by their beginnings
  double walltime = 0;         // seconds from the first one's begin to the last one's end
};

// An exception of a run ends all and is thrown on.
Timing time_runs(const TimingPlan& plan, const TimedWork& work);

// Of numbers in rising order, at least one: the nearest rank.
double percentile(const std::vector<double>& sorted, double percent);
double mean(const std::vector<double>& numbers);

}  // namespace tenon::tools
