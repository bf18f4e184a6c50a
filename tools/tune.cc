#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "builder/tuning.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const builder::TuneReport& report) {
  Json out = {{"device", report.machine.device},
              {"seconds", report.seconds},
              {"kernels_compiled", report.kernels_compiled},
              {"kernels_reused", report.kernels_reused},
              {"results", Json::array()}};
  for (const plan::TuneResult& r : report.results) {
    Json one = {{"kernel", r.problem->kernel->id()},
                {"problem", r.problem->text},
                {"steps", r.problem->steps},
                {"max_tokens", r.max_tokens},
                {"rows", r.rows},
                {"cached", r.cached},
                {"config", r.config},
                {"guess", r.guess}};
    for (const plan::Timing& t : r.timings)
      one["timings"].push_back({{"config", t.config}, {"us", t.us}, {"spread", t.spread}});
    for (const std::string& reason : r.left_out) one["left_out"].push_back(reason);
    out["results"].push_back(std::move(one));
  }
  return out;
}

void print_result(const plan::TuneResult& r) {
  fmt::print("  rows {}{}\n", r.rows, r.cached ? " (known)" : "");
  for (const plan::Timing& t : r.timings) {
    if (t.us == 0) continue;
    const char* mark = t.config == r.config ? "*" : t.config == r.guess ? "-" : " ";
    fmt::print("    {} {:<44} {:>9.2f} us  ±{:.1f} %\n", mark, t.config, t.us, 50 * t.spread);
  }
  for (const std::string& reason : r.left_out) fmt::print("      left out: {}\n", reason);
}

}  // namespace

int tune(const TuneArgs& args) {
  Progress progress(args.quiet || args.json);
  BuilderConfig config;
  config.tune = true;
  config.target = args.target;
  config.precision = args.fp16 ? "fp16" : args.bf16 ? "bf16" : args.int8 ? "int8" : args.tf32 ? "tf32" : args.fp32 ? "fp32" : "";
  config.tactics = args.tactics;
  config.timing_cache = args.timing_cache;
  config.workspace_limit = args.workspace_limit;
  config.disabled_passes = args.disabled_passes;
  config.on_progress = [&](std::string_view phase, double fraction) { progress.show(phase, fraction); };
  if (!args.max_shapes.empty()) config.profiles.push_back(value_or_throw(parse_profile({}, {}, args.max_shapes)));
  plan::TuneOptions options;
  options.candidates = args.candidates;
  options.kernels = args.kernels;
  options.only = args.only;
  options.again = args.again;
  options.sustained = args.sustained;
  options.on_progress = config.on_progress;
  const builder::TuneReport report = value_or_throw(builder::tune(args.model, config, options));
  if (args.json) {
    std::puts(to_json(report).dump(2).c_str());
    return kSuccess;
  }
  progress.show("done", 1);
  fmt::print("{}: * is the winner, - what runs without timing\n", report.machine.device);
  const plan::ConfigProblem* problem = nullptr;
  for (const plan::TuneResult& r : report.results) {
    if (r.problem != problem) fmt::print("{} {}\n", r.problem->kernel->id(), r.problem->text);
    problem = r.problem;
    print_result(r);
  }
  if (report.results.empty()) fmt::print("nothing to time: no kernel of this model has several configs here\n");
  fmt::print("{:.1f} s; {} GPU kernels compiled, {} from the cache\n", report.seconds, report.kernels_compiled,
             report.kernels_reused);
  return kSuccess;
}

}  // namespace tenon::tools
