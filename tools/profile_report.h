// `tenon bench --profile`: where the time of a run goes, what binds each step, and what each rewrite is worth.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/limits.h"
#include "tools/profile.h"
#include "tools/step_costs.h"

namespace tenon::tools {

struct ProfiledStep {
  StepCost cost;
  std::string kernel;
  double seconds = 0;  // median
  // "arithmetic", "memory", "cache" (bytes of either), "latency" (it takes ten times what any of them asks for, or does
  // nothing that is counted); empty: the limits are not known.
  std::string bound;
  double of_limit = 0;  // the least time that the binding limit allows, by the time taken

  double bytes() const { return cost.weight_bytes + cost.activation_bytes; }
};

// The engine without one pass, beside the engine as it is, in turn.
struct PassWorth {
  std::string pass;
  int applied = 0;               // times, in the engine's decisions
  double with = 0, without = 0;  // median seconds of a run
  std::string failure;           // why there is no engine without it
  double worth() const { return without / with - 1; }
};

struct ProfileReport {
  std::string engine;
  int64_t batch = 0, seq = 0;
  double run_seconds = 0;  // median of whole runs that nobody watches
  Limits limits;
  std::vector<ProfiledStep> steps;  // in the order in which they run
  std::vector<PassWorth> passes;    // none: not asked for

  double step_seconds() const;
};

// Joins times and costs by the names of values. What a kernel computes of the step right ahead is its cost too.
ProfileReport make_report(const StepTimes& times, const std::vector<StepCost>& costs, const Limits& limits);

// Parts of the steps' time by group: "GEMM" … Largest first.
struct Share {
  std::string group;
  int steps = 0;
  double seconds = 0, flops = 0, bytes = 0;
};
std::vector<Share> shares_of(const ProfileReport& report);

// Parts of the steps' time by what binds them, and what would shorten them. Largest first.
struct Binding {
  std::string bound, advice;
  double seconds = 0;
  double of_limit = 0;  // the least time that the limit allows, by the time taken
};
std::vector<Binding> bindings_of(const ProfileReport& report);

std::string describe(const Limits& limits);
void print_profile(const ProfileReport& report, size_t most_steps);
nlohmann::ordered_json profile_json(const ProfileReport& report);
// One page that needs nothing else.
std::string profile_html(const std::vector<ProfileReport>& reports);

}  // namespace tenon::tools
