// Where the time of a run goes: `tenon bench --profile`.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tenon/runtime.h"

namespace tenon::tools {

// Collects what each step of several runs took. Steps run one at a time: between them a GPU is idle, so the sum is more than a
// run without profiling takes.
class StepTimes final : public Profiler {
 public:
  void step(std::string_view name, std::string_view kernel, double seconds) override;
  // Per kernel: number of steps, microseconds (medians over the runs, summed), percent. Then the same per step, slowest first.
  void print(size_t most_steps) const;

 private:
  struct Times {
    std::string kernel;
    std::vector<double> seconds;
    double median() const;
  };
  std::map<std::string, Times> steps_;  // by the name of the value that they make
};

}  // namespace tenon::tools
