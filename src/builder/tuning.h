// The autotuner within a build: where timings come from and go to.
#pragma once

#include <string>
#include <vector>

#include "engine/metadata.h"
#include "plan/autotuner.h"
#include "plan/kernel_cache.h"
#include "plan/planner.h"
#include "tenon/builder.h"

namespace tenon::builder {

// BuilderConfig::tactics, each once and in order. Errors: invalid-argument (another name), no-device (the library cannot be opened).
Result<std::vector<std::string>> parse_tactics(const std::vector<std::string>& names);

// The timings that a build starts from: of BuilderConfig::timing_cache, or of the user's cache folder when it is to
// tune. Errors: io.
Result<plan::TimingCache> load_timings(const BuilderConfig& config);

// Times what `timings` does not know of the problems' configs, on the GPU or the CPU at hand (`machine`), and writes the
// result back to where load_timings reads. Errors: no-device, io.
Result<std::vector<plan::TuneResult>> tune_configs(std::span<const plan::ConfigProblem> problems,
                                                   const plan::Machine& machine, const BuilderConfig& config,
                                                   const plan::TuneOptions& options, plan::KernelCache& kernels,
                                                   plan::TimingCache& timings);

// Lines of the engine's decision log, of pass "tune": for each problem and range of sizes the config, how it was chosen
// ("measured" …) and what else was timed.
std::vector<engine::Decision> describe_choices(std::span<const plan::ConfigProblem> problems);

// What `tenon tune` shows.
struct TuneReport {
  plan::Machine machine;
  std::string timing_cache;                   // the file written; empty: none
  std::vector<plan::ConfigProblem> problems;  // results point into them
  std::vector<plan::TuneResult> results;
  int kernels_compiled = 0, kernels_reused = 0;
  double seconds = 0;
};

// import -> optimise -> plan -> time; no engine is written. Errors: as build, and unsupported (the reference has no
// configs).
Result<TuneReport> tune(const std::string& model, const BuilderConfig& config, const plan::TuneOptions& options);

}  // namespace tenon::builder
