// The verbs of the command line. tenon.cc reads the options into these structs; one file per verb does the work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tenon::tools {

// Exit codes, the same for all verbs.
enum ExitCode {
  kSuccess = 0,
  kCheckFailed = 1,   // verify: out of tolerance; inspect: the model cannot be built
  kUsage = 2,         // unknown options, values that make no sense
  kModelError = 3,    // the model or checkpoint is damaged or not supported
  kEngineError = 4,   // the engine file is damaged, foreign or too new
  kInputError = 5,    // tensors or texts that the engine cannot take
  kSystemError = 6,   // files, disk, memory
  kInternalError = 70,
};

struct CommonArgs {
  bool json = false;   // machine-readable result on standard output
  bool quiet = false;  // no progress
  int threads = 0;
  std::vector<std::string> plugins;  // loaded before the verb begins
};

struct BuildArgs : CommonArgs {
  std::string model, output;
  std::vector<std::string> min_shapes, opt_shapes, max_shapes;  // "input_ids:1x16,attention_mask:1x16"
  std::vector<std::string> input_types, output_types, fp32_layers;
  std::vector<std::string> disabled_passes, patterns;
  std::string dump_passes, tokenizer, task, target = "cpu";
  bool no_optimize = false, all_positions = false, fp16 = false, bf16 = false, int8 = false, tf32 = false, best = false, fp32 = false;
  bool tune = false;
  std::vector<std::string> tactics;
  std::string timing_cache;
  uint64_t workspace_limit = 0;
};

struct TuneArgs : CommonArgs {
  std::string model, timing_cache, target = "cuda", kernels = "*";
  std::vector<std::string> only, disabled_passes, tactics;
  std::vector<std::string> max_shapes;
  int candidates = 8;
  double sustained = 0;  // seconds
  uint64_t workspace_limit = 0;
  bool again = false, fp16 = false, bf16 = false, int8 = false, tf32 = false, fp32 = false;
};

struct RunArgs : CommonArgs {
  std::string engine, target = "auto";
  std::vector<std::string> texts;         // --text, may repeat
  std::string texts_file;                 // one text, or JSON string, a line
  std::string inputs, out;                // .npy .npz .json
  std::string question, context;          // question answering
  std::vector<std::string> pair;          // second texts
  std::string pairs_file;                 // the same from a file
  int top = 5, max_length = 0, stride = 128;
  bool strict = false, raw = false, first_window = false;
  // Pictures.
  std::vector<std::string> images;
  std::string labels, interpolation;  // a file of names; bilinear, bicubic or empty: the checkpoint's
  std::vector<double> mean, std;      // three numbers or none
  int64_t resize = 0, image_size = 0, batch = 8;
  bool stretch = false;
};

struct BenchArgs : CommonArgs {
  std::string engine, target = "auto";
  std::vector<int64_t> batch = {1}, seq = {128};
  std::vector<int64_t> batch_tokens;  // instead of batch, unless empty: as many rows as fit into so many tokens
  std::string lengths;     // file of texts (real lengths), or "uniform:8-128", "normal:64,20"
  int iterations = 0;      // 0: as many as fit the duration
  double duration = 3;     // seconds per point
  int warmup = 3;          // of each stream
  int streams = 1;         // contexts that run at once
  unsigned seed = 1;
  bool profile = false;
  std::string profile_html;  // file to write
  std::string passes_of;     // the model: what each pass is worth
  std::string warm = "opt";  // none, opt, all: ContextOptions::warm
  bool outputs_on_device = false, inputs_on_device = false;
};

struct OptimizeArgs : CommonArgs {
  std::string model, out;
  std::vector<std::string> disabled_passes;
  bool fp16 = false, microsoft = false;
};

struct InspectArgs : CommonArgs {
  std::string path;  // engine, ONNX file or checkpoint folder
  std::string svg, target;  // of an engine; empty: the first
  bool graph = false;
};

struct ExplainArgs : CommonArgs {
  std::string engine, target;  // empty: the first
  int64_t batch = 8, seq = 128;
  bool all = false;
};

struct VerifyArgs : CommonArgs {
  std::string engine, model, inputs, expected, target = "auto";
  double tolerance = 0;  // 0: by precision
  int64_t batch = 3, seq = 24;
  unsigned seed = 1;
};

struct DemoArgs : CommonArgs {
  std::string model, engine;
  std::vector<std::string> texts;
};

int build(const BuildArgs& args);
int tune(const TuneArgs& args);
int run(const RunArgs& args);
int run_images(const RunArgs& args);
int bench(const BenchArgs& args);
int inspect(const InspectArgs& args);
int optimize(const OptimizeArgs& args);
int explain(const ExplainArgs& args);
int verify(const VerifyArgs& args);
int demo(const DemoArgs& args);
// trtexec's command line. 0: passed, 1: failed, as there.
int exec(const std::vector<std::string>& arguments);

}  // namespace tenon::tools
