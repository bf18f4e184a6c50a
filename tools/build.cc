#include <cstdio>
#include <nlohmann/json.hpp>

#include "builder/builder.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace tenon::tools {

int build(const BuildArgs& args) {
  Progress progress(args.quiet || args.json);
  BuilderConfig config;
  config.disabled_passes = args.disabled_passes;
  config.patterns = args.patterns;
  config.dump_passes = args.dump_passes;
  config.optimize = !args.no_optimize;
  config.gather_masked = !args.all_positions;
  config.tokenizer = args.tokenizer;
  config.task = args.task;
  config.target = args.target;
  config.precision = args.fp16 ? "fp16" : args.bf16 ? "bf16" : args.int8 ? "int8" : args.tf32 ? "tf32" : args.best ? "best" : args.fp32 ? "fp32" : "";
  config.fp32_layers = args.fp32_layers;
  config.input_types = args.input_types;
  config.output_types = args.output_types;
  config.tune = args.tune;
  config.tactics = args.tactics;
  config.timing_cache = args.timing_cache;
  config.workspace_limit = args.workspace_limit;
  config.on_progress = [&](std::string_view phase, double fraction) { progress.show(phase, fraction); };
  if (!args.min_shapes.empty() || !args.opt_shapes.empty() || !args.max_shapes.empty()) {
    config.profiles.push_back(value_or_throw(parse_profile(args.min_shapes, args.opt_shapes, args.max_shapes)));
  }
  const BuildReport report = value_or_throw(builder::build(args.model, args.output, config));
  if (args.json) {
    const nlohmann::ordered_json json = {{"engine", report.engine}, {"source", report.source}, {"seconds", report.seconds},
                                         {"file_bytes", report.file_bytes}, {"weight_bytes", report.weight_bytes},
                                         {"targets", report.targets}, {"nodes_imported", report.nodes_imported}, {"steps", report.steps},
                                         {"peak_resident_bytes", peak_resident_bytes()}, {"notes", report.notes}};
    std::puts(json.dump(2).c_str());
    return kSuccess;
  }
  progress.show("done", 1);
  std::string targets;
  for (const std::string& target : report.targets) targets += (targets.empty() ? " for " : ", ") + target;
  fmt::print("{}: {} nodes became {} steps{}, {} ({} of weights), {:.2f} s\n", report.engine, report.nodes_imported, report.steps, report.targets.size() > 1 ? targets : "",
             human_bytes(report.file_bytes), human_bytes(report.weight_bytes), report.seconds);
  for (const std::string& note : report.notes) fmt::print("  note: {}\n", note);
  return kSuccess;
}

}  // namespace tenon::tools
