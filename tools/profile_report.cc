#include "tools/profile_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "tools/report.h"

namespace tenon::tools {
namespace {

// `weights`: bytes of all weights, which a run reads once.
void find_bound(ProfiledStep& step, const Limits& limits, double weights) {
  const double operations = limits.operations(step.cost.factors);
  if (step.seconds <= 0 || limits.memory <= 0 || limits.cache <= 0) return;
  double from_memory = 0, from_cache = 0;
  (weights > limits.held ? from_memory : from_cache) += step.cost.weight_bytes;
  (step.cost.activation_bytes > limits.held ? from_memory : from_cache) += step.cost.activation_bytes;
  const std::pair<const char*, double> least[] = {{"arithmetic", operations > 0 ? step.cost.flops / operations : 0},
                                                  {"memory", from_memory / limits.memory},
                                                  {"cache", from_cache / limits.cache}};
  const auto* most = std::max_element(std::begin(least), std::end(least),
                                      [](const auto& a, const auto& b) { return a.second < b.second; });
  constexpr double kFar = 0.1;
  step.of_limit = most->second / step.seconds;
  step.bound = step.of_limit < kFar ? "latency" : most->first;
}

const char* advice_for(std::string_view bound) {
  if (bound == "arithmetic") return "fewer operations: a lower precision, no padding";
  if (bound == "memory") return "fewer bytes: more texts at once for the same weights, a lower precision";
  if (bound == "cache") return "fewer passes over the rows: fused steps, a lower precision";
  return "more texts at once; fewer, larger steps; more streams";
}

// The rows between both do not leave the kernel.
void add_absorbed(StepCost& cost, const StepCost& ahead) {
  if (cost.group != ahead.group) cost.group = ahead.group + "+" + cost.group;
  cost.flops += ahead.flops;
  cost.weight_bytes += ahead.weight_bytes;
  cost.activation_bytes += ahead.activation_bytes - 2 * ahead.written_bytes;
}

std::string rate(double count, double seconds) {
  return seconds > 0 ? fmt::format("{:.1f}", count / seconds * 1e-9) : "-";
}

}  // namespace

std::string describe(const Limits& l) {
  std::string rates;
  for (const auto& [name, operations] :
       {std::pair("f32", l.f32), {"tf32", l.tf32 == l.f32 ? 0 : l.tf32}, {"16 bits", l.bf16}, {"int8", l.int8}})
    if (operations > 0) rates += fmt::format("{}{:.0f} {}", rates.empty() ? "" : ", ", 1e-9 * operations, name);
  return fmt::format("{}: {}{}; {:.1f} GB/s from memory, {:.1f} from the cache", l.device,
                     rates.empty() ? "" : "GFLOP/s ", rates, 1e-9 * l.memory, 1e-9 * l.cache);
}

double ProfileReport::step_seconds() const {
  double all = 0;
  for (const ProfiledStep& s : steps) all += s.seconds;
  return all;
}

ProfileReport make_report(const StepTimes& times, const std::vector<StepCost>& costs, const Limits& limits) {
  std::map<std::string, const StepCost*> by_name;
  double weights = 0;
  for (const StepCost& c : costs) {
    by_name[c.name] = &c;
    weights += c.weight_bytes;
  }
  ProfileReport report;
  report.limits = limits;
  for (const auto& [name, taken] : times.in_order()) {
    ProfiledStep& step = report.steps.emplace_back();
    if (const auto it = by_name.find(name); it != by_name.end()) {
      step.cost = *it->second;
      const auto& absorbers = step.cost.absorbers;
      const bool absorbs = std::find(absorbers.begin(), absorbers.end(), taken->kernel) != absorbers.end();
      if (absorbs && it->second > costs.data()) add_absorbed(step.cost, it->second[-1]);
    }
    step.cost.name = name;
    step.kernel = taken->kernel;
    step.seconds = taken->median();
    find_bound(step, limits, weights);
  }
  return report;
}

std::vector<Share> shares_of(const ProfileReport& report) {
  std::map<std::string, Share> groups;
  for (const ProfiledStep& s : report.steps) {
    Share& group = groups[s.cost.group];
    group.group = s.cost.group.empty() ? "other" : s.cost.group;
    ++group.steps;
    group.seconds += s.seconds;
    group.flops += s.cost.flops;
    group.bytes += s.bytes();
  }
  std::vector<Share> out;
  for (const auto& [name, share] : groups) out.push_back(share);
  std::sort(out.begin(), out.end(), [](const Share& a, const Share& b) { return a.seconds > b.seconds; });
  return out;
}

std::vector<Binding> bindings_of(const ProfileReport& report) {
  std::map<std::string, Binding> found;
  for (const ProfiledStep& s : report.steps) {
    if (s.bound.empty()) continue;
    Binding& binding = found[s.bound];
    binding.bound = s.bound;
    binding.advice = advice_for(s.bound);
    binding.seconds += s.seconds;
    binding.of_limit += s.of_limit * s.seconds;
  }
  std::vector<Binding> out;
  for (auto& [bound, binding] : found) {
    binding.of_limit /= binding.seconds;
    if (bound != "latency" && binding.of_limit < 0.5) binding.advice += "; larger steps: more texts at once, --tune";
    out.push_back(binding);
  }
  std::sort(out.begin(), out.end(), [](const Binding& a, const Binding& b) { return a.seconds > b.seconds; });
  return out;
}

void print_profile(const ProfileReport& report, size_t most_steps) {
  const double all = std::max(report.step_seconds(), 1e-12);
  const auto percent = [&](double seconds) { return 100 * seconds / all; };
  fmt::print("\nbatch {} seq {}: {:.3f} ms a run, {:.3f} ms in steps that run one at a time\n", report.batch,
             report.seq, 1e3 * report.run_seconds, 1e3 * all);
  if (report.limits.memory > 0) {
    fmt::print("{}\n", describe(report.limits));
  }
  fmt::print("\n{:<16} {:>6} {:>10} {:>6} {:>9} {:>8}\n", "share of", "steps", "us", "%", "GFLOP/s", "GB/s");
  for (const Share& s : shares_of(report)) {
    fmt::print("{:<16} {:>6} {:>10.1f} {:>6.1f} {:>9} {:>8}\n", s.group, s.steps, 1e6 * s.seconds, percent(s.seconds),
               rate(s.flops, s.seconds), rate(s.bytes, s.seconds));
  }
  const std::vector<Binding> bindings = bindings_of(report);
  if (!bindings.empty())
    fmt::print("\n{:<16} {:>6} {:>10} {:>6} {:>9}  {}\n", "bound by", "", "us", "%", "of limit", "what would help");
  for (const Binding& b : bindings) {
    fmt::print("{:<16} {:>6} {:>10.1f} {:>6.1f} {:>7.0f} %  {}\n", b.bound, "", 1e6 * b.seconds, percent(b.seconds),
               100 * b.of_limit, b.advice);
  }
  std::vector<const ProfiledStep*> slowest;
  for (const ProfiledStep& s : report.steps) slowest.push_back(&s);
  std::stable_sort(slowest.begin(), slowest.end(),
                   [](const ProfiledStep* a, const ProfiledStep* b) { return a->seconds > b->seconds; });
  fmt::print("\nslowest steps\n{:>10} {:>6} {:>9} {:>8} {:>8}  {:<10} {:>8}  {:<5} {:<24} {}\n", "us", "%", "GFLOP/s",
             "GB/s", "FLOP/B", "bound", "of limit", "in", "kernel", "value");
  for (size_t i = 0; i < std::min(most_steps, slowest.size()); ++i) {
    const ProfiledStep& s = *slowest[i];
    fmt::print("{:>10.2f} {:>6.2f} {:>9} {:>8} {:>8}  {:<10} {:>8}  {:<5} {:<24} {}\n", 1e6 * s.seconds,
               percent(s.seconds), rate(s.cost.flops, s.seconds), rate(s.bytes(), s.seconds),
               s.bytes() > 0 ? fmt::format("{:.1f}", s.cost.flops / s.bytes()) : "-", s.bound.empty() ? "-" : s.bound,
               s.bound.empty() ? "-" : fmt::format("{:.0f} %", 100 * s.of_limit), s.cost.factors, s.kernel,
               s.cost.name);
  }
  if (report.passes.empty()) return;
  fmt::print("\nwithout the pass                   applied        ms   slower\n");
  for (const PassWorth& p : report.passes) {
    if (!p.failure.empty())
      fmt::print("{:<34} {:>7}  {}\n", p.pass, p.applied, p.failure);
    else
      fmt::print("{:<34} {:>7} {:>9.3f} {:>+7.1f} %\n", p.pass, p.applied, 1e3 * p.without, 100 * p.worth());
  }
}

nlohmann::ordered_json profile_json(const ProfileReport& report) {
  using Json = nlohmann::ordered_json;
  const Limits& l = report.limits;
  Json out = {
      {"batch", report.batch}, {"seq", report.seq}, {"run_s", report.run_seconds}, {"steps_s", report.step_seconds()}};
  out["limits"] = {{"device", l.device}, {"f32", l.f32},       {"tf32", l.tf32},  {"bf16", l.bf16},
                   {"int8", l.int8},     {"memory", l.memory}, {"cache", l.cache}};
  out["shares"] = Json::array();
  for (const Share& s : shares_of(report))
    out["shares"].push_back({{"group", s.group},
                             {"steps", s.steps},
                             {"seconds", s.seconds},
                             {"percent", 100 * s.seconds / std::max(report.step_seconds(), 1e-12)}});
  out["bound_by"] = Json::array();
  for (const Binding& b : bindings_of(report))
    out["bound_by"].push_back(
        {{"bound", b.bound}, {"seconds", b.seconds}, {"of_limit", b.of_limit}, {"advice", b.advice}});
  out["steps"] = Json::array();
  for (const ProfiledStep& s : report.steps)
    out["steps"].push_back({{"value", s.cost.name},
                            {"op", s.cost.op},
                            {"group", s.cost.group},
                            {"kernel", s.kernel},
                            {"precision", s.cost.factors},
                            {"seconds", s.seconds},
                            {"flops", s.cost.flops},
                            {"weight_bytes", s.cost.weight_bytes},
                            {"activation_bytes", s.cost.activation_bytes},
                            {"bound", s.bound},
                            {"of_limit", s.of_limit}});
  for (const PassWorth& p : report.passes)
    out["passes"].push_back({{"pass", p.pass},
                             {"applied", p.applied},
                             {"with_s", p.with},
                             {"without_s", p.without},
                             {"failure", p.failure}});
  return out;
}

}  // namespace tenon::tools
