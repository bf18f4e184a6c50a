// What a command line of trtexec asks for.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tenon/runtime.h"
#include "tools/exec_flags.h"

namespace tenon::tools {

using NamedShapes = std::vector<std::pair<std::string, std::vector<int64_t>>>;

struct ExecProfile {
  NamedShapes min, opt, max;
};

struct ExecOptions {
  std::vector<std::string> notices;
  std::string onnx, save_engine, load_engine, timing_cache, temporary_folder;
  std::vector<std::string> input_types, output_types;  // BuilderConfig's
  std::map<int, ExecProfile> profiles;  // by their number
  NamedShapes shapes;
  std::vector<std::string> plugins;
  std::vector<std::pair<std::string, std::string>> input_files;  // input, raw file
  std::vector<std::pair<std::string, std::string>> reference_files;  // output, raw file
  std::vector<std::pair<std::string, std::string>> layer_precisions;  // the model's node, precision
  bool constrained = false;                                            // they count
  std::string accuracy_algorithm = "l0";
  double accuracy_threshold = 1e-5, atol = 1e-5, rtol = 1e-5;
  int device = 0;
  bool fp16 = false, bf16 = false, int8 = false, best = false, no_tf32 = false, cpu_only = false;
  int optimization_level = 3;
  uint64_t workspace = 0;  // bytes; 0: any
  std::vector<std::string> tactics;  // libraries that may be chosen where configs are timed
  bool skip_inference = false, time_deserialize = false, print_version = false, help = false;

  int iterations = 10, streams = 1, use_profile = -1;
  double warm_up_ms = 200, duration_s = 3, sleep_ms = 0, idle_ms = 0;
  bool no_data_transfers = false, monitor_memory = false;

  bool verbose = false, detailed = false;
  int avg_runs = 10;
  std::vector<double> percentiles = {90, 95, 99};
  bool dump_output = false, dump_raw = false, dump_profile = false, dump_layers = false, dump_profiles = false;
  std::string export_times, export_output, export_profile, export_layers;
};

// Errors: invalid-argument (numbers and shapes that are none, neither model nor engine); the message names the flag.
Result<ExecOptions> exec_options(std::span<const GivenFlag> given);

// "input_ids:1x16,attention_mask:1x16"; names may stand in '…'; "name:" and "name:scalar" are scalars.
Result<NamedShapes> parse_named_shapes(std::string_view flag, std::string_view text);

// Puts the model's names in the place of those that were typed: '*' stands for any text, and what other exports call an input
// (input_mask for attention_mask) is taken with a notice. Errors: invalid-argument that lists the model's inputs.
Status resolve_names(std::string_view flag, std::span<const std::string> inputs, NamedShapes& shapes, std::vector<std::string>& notices);

}  // namespace tenon::tools
