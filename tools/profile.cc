#include "tools/profile.h"

#include <algorithm>

namespace tenon::tools {

void StepTimes::step(std::string_view name, std::string_view kernel, double seconds) {
  const auto [at, fresh] = steps_.try_emplace(std::string(name));
  if (fresh) order_.push_back(at->first);
  Times& times = at->second;
  times.kernel = kernel;
  times.seconds.push_back(seconds);
}

double StepTimes::Times::median() const {
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  return sorted[sorted.size() / 2];
}

std::vector<std::pair<std::string, const StepTimes::Times*>> StepTimes::in_order() const {
  std::vector<std::pair<std::string, const Times*>> list;
  for (const std::string& name : order_) list.emplace_back(name, &steps_.at(name));
  return list;
}

}  // namespace tenon::tools
