// From a model to an engine file: the public face of the compiler.
//
//   tenon::BuilderConfig config;
//   config.on_progress = [](std::string_view what, double seconds) { … };
//   tenon::BuildReport report = tenon::Builder().build("bert.onnx", "bert.tenon", config);
//
// Errors are thrown as tenon::Error: bad-model and unsupported name the file, the node and the cause.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/error.h"

namespace tenon {

class Network;

// Sizes that an engine shall take, per input: min <= opt <= max for every axis.
class OptimizationProfile {
 public:
  struct Range {
    std::string input;
    std::vector<int64_t> min, opt, max;
  };
  // Throws invalid-argument: ranks differ, or the sizes are not in order.
  void set_shape(const std::string& input, std::vector<int64_t> min, std::vector<int64_t> opt, std::vector<int64_t> max);
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
};

struct BuilderConfig {
  std::vector<OptimizationProfile> profiles;   // none: every size
  std::vector<std::string> disabled_passes;    // by the names that `tenon explain` prints; patterns too
  std::vector<std::string> plugins;            // libraries of operators of your own (tenon/plugin.h)
  std::vector<std::string> patterns;           // files of fusions of your own (docs/patterns.md)
  std::string dump_passes;                     // folder for the graph after each pass that changed it; empty: none
  // Where the engine is to run: "cpu"; "cuda", the GPU of this machine; "sm_90", a kind of GPU, which need not be here; "auto",
  // the GPU if there is one. Several, separated by commas, go into one engine, which shares their weights where it can; what
  // runs is chosen where it is loaded.
  std::string target = "cpu";
  // "fp32"; GPUs: "fp16", "bf16", "tf32" (of matrix products); CPUs: "bf16", and "int8" for the factors of matrix products (in a
  // form of its own where this processor lacks VNNI); "best": fp16 on a GPU, bf16 where this processor multiplies bf16, else
  // fp32. Of several targets, those that lack it are built in fp32, with a note. Empty, the model's own: on CPUs 8 bits for the
  // products of a dynamically quantised model, on GPUs the 16-bit floats that its products are of, else fp32.
  std::string precision;
  // Nodes of the model, by names in which * stands for any text, whose products stay in fp32 where `precision` is "bf16" or
  // "int8" on a CPU.
  std::vector<std::string> fp32_layers;
  // Types of inputs and outputs where they are to differ from the model's: "fp32", "fp16", "bf16", "int32", "int64", "int8", "uint8",
  // "bool" or "" (the model's), in the model's order; one for each, or one for all. Floats stay floats, whole numbers whole numbers.
  std::vector<std::string> input_types, output_types;
  bool optimize = true;                        // false: the graph as imported, on the reference kernels
  bool gather_masked = true;                   // masked-word checkpoints compute the asked rows only (hf/checkpoint.h)
  // Time the kernels' configs on this machine's GPU or CPU and take the fastest, instead of those that Tenon's own table or estimate
  // names. What is timed is kept in `timing_cache`, so the next build of the same sizes times nothing.
  bool tune = false;
  // File of timings (src/plan/timing_cache.h), read if it exists and, with `tune`, written back. Empty: with `tune` one in the
  // user's cache folder (TENON_CACHE_DIR), else none.
  std::string timing_cache;
  uint64_t workspace_limit = 0;                // bytes of scratch that a kernel may need to be taken when tuning; 0: any
  // GPUs: libraries of others, opened when they are needed, whose kernels may be chosen where they were timed faster (`tune`, or
  // an earlier build's `timing_cache`): "cublaslt", for linears, "cudnn", for convolutions. The engine then needs the library too.
  std::vector<std::string> tactics;
  std::string tokenizer;                       // folder or file to take the tokenizer from; empty: the model's own folder
  std::string task;                            // what the outputs mean, where the model does not say ("embedding" …)
  // Told when a phase begins ("import", "optimize", "write weights" …) and how far it is, from 0 to 1.
  std::function<void(std::string_view phase, double fraction)> on_progress;
};

struct BuildReport {
  std::string source;        // what was read
  std::string engine;        // path of the file written
  uint64_t file_bytes = 0;
  uint64_t weight_bytes = 0;
  double seconds = 0;
  int nodes_imported = 0, steps = 0;  // steps: of the first target
  std::vector<std::string> targets;   // in the order of BuilderConfig::target
  std::vector<std::string> notes;
};

class Builder {
 public:
  // `model`: an ONNX file, or a checkpoint folder (config.json and weights, or a sentence-transformers folder). The engine is
  // written to a temporary name and renamed: `engine` is either complete or untouched. The same model, configuration and
  // version give the same bytes.
  BuildReport build(const std::string& model, const std::string& engine, const BuilderConfig& config = {}) const;
  // A network made call by call.
  BuildReport build(const Network& network, const std::string& engine, const BuilderConfig& config = {}) const;
};

}  // namespace tenon
