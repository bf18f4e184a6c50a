// Where the time of a run goes: `tenon bench --profile`.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tenon/runtime.h"

namespace tenon::tools {

// Collects what each step of several runs took. Steps run one at a time: between them a GPU is idle, so the sum is more than a
// run without profiling takes.
class StepTimes final : public Profiler {
 public:
  void step(std::string_view name, std::string_view kernel, double seconds) override;

  struct Times {
    std::string kernel;
    std::vector<double> seconds;  // of each run
    double median() const;
  };
  // Steps in the order in which they ran first, by the name of the value that they make.
  std::vector<std::pair<std::string, const Times*>> in_order() const;

 private:
  std::map<std::string, Times> steps_;
  std::vector<std::string> order_;
};

}  // namespace tenon::tools
