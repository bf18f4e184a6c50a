// Times the configs that a model's steps can run with, on the machine at hand, and keeps the results in a TimingCache.
//
// For each distinct problem (the layers of a model share four or so) and each range of token counts: the configs are
// ranked by their estimates, the best few race (candidates in turn, A B C A B C …, so that a change of the clock meets
// them all; after each round the slower half drops out), and of those within 1.5 % of the fastest the one that was
// ranked first wins.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "plan/config_choice.h"

namespace tenon::plan {

// Runs configs of one problem on random data. Tests put in a fake one.
class ConfigTimer {
 public:
  virtual ~ConfigTimer() = default;
  // Why a problem cannot be timed; empty: it can.
  virtual std::string declines(const kernels::Problem& problem) const = 0;
  // Machine code of what will be timed, all at once. `progress` is told how much is done, from 0 to 1.
  struct Work {
    const ConfigProblem* problem;
    kernels::Config config;
  };
  virtual Status compile(std::span<const Work> work, const std::function<void(double)>& progress) = 0;
  // Gets ready to time these configs at so many rows. Returns for each config why it is left out; empty: it is ready.
  virtual Result<std::vector<std::string>> prepare(const ConfigProblem& problem, int64_t rows,
                                                   std::span<const kernels::Config> configs) = 0;
  // Seconds of one launch of configs[index].
  virtual Result<double> seconds(size_t index) = 0;
};

struct TuneOptions {
  int candidates = 8;             // that race for each size; 0: all
  std::string kernels = "*";      // only kernels whose id matches this (fnmatch)
  std::vector<std::string> only;  // only configs that match one of these (fnmatch); these race however they are ranked
  bool again = false;             // also what the cache knows
  // Seconds that one timing of a large problem lasts: 0.03 and more bring the GPU to its power limit, where configs may
  // rank otherwise than in bursts.
  double sustained = 0;
  // Told what is being done and how far it is, from 0 to 1.
  std::function<void(std::string_view phase, double fraction)> on_progress;
};

// What became of one problem at one size.
struct TuneResult {
  const ConfigProblem* problem = nullptr;
  int64_t max_tokens = 0, rows = 0;
  bool cached = false;                // not timed: the cache knew
  std::string config;                 // the winner; empty: none could run
  std::string guess;                  // what would run without timing
  std::vector<Timing> timings;        // the winner first, then by rising time
  std::vector<std::string> left_out;  // "tile=…: needs 3 MB of workspace, the limit is 1 MB"
};

// Adds to `cache` what it does not know. Errors: those of the timer.
Result<std::vector<TuneResult>> autotune(std::span<const ConfigProblem> problems, const Machine& machine,
                                         const TuneOptions& options, ConfigTimer& timer, TimingCache& cache);

// The race by itself: medians and spreads of `count` candidates, of which `time` gives one sample. Those that dropped
// out early keep what was seen of them.
struct RaceResult {
  size_t winner = 0;
  std::vector<double> medians, spreads;  // seconds; fraction of the median
};
Result<RaceResult> race(size_t count, const std::function<Result<double>(size_t)>& time);

}  // namespace tenon::plan
