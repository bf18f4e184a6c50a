// The passes of the compiler, in order: pipeline.cc holds THE list.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "passes/pattern_file.h"

namespace tenon::passes {

struct PipelineOptions {
  std::string dump_dir;            // write NN_<pass>.ir after each pass that changed the graph; empty: do not
  std::set<std::string> disabled;  // names of passes and patterns to skip
  std::vector<PatternRule> patterns;  // the user's, each to run before the pass that it names, in this order
  std::string stop_after;          // name of the last pass to run; empty: all
  DType precision = DType::kF32;   // f16 or bf16: what floats are computed in
  bool fold_norms = false;         // the target's kernels compute linear_norm in that precision
  std::string factors;             // bf16, int8 or int8_quads (CPUs) or tf32 (GPUs): what linears round their factors to; empty: nothing
  std::string quantized;           // int8 or int8_quads: what products that the model itself quantised round to, where `factors` and `precision` say nothing else
  std::vector<std::string> fp32_layers = {};  // nodes of the source model, by names with *, whose linears `factors` leaves alone
  bool channels_last = false;      // the target's kernels of convolutions want them so
  bool verify = false;             // check the graph after every pass (always on in dev builds)
};

struct PassRun {
  std::string name;
  bool changed = false;
  double seconds = 0;
  size_t nodes_after = 0;
};

struct PipelineReport {
  std::vector<PassRun> runs;
  std::vector<Decision> decisions;
  bool is_quantized = false;  // products compute in 8 bits because the model does
  // The user's patterns that were not disabled.
  struct PatternUse {
    std::string name, where;
    int applied = 0;
  };
  std::vector<PatternUse> patterns;
};

// Rewrites `graph` for execution. Errors: internal (a pass broke the graph; its name is in the message), invalid-argument
// (unknown pass names, patterns of one name), io (dump_dir).
Result<PipelineReport> run_pipeline(Graph& graph, const PipelineOptions& options);

// One pass alone, by name; for tests and `--start-from`. Errors: invalid-argument for an unknown name.
Status run_pass(Graph& graph, const std::string& name, std::vector<Decision>& decisions);

struct PassInfo {
  const char* name;
  const char* summary;
};
std::vector<PassInfo> pass_list();

}  // namespace tenon::passes
