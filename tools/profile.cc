#include "tools/profile.h"

#include <fmt/core.h>

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

void StepTimes::print(size_t most_steps) const {
  struct Row {
    std::string name;
    std::string kernel;
    int count = 0;
    double seconds = 0;
  };
  std::map<std::string, Row> by_kernel;
  std::vector<Row> rows;
  double total = 0;
  for (const auto& [name, times] : steps_) {
    const double seconds = times.median();
    rows.push_back({name, times.kernel, 1, seconds});
    Row& kernel = by_kernel[times.kernel];
    kernel.kernel = times.kernel;
    ++kernel.count;
    kernel.seconds += seconds;
    total += seconds;
  }
  std::vector<Row> kernels;
  for (const auto& [name, row] : by_kernel) kernels.push_back(row);
  const auto slower = [](const Row& a, const Row& b) { return a.seconds > b.seconds; };
  std::sort(kernels.begin(), kernels.end(), slower);
  std::sort(rows.begin(), rows.end(), slower);
  fmt::print("{:<28} {:>6} {:>10} {:>10} {:>6}\n", "kernel", "steps", "us", "us each", "%");
  for (const Row& k : kernels) {
    fmt::print("{:<28} {:>6} {:>10.1f} {:>10.2f} {:>6.1f}\n", k.kernel, k.count, 1e6 * k.seconds, 1e6 * k.seconds / k.count, 100 * k.seconds / total);
  }
  fmt::print("{:<28} {:>6} {:>10.1f}\n\nslowest steps\n", "all", rows.size(), 1e6 * total);
  for (size_t i = 0; i < std::min(most_steps, rows.size()); ++i) {
    fmt::print("{:>10.2f} us  {:<24} {}\n", 1e6 * rows[i].seconds, rows[i].kernel, rows[i].name);
  }
}

}  // namespace tenon::tools
