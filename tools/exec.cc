// trtexec's command line: build or load an engine, run it, say how fast it was.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <sstream>
#include <utility>

#include "base/write_file.h"
#include "builder/builder.h"
#include "builder/tuning.h"
#include "engine/reader.h"
#include "kernels/cuda/driver.h"
#include "ops/plugin_host.h"
#include "runtime/executable.h"
#include "tools/exec_accuracy.h"
#include "tools/exec_layers.h"
#include "tools/exec_report.h"
#include "tools/random_inputs.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

void note(std::string_view text) { exec_log('I', text); }
void warn(std::string_view text) { exec_log('W', text); }

double mebibytes(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// The engine's file, removed at the end unless it was asked for.
class EngineFilePath {
 public:
  explicit EngineFilePath(const ExecOptions& options) : path_(options.load_engine.empty() ? options.save_engine : options.load_engine) {
    if (!path_.empty()) return;
    const std::filesystem::path folder = options.temporary_folder.empty() ? std::filesystem::temp_directory_path() : std::filesystem::path(options.temporary_folder);
    path_ = (folder / fmt::format("tenon-exec-{}.engine", ::getpid())).string();
    temporary_ = true;
  }
  ~EngineFilePath() {
    std::error_code ignored;
    if (temporary_) std::filesystem::remove(path_, ignored);
  }
  EngineFilePath(const EngineFilePath&) = delete;
  EngineFilePath& operator=(const EngineFilePath&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool temporary_ = false;
};

// What the flags ask for, as far as the target has it.
std::string precision_of(const ExecOptions& o, bool on_gpu) {
  if (o.best) return "best";
  if (on_gpu) {
    if (o.int8) warn("--int8: GPUs have no 8-bit kernels yet");
    return o.fp16 ? "fp16" : o.bf16 ? "bf16" : o.no_tf32 ? "fp32" : "tf32";
  }
  if (o.fp16) warn("--fp16: on a CPU there is no 16-bit float arithmetic to gain by; it computes in 32 bits");
  return o.int8 ? "int8" : o.bf16 ? "bf16" : "";
}

// Profiles of the command line with the model's names. --shapes alone is its own profile.
Result<std::vector<OptimizationProfile>> profiles_of(ExecOptions& o, std::span<const std::string> inputs, std::vector<std::string>& notices) {
  TENON_TRY(resolve_names("shapes", inputs, o.shapes, notices));
  std::map<int, ExecProfile> wanted = o.profiles;
  if (wanted.empty() && !o.shapes.empty()) wanted[0].opt = o.shapes;
  std::vector<OptimizationProfile> profiles;
  for (auto& [number, shapes] : wanted) {
    TENON_TRY(resolve_names("minShapes", inputs, shapes.min, notices));
    TENON_TRY(resolve_names("optShapes", inputs, shapes.opt, notices));
    TENON_TRY(resolve_names("maxShapes", inputs, shapes.max, notices));
    const auto texts = [](const NamedShapes& list) {
      std::vector<std::string> out;
      for (const auto& [name, dims] : list) out.push_back(name + ":" + join(dims));
      return out;
    };
    TENON_ASSIGN(OptimizationProfile profile, parse_profile(texts(shapes.min), texts(shapes.opt), texts(shapes.max)));
    profiles.push_back(std::move(profile));
  }
  std::sort(notices.begin(), notices.end());
  notices.erase(std::unique(notices.begin(), notices.end()), notices.end());
  return profiles;
}

// Of --layerPrecisions those that there is a choice for.
std::vector<std::string> fp32_layers_of(const ExecOptions& o, bool on_gpu) {
  std::vector<std::string> names;
  if (o.layer_precisions.empty()) return names;
  if (!o.constrained) warn("--layerPrecisions has no effect without --precisionConstraints=prefer or obey");
  if (o.constrained && on_gpu) warn("--layerPrecisions has no effect: on a GPU the precision is chosen for the whole model");
  if (!o.constrained || on_gpu) return names;
  for (const auto& [name, precision] : o.layer_precisions) {
    if (precision == "fp32") {
      names.push_back(name);
    } else {
      warn(fmt::format("--layerPrecisions: {}:{} has no effect: layers can be kept in fp32, all others have the precision of the model", name, precision));
    }
  }
  return names;
}

Status build_engine(ExecOptions& o, const std::string& path) {
  BuilderConfig config;
  if (!o.profiles.empty() || !o.shapes.empty()) {
    // The names of the inputs must be known before the profiles can be.
    TENON_ASSIGN(const ir::Model model, builder::import_model(o.onnx));
    std::vector<std::string> inputs, notices;
    for (const auto& input : model.graph->inputs()) inputs.emplace_back(input->name());
    TENON_ASSIGN(config.profiles, profiles_of(o, inputs, notices));
    for (const std::string& notice : notices) warn(notice);
  }
  const auto device = o.cpu_only ? Result<const cuda::Device*>(nullptr) : cuda::Device::open();
  const bool on_gpu = !o.cpu_only && device.ok();
  config.target = on_gpu ? "cuda" : "cpu";
  config.precision = precision_of(o, on_gpu);
  constexpr int kTimingLevel = 4;
  config.tune = on_gpu && o.optimization_level >= kTimingLevel;
  config.timing_cache = o.timing_cache;
  for (const std::string& library : o.tactics) {
    if (!config.tune) break;
    const Status found = builder::parse_tactics({library}).status();
    if (found.ok()) config.tactics.push_back(library);
    if (!found.ok()) warn("--tacticSources: " + found.message());
  }
  config.fp32_layers = fp32_layers_of(o, on_gpu);
  config.input_types = o.input_types;
  config.output_types = o.output_types;
  config.workspace_limit = o.workspace;
  note("=== Device Information ===");
  note(fmt::format("Selected Device: {}", on_gpu ? (*device)->name() : "CPU"));
  note(fmt::format("Precision: {}", config.precision.empty() ? "the model's own" : config.precision));
  const double begin = seconds_now();
  double parsed = 0;
  std::string told;
  config.on_progress = [&](std::string_view phase, double) {
    if (parsed == 0 && phase != "import") parsed = seconds_now();
    if (std::exchange(told, std::string(phase)) != phase && o.verbose) exec_log('V', fmt::format("[Tenon] {}", phase));
  };
  note("Start parsing network model.");
  TENON_ASSIGN(const BuildReport report, builder::build(o.onnx, path, config));
  note(fmt::format("Finished parsing network model. Parse time: {:.6g}", (parsed > 0 ? parsed : seconds_now()) - begin));
  for (const std::string& text : report.notes) note("[Tenon] " + text);
  note(fmt::format("Engine built in {:.6g} sec.", seconds_now() - begin));
  note(fmt::format("Created engine with size: {:.6g} MiB", mebibytes(report.file_bytes)));
  return {};
}

// The sizes that an input is given, or that a profile usually has for it.
std::optional<std::vector<int64_t>> stated_shape(const TensorInfo& in, const ExecOptions& o, const std::vector<ProfileInfo>& profiles) {
  for (const auto& [name, dims] : o.shapes)
    if (name == in.name) return dims;
  const auto profile = static_cast<size_t>(std::max(o.use_profile, 0));
  if (profile >= profiles.size()) return std::nullopt;
  for (const auto& range : profiles[profile].ranges)
    if (range.input == in.name) return range.opt;
  return std::nullopt;
}

// The same for an input that nothing is said about: its axes are as long as those of the others, or else 1.
std::vector<int64_t> derived_shape(const TensorInfo& in, const std::map<std::string, int64_t>& known) {
  std::vector<int64_t> shape = in.shape;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (shape[axis] >= 0) continue;
    const auto found = known.find(in.axes[axis]);
    shape[axis] = found == known.end() ? 1 : found->second;
    if (found == known.end()) warn(fmt::format("Dynamic dimensions required for input: {}, but no shapes were provided. {} becomes 1.", in.name, in.axes[axis]));
  }
  return shape;
}

Result<ir::Tensor> read_raw(const std::string& path, const TensorInfo& in, const std::vector<int64_t>& shape) {
  TENON_ASSIGN(const std::string bytes, read_file(path));
  std::byte* data = nullptr;
  TENON_ASSIGN(ir::Tensor tensor, ir::Tensor::allocate(in.dtype, shape, &data));
  const size_t expected = static_cast<size_t>(tensor.numel()) * dtype_size(in.dtype);
  if (bytes.size() != expected) {
    return error(ErrorCode::kBadInput, "{}: {} bytes, but input {} of {} {} takes {}", path, bytes.size(), in.name, join(shape), dtype_name(in.dtype), expected);
  }
  std::memcpy(data, bytes.data(), expected);
  return tensor;
}

Result<NamedTensors> make_inputs(ExecOptions& o, const Engine& engine) {
  const std::vector<TensorInfo> infos = engine.inputs();
  std::vector<std::string> names, notices;
  for (const TensorInfo& in : infos) names.push_back(in.name);
  TENON_TRY(resolve_names("shapes", names, o.shapes, notices));
  NamedShapes files;
  for (const auto& [name, file] : o.input_files) files.push_back({name, {}});
  TENON_TRY(resolve_names("loadInputs", names, files, notices));
  if (files.size() != o.input_files.size()) return error(ErrorCode::kInvalidArgument, "--loadInputs: a name there stands for several inputs");
  for (const std::string& notice : notices) warn(notice);
  const std::vector<ProfileInfo> profiles = engine.profiles();
  if (o.use_profile >= 0 && static_cast<size_t>(o.use_profile) >= profiles.size()) {
    return error(ErrorCode::kInvalidArgument, "--useProfile={}: the engine has {} profiles", o.use_profile, profiles.size());
  }
  std::map<std::string, int64_t> known;  // sizes of axes
  for (const TensorInfo& in : infos) {
    const auto dims = stated_shape(in, o, profiles);
    if (!dims) continue;
    if (dims->size() != in.shape.size()) return error(ErrorCode::kInvalidArgument, "--shapes: {}:{}, but this input has {} axes", in.name, join(*dims), in.shape.size());
    for (size_t axis = 0; axis < dims->size(); ++axis) known.emplace(in.axes[axis], (*dims)[axis]);
  }
  NamedTensors inputs;
  for (const TensorInfo& in : infos) {
    const std::vector<int64_t> shape = [&] {
      const auto stated = stated_shape(in, o, profiles);
      return stated ? *stated : derived_shape(in, known);
    }();
    const auto file = std::find_if(files.begin(), files.end(), [&](const auto& f) { return f.first == in.name; });
    if (file != files.end()) {
      const std::string& path = o.input_files[static_cast<size_t>(file - files.begin())].second;
      note(fmt::format("Using values loaded from {} for input {}", path, in.name));
      TENON_ASSIGN(ir::Tensor tensor, read_raw(path, in, shape));
      inputs.emplace_back(in.name, std::move(tensor));
    } else {
      note(fmt::format("Using random values for input {}", in.name));
      inputs.emplace_back(in.name, random_input(in, shape, static_cast<unsigned>(inputs.size() + 1)));
    }
    note(fmt::format("Input binding for {} with dimensions {} is created.", in.name, join(shape)));
  }
  return inputs;
}

void bind(ExecutionContext& context, const NamedTensors& inputs) {
  for (const auto& [name, t] : inputs) context.set_input(name, {t.dtype(), t.shape(), const_cast<std::byte*>(t.data())});
}

// One context for each stream.
ExecTimes measure(const ExecOptions& o, const Engine& engine, const ContextOptions& options, const NamedTensors& inputs) {
  TimingPlan plan;
  plan.streams = static_cast<size_t>(o.streams);
  plan.warmup_seconds = o.warm_up_ms / 1e3;
  plan.runs = std::max(o.iterations, 1);
  plan.seconds = o.duration_s < 0 ? std::numeric_limits<double>::infinity() : o.duration_s;
  plan.pause_before = o.sleep_ms / 1e3;
  plan.pause_after = o.idle_ms / 1e3;
  std::vector<ExecutionContext> contexts;
  for (int i = 0; i < o.streams; ++i) {
    contexts.push_back(engine.create_execution_context(options));
    bind(contexts.back(), inputs);
  }
  ExecTimes times;
  times.origin = seconds_now();
  TimedWork work;
  work.run = [&](size_t stream) { contexts[stream].execute(); };
  times.timing = time_runs(plan, work);
  return times;
}

NamedTensors outputs_of(const Engine& engine, ExecutionContext& context) {
  NamedTensors outputs;
  for (const TensorInfo& out : engine.outputs()) {
    const TensorView view = context.output(out.name);
    std::byte* data = nullptr;
    ir::Tensor copy = value_or_throw(ir::Tensor::allocate(view.dtype, view.shape, &data));
    std::memcpy(data, view.data, static_cast<size_t>(copy.numel()) * dtype_size(view.dtype));
    outputs.emplace_back(out.name, std::move(copy));
  }
  return outputs;
}

Status report_layers(const ExecOptions& o, const Engine& engine) {
  if (!o.dump_layers && o.export_layers.empty()) return {};
  const std::string layers = layer_info(engine.executable()->plan(), o.detailed);
  if (o.dump_layers) note("Layer Information:\n" + layers);
  return o.export_layers.empty() ? Status() : write_file(o.export_layers, layers);
}

// Runs after the measured ones, in which each layer is timed alone.
Status report_profile(const ExecOptions& o, const Engine& engine, ExecutionContext& context) {
  if (!o.dump_profile && o.export_profile.empty()) return {};
  constexpr int kRuns = 20;
  StepTimes steps;
  context.set_profiler(&steps);
  for (int i = 0; i < kRuns; ++i) context.execute();
  context.set_profiler(nullptr);
  const LayerNames names = layer_names(engine.executable()->plan());
  if (o.dump_profile) print_profile(steps, names, kRuns);
  return o.export_profile.empty() ? Status() : export_profile(o.export_profile, steps, names, kRuns);
}

Status infer(ExecOptions& o, const Engine& engine) {
  TENON_ASSIGN(const NamedTensors inputs, make_inputs(o, engine));
  ContextOptions options;
  options.profile = o.use_profile;
  options.outputs_on_device = o.no_data_transfers;
  note("Starting inference");
  const ExecTimes times = measure(o, engine, options, inputs);
  options.outputs_on_device = false;
  ExecutionContext context = engine.create_execution_context(options);
  bind(context, inputs);
  context.execute();
  const NamedTensors outputs = outputs_of(engine, context);
  for (const auto& [name, tensor] : outputs) note(fmt::format("Output binding for {} with dimensions {} is created.", name, join(tensor.shape())));
  note(fmt::format("Created execution context with device memory size: {:.6g} MiB", mebibytes(context.arena_bytes())));
  if (o.dump_output) dump_tensors("Output", outputs);
  if (!o.export_output.empty()) TENON_TRY(export_output(o.export_output, outputs));
  if (o.dump_raw) {
    TENON_TRY(dump_raw("input", inputs));
    TENON_TRY(dump_raw("output", outputs));
  }
  TENON_TRY(report_profile(o, engine, context));
  print_times(times, o);
  if (!o.export_times.empty()) TENON_TRY(export_times(o.export_times, times));
  return check_accuracy(o, outputs);
}

void print_engine_profiles(const Engine& engine) {
  const std::vector<ProfileInfo> profiles = engine.profiles();
  if (profiles.empty()) note("The engine has no profiles: it takes every size.");
  for (size_t i = 0; i < profiles.size(); ++i) {
    for (const auto& r : profiles[i].ranges) note(fmt::format("Optimization Profile {}: {}: min {}, opt {}, max {}", i, r.input, join(r.min), join(r.opt), join(r.max)));
  }
}

// --device: the driver, opened later, sees that GPU alone.
Status choose_device(int device) {
  if (device == 0) return {};
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  std::vector<std::string> names;
  std::istringstream list(visible == nullptr ? "" : visible);
  for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  if (visible != nullptr && static_cast<size_t>(device) >= names.size()) {
    return error(ErrorCode::kInvalidArgument, "--device={}: CUDA_VISIBLE_DEVICES names {} GPUs", device, names.size());
  }
  ::setenv("CUDA_VISIBLE_DEVICES", visible == nullptr ? std::to_string(device).c_str() : names[static_cast<size_t>(device)].c_str(), 1);
  return {};
}

Status run_exec(ExecOptions& o) {
  TENON_TRY(choose_device(o.device));
  const EngineFilePath file(o);
  if (o.print_version) {
    const auto engine_file = value_or_throw(engine::EngineFile::open(file.path()));
    note("Tenon version of the engine: " + engine_file->metadata().tenon_version);
    return {};
  }
  if (!o.onnx.empty()) TENON_TRY(build_engine(o, file.path()));
  const double begin = seconds_now();
  const Engine engine = Engine::load(file.path());
  const double loaded = seconds_now() - begin;
  note(fmt::format("Loaded engine with size: {:.6g} MiB", mebibytes(engine.executable()->file().file_bytes())));
  note(fmt::format("Engine deserialized in {:.6g} sec.", loaded));
  if (o.dump_profiles) print_engine_profiles(engine);
  TENON_TRY(report_layers(o, engine));
  if (o.time_deserialize || o.skip_inference) {
    note("Skipped inference phase since --skipInference or --timeDeserialize is added.");
    return {};
  }
  return infer(o, engine);
}

}  // namespace

int exec(const std::vector<std::string>& arguments) {
  std::string line;
  for (const std::string& argument : arguments) line += " " + argument;
  const auto frame = [&](const char* what) { fmt::print("&&&& {} Tenon.trtexec [Tenon v{}] #{}\n", what, TENON_VERSION, line); };
  const auto failed = [&](std::string_view why) {
    exec_log('E', why);
    frame("FAILED");
    return kCheckFailed;
  };
  frame("RUNNING");
  try {
    const GivenFlags given = value_or_throw(parse_exec_flags(arguments));
    for (const std::string& notice : given.notices) warn(notice);
    ExecOptions options = value_or_throw(exec_options(given.list));
    for (const std::string& notice : options.notices) warn(notice);
    if (options.help) {
      fmt::print("{}", exec_help());
      return kSuccess;
    }
    print_options(options);
    throw_if_error(ops::load_plugin_libraries(options.plugins));
    throw_if_error(run_exec(options));
    if (options.monitor_memory) note(fmt::format("Peak memory of the process: {:.6g} MiB", mebibytes(peak_resident_bytes())));
  } catch (const std::exception& e) {
    return failed(e.what());
  }
  frame("PASSED");
  return kSuccess;
}

}  // namespace tenon::tools
