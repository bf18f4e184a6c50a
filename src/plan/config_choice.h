// Which config of a kernel runs a step: the fastest that was timed, else the fastest that Tenon knows of, else the best
// guess.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernel.h"
#include "plan/timing_cache.h"

namespace tenon::plan {

// The GPU, or the CPU, that configs are chosen for.
struct Machine {
  int compute_capability = 90;  // of sm_90; 0: a CPU
  int multiprocessors = 132;     // threads of a CPU
  std::string device;            // "NVIDIA H200"; empty: it is not at hand
  int driver = 0;                // major version of CUDA that the driver has; 0: unknown
  uint64_t workspace_limit = 0;  // bytes of scratch that a config may need, looked at when configs are timed; 0: any
  std::vector<std::string> tactics;  // libraries of others that configs may call where they were timed faster: "cublaslt"
};

// The target that a plan for these is named by: "cpu", "sm_90".
std::string target_name(kernels::Target target, const Machine& machine);

enum class ConfigOrigin { kEstimated, kShipped, kMeasured };
std::string_view config_origin_name(ConfigOrigin origin);  // "estimated" …

struct ConfigChoice {
  kernels::Config config;
  ConfigOrigin origin = ConfigOrigin::kEstimated;
  std::vector<Timing> timings;  // what it was chosen by; none for an estimate
};

// A problem that has several configs on a GPU, with the choice for each range of token counts.
struct ConfigProblem {
  const kernels::Kernel* kernel = nullptr;
  kernels::Problem problem;
  std::string text;  // problem_text
  int steps = 0;     // of the plan, that have this problem
  struct Size {
    int64_t max_tokens = 0;  // as engine::KernelChoice::max_tokens; 0: any
    int64_t rows = 0;        // of the problem at that many tokens
    ConfigChoice choice;
  };
  std::vector<Size> sizes;  // by rising max_tokens
};

// The rows of a problem: all axes of its first input but the last; of conv its images.
ir::Dim rows_of(const kernels::Problem& problem);

// The problem with so many rows: axes of activations that make up the rows become one.
kernels::Problem with_rows(const kernels::Problem& problem, const ir::Dim& rows);

// "linear(f16[rows,768], const f16[768,2304], const f16[2304]) -> f16[rows,2304] {activation = "gelu"}": equal for all
// problems that take equally long, so models of one size share it.
std::string problem_text(const kernels::Problem& problem);

// What is worth timing at so many rows: the best guess first, then by rising estimate.
std::vector<kernels::Config> ranked_configs(const kernels::Kernel& kernel, const kernels::Problem& problem,
                                            int64_t rows, const Machine& machine);

// What else is, where libraries are allowed (Machine::tactics).
std::vector<kernels::Config> library_configs(const kernels::Kernel& kernel, const kernels::Problem& problem,
                                             const Machine& machine);

// Stands for all that decides the machine code of these configs, in any order.
std::string timed_code_name(const kernels::Kernel& kernel, const kernels::Problem& problem,
                            std::vector<std::string> configs, const Machine& machine);

// `timings` may be null. An entry with another code or driver than today's is not used; nor is a config that the kernel
// does not have any more.
ConfigChoice choose_config(const kernels::Kernel& kernel, const kernels::Problem& problem, int64_t rows,
                           const Machine& machine, const TimingCache* timings);

// Where timings of a problem are kept.
TimingKey timing_key(const kernels::Kernel& kernel, const std::string& text, int64_t rows, const Machine& machine);

// True when `entry` was timed with today's code and driver, or is not bound to any.
bool is_current(const TimingEntry& entry, const kernels::Kernel& kernel, const kernels::Problem& problem,
                const Machine& machine);

}  // namespace tenon::plan
