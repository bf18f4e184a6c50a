#include "tools/exec_flags.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <numeric>

namespace tenon::tools {
namespace {

constexpr FlagUse kUsed = FlagUse::kUsed, kIgnored = FlagUse::kIgnored, kRefused = FlagUse::kRefused;

constexpr const char* kDla = "there is no DLA";
constexpr const char* kDebug = "debug tensors: tenon verify finds the first wrong layer";
constexpr const char* kRoutes = "sweeps of compiler knobs: see tenon tune";
constexpr const char* kCaffe = "only ONNX models are read: export the model to ONNX";
constexpr const char* kImplicitBatch = "the batch is an axis of the inputs, given by --shapes";
constexpr const char* kLayers = "the precision is chosen for the whole model";
constexpr const char* kPlugin = "engines name the plugins that they need; their libraries are given with --plugins";
constexpr const char* kOneRuntime = "every engine runs in the small runtime, of this or a later minor version";
constexpr const char* kKernels = "kernels are Tenon's own";

constexpr ExecFlag kFlags[] = {
    // Model and build
    {"onnx", "file", "8 10 11", kUsed, "the ONNX model to build from"},
    {"uff", "file", "8", kRefused, kCaffe},
    {"uffInput", "spec", "8", kRefused, kCaffe},
    {"uffNHWC", nullptr, "8", kRefused, kCaffe},
    {"model", "file", "8", kRefused, kCaffe},
    {"deploy", "file", "8", kRefused, kCaffe},
    {"output", "name", "8", kIgnored, "all outputs of the model are computed"},
    {"batch", "N", "8", kIgnored, kImplicitBatch},
    {"maxBatch", "N", "8", kIgnored, kImplicitBatch},
    {"minShapes", "shapes", "8 10 11", kUsed, "smallest sizes that the engine takes, input:AxB[,input:…]"},
    {"optShapes", "shapes", "8 10 11", kUsed, "usual sizes; alone, the only ones"},
    {"maxShapes", "shapes", "8 10 11", kUsed, "largest sizes"},
    {"profile", "N", "10 11", kUsed, "the shapes that follow belong to profile N"},
    {"minShapesCalib", "shapes", "8 10", kIgnored, "8-bit scales are found when rows are run"},
    {"optShapesCalib", "shapes", "8 10", kIgnored, "8-bit scales are found when rows are run"},
    {"maxShapesCalib", "shapes", "8 10", kIgnored, "8-bit scales are found when rows are run"},
    {"calibProfile", "N", "8 10", kIgnored, "8-bit scales are found when rows are run"},
    {"inputIOFormats", "spec", "8 10 11", kUsed, "types of the inputs, type:chw[,…], one for each or one for all; always row by row"},
    {"outputIOFormats", "spec", "8 10 11", kUsed, "the same of the outputs"},
    {"memPoolSize", "pool:size", "8 10 11", kUsed, "workspace: scratch that a kernel may need to be taken; other pools have no meaning"},
    {"workspace", "MiB", "8", kUsed, "scratch that a kernel may need to be taken"},
    {"fp16", nullptr, "8 10", kUsed, "compute in 16-bit floats (GPU; a CPU goes on in fp32, with a notice)"},
    {"bf16", nullptr, "10", kUsed, "compute in bfloat16 (CPU: the matrix products)"},
    {"int8", nullptr, "8 10", kUsed, "8-bit matrix products (CPU; a GPU goes on without, with a notice)"},
    {"fp8", nullptr, "8 10", kIgnored, "there are no 8-bit float kernels yet"},
    {"int4", nullptr, "10", kIgnored, "there are no 4-bit kernels yet"},
    {"best", nullptr, "8 10", kUsed, "GPU: fp16; CPU: bf16 where the processor multiplies it"},
    {"noTF32", nullptr, "8 10 11", kUsed, "products of 32-bit floats are not rounded to TF32 (GPU)"},
    {"stronglyTyped", nullptr, "10 11", kIgnored, "the model's 16-bit floats compute in 32 bits unless --fp16 or --bf16 asks for theirs"},
    {"calib", "file", "8 10", kIgnored, "8-bit scales are found when rows are run"},
    {"precisionConstraints", "kind", "8 10", kUsed, "prefer or obey: --layerPrecisions counts; none: it does not (the default)"},
    {"layerPrecisions", "spec", "8 10", kUsed, "layer:fp32[,…], * for any text: products that --bf16 and --int8 leave in fp32 (CPU)"},
    {"layerOutputTypes", "spec", "8 10", kIgnored, kLayers},
    {"layerDeviceTypes", "spec", "8 10 11", kIgnored, kDla},
    {"decomposableAttentions", "names", "10 11", kIgnored, "an attention that no kernel takes runs as its parts anyway"},
    {"sparsity", "spec", "8 10 11", kIgnored, "there are no kernels for sparse weights"},
    {"refit", nullptr, "8 10 11", kIgnored, "an engine is rebuilt in seconds"},
    {"stripWeights", nullptr, "8 10 11", kIgnored, "an engine carries its weights"},
    {"stripAllWeights", nullptr, "8 10 11", kIgnored, "an engine carries its weights"},
    {"weightless", nullptr, "8 10", kIgnored, "an engine carries its weights"},
    {"refitFromOnnx", "file", "10 11", kRefused, "engines are not refitted: build the engine from that model"},
    {"timeRefit", nullptr, "8 10 11", kIgnored, "engines are not refitted"},
    {"dumpRefit", nullptr, "8 10 11", kIgnored, "engines are not refitted"},
    {"versionCompatible", nullptr, "8 10 11", kIgnored, kOneRuntime},
    {"vc", nullptr, "8 10 11", kIgnored, kOneRuntime},
    {"excludeLeanRuntime", nullptr, "8 10 11", kIgnored, kOneRuntime},
    {"leanDLLPath", "file", "8 10 11", kIgnored, kOneRuntime},
    {"useRuntime", "kind", "8 10 11", kIgnored, kOneRuntime},
    {"hardwareCompatibilityLevel", "level", "8 10 11", kIgnored, "CPU engines run on every x86-64; GPU engines on the kind they were built for"},
    {"runtimePlatform", "platform", "10 11", kIgnored, "engines run on Linux"},
    {"builderOptimizationLevel", "N", "8 10 11", kUsed, "4 and 5 time the kernels' configs on the GPU"},
    {"maxTactics", "N", "10 11", kIgnored, "only the best few configs are timed"},
    {"tilingOptimizationLevel", "N", "10 11", kIgnored, kKernels},
    {"l2LimitForTiling", "N", "10 11", kIgnored, kKernels},
    {"avgTiming", "N", "8 10 11", kIgnored, "configs are timed until the fastest is clear"},
    {"minTiming", "N", "8", kIgnored, "configs are timed until the fastest is clear"},
    {"timingCacheFile", "file", "8 10 11", kUsed, "timings of kernels: read, and written when configs are timed"},
    {"noBuilderCache", nullptr, "8 10 11", kIgnored, "nothing is timed unless asked for"},
    {"noCompilationCache", nullptr, "8 10 11", kIgnored, "compiling takes seconds"},
    {"errorOnTimingCacheMiss", nullptr, "8 10 11", kIgnored, "nothing is timed unless asked for"},
    {"tacticSources", "spec", "8 10 11", kUsed, "+CUBLAS_LT,+CUDNN: where configs are timed, the libraries' race too; others have no effect"},
    {"heuristic", nullptr, "8", kIgnored, "configs are chosen by table and estimate anyway"},
    {"preview", "spec", "8 10 11", kIgnored, "there are no preview features"},
    {"maxAuxStreams", "N", "8 10 11", kIgnored, "a run uses one stream"},
    {"profilingVerbosity", "kind", "8 10 11", kUsed, "detailed: --exportLayerInfo and --dumpLayerInfo give all of each layer"},
    {"nvtxMode", "kind", "8 10 11", kUsed, "as --profilingVerbosity"},
    {"directIO", nullptr, "8 10 11", kIgnored, "inputs and outputs are never reformatted"},
    {"pluginInstanceNorm", nullptr, "10 11", kIgnored, kKernels},
    {"pi", nullptr, "10 11", kIgnored, kKernels},
    {"enablePluginOverride", nullptr, "10 11", kIgnored, kPlugin},
    {"uint8AsymmetricQuantizationDLA", nullptr, "10 11", kIgnored, kDla},
    {"reportCapabilityDLA", nullptr, "10 11", kIgnored, kDla},
    {"adjustForDLA", nullptr, "10 11", kIgnored, kDla},
    {"allowWeightStreaming", nullptr, "10 11", kIgnored, "weights stay in memory"},
    {"weightStreamingBudget", "size", "10 11", kIgnored, "weights stay in memory"},
    {"markDebug", "names", "10 11", kIgnored, kDebug},
    {"markUnfusedTensorsAsDebugTensors", nullptr, "10 11", kIgnored, kDebug},
    {"tempdir", "folder", "8 10 11", kUsed, "where the engine lies while it runs, without --saveEngine"},
    {"tempfileControls", "spec", "8 10 11", kIgnored, "no libraries are written while building"},
    {"saveEngine", "file", "8 10 11", kUsed, "where to write the engine"},
    {"loadEngine", "file", "8 10 11", kUsed, "an engine to run instead of building one"},
    {"asyncFileReader", nullptr, "8 10 11", kIgnored, "engines are mapped, not read"},
    {"getPlanVersionOnly", nullptr, "8 10 11", kUsed, "print which version made the engine of --loadEngine, and end"},
    {"safe", nullptr, "8 10 11", kIgnored, "there is no safety runtime"},
    {"consistency", nullptr, "8 10 11", kIgnored, "there is no safety runtime"},
    {"restricted", nullptr, "8 10", kIgnored, "there is no safety runtime"},
    {"buildDLAStandalone", nullptr, "8 10 11", kIgnored, kDla},
    {"allowGPUFallback", nullptr, "8 10 11", kIgnored, kDla},
    {"dumpKernelText", nullptr, "10 11", kIgnored, "tenon inspect and tenon explain say which kernels an engine has"},
    {"remoteAutoTuningConfig", "spec", "10 11", kIgnored, "kernels are timed on this machine only"},
    {"cpuOnly", nullptr, "10 11", kUsed, "build for this machine's CPU and run there"},
    {"monitorMemory", nullptr, "10 11", kUsed, "print the most memory that the process held"},
    {"explicitBatch", nullptr, "8", kIgnored, "the batch is always an axis of the inputs"},
    {"explicitPrecision", nullptr, "8", kIgnored, "the model's 16-bit floats compute in 32 bits unless --fp16 or --bf16 asks for theirs"},
    {"buildOnly", nullptr, "8", kUsed, "as --skipInference"},
    {"distributiveIndependence", nullptr, "10 11", kIgnored, "a row's results never depend on its neighbours"},
    // Inference
    {"shapes", "shapes", "8 10 11", kUsed, "sizes of the inputs when run; default: those of --optShapes"},
    {"loadInputs", "input:file", "8 10 11", kUsed, "inputs from raw files, little-endian in C order; default: random, by what each input means"},
    {"iterations", "N", "8 10 11", kUsed, "least number of runs (10)"},
    {"warmUp", "ms", "8 10 11", kUsed, "time to run before measuring (200)"},
    {"duration", "s", "8 10 11", kUsed, "least time to measure for (3)"},
    {"sleepTime", "ms", "8 10 11", kUsed, "pause before each run (0)"},
    {"idleTime", "ms", "8 10 11", kUsed, "pause after each run (0)"},
    {"infStreams", "N", "8 10 11", kUsed, "contexts that run at the same time (1)"},
    {"streams", "N", "8 10 11", kUsed, "as --infStreams"},
    {"exposeDMA", nullptr, "8 10 11", kIgnored, "copies are never run beside other work"},
    {"noDataTransfers", nullptr, "8 10 11", kUsed, "outputs stay in the GPU's memory"},
    {"includeDataTransfers", nullptr, "11", kUsed, "outputs are copied to the host (the default)"},
    {"useSpinWait", nullptr, "8 10 11", kIgnored, "the runtime chooses how to wait"},
    {"noSpinWait", nullptr, "11", kIgnored, "the runtime chooses how to wait"},
    {"useCudaGraph", nullptr, "8 10 11", kIgnored, "on a GPU steps are always recorded as CUDA graphs; a CPU has none"},
    {"noCudaGraph", nullptr, "11", kIgnored, "on a GPU steps are always recorded as CUDA graphs; a CPU has none"},
    {"separateProfileRun", nullptr, "8 10 11", kIgnored, "layers are always timed in runs of their own"},
    {"useManagedMemory", nullptr, "8 10 11", kIgnored, "the runtime places memory"},
    {"threads", nullptr, "8 10 11", kIgnored, "each of several streams has its own thread"},
    {"persistentCacheRatio", "ratio", "8 10 11", kIgnored, kKernels},
    {"useProfile", "N", "10 11", kUsed, "hold the inputs to profile N; default: any that fits"},
    {"allocationStrategy", "kind", "10 11", kIgnored, "memory is as large as the sizes at hand need"},
    {"timeDeserialize", nullptr, "8 10 11", kUsed, "time loading the engine, and end"},
    {"skipInference", nullptr, "8 10 11", kUsed, "build or load only"},
    {"saveDebugTensors", "spec", "10 11", kIgnored, kDebug},
    {"saveAllDebugTensors", "kinds", "10 11", kIgnored, kDebug},
    {"loadRefOutputs", "output:file", "11", kUsed, "raw files of what the outputs should be; the run fails where they are not"},
    {"accuracyAlgorithm", "name", "11", kUsed, "how outputs are compared: l0 (part outside atol + rtol |x|), l1, l2, lInf or cos (l0)"},
    {"accuracyThreshold", "X", "11", kUsed, "greatest loss that passes (1e-5)"},
    {"atol", "X", "11", kUsed, "of l0 (1e-5)"},
    {"rtol", "X", "11", kUsed, "of l0 (1e-5)"},
    {"refPair", "N", "11", kIgnored, "there is one set of inputs and reference outputs"},
    {"tuneBuildRoutes", nullptr, "11", kIgnored, kRoutes},
    {"tuneBuildRouteFile", "file", "11", kIgnored, kRoutes},
    {"tuningSearch", "kind", "11", kIgnored, kRoutes},
    {"tuningCacheFile", "file", "11", kIgnored, kRoutes},
    {"tuningTimeOut", "s", "11", kIgnored, kRoutes},
    {"saveAllEngines", nullptr, "11", kIgnored, kRoutes},
    {"dryRun", nullptr, "11", kIgnored, kRoutes},
    {"continue", nullptr, "11", kIgnored, kRoutes},
    {"helpBuildRoute", nullptr, "11", kIgnored, kRoutes},
    {"setBuildRoute", "route", "11", kIgnored, kRoutes},
    // Reporting and system
    {"verbose", nullptr, "8 10 11", kUsed, "more messages, and what the figures mean"},
    {"v", nullptr, "8 10 11", kUsed, "as --verbose"},
    {"avgRuns", "N", "8 10 11", kUsed, "runs that are averaged for each line of the trace (10)"},
    {"percentile", "P[,P…]", "8 10 11", kUsed, "percentiles of the summary (90,95,99)"},
    {"dumpOutput", nullptr, "8 10 11", kUsed, "print the outputs"},
    {"dumpRawBindingsToFile", nullptr, "8 10 11", kUsed, "write inputs and outputs to raw files, name.input.AxB.type.raw"},
    {"dumpProfile", nullptr, "8 10 11", kUsed, "print the time of each layer"},
    {"dumpLayerInfo", nullptr, "8 10 11", kUsed, "print the engine's layers"},
    {"dumpOptimizationProfile", nullptr, "10 11", kUsed, "print the engine's profiles"},
    {"exportTimes", "file", "8 10 11", kUsed, "times of each run, as JSON"},
    {"exportOutput", "file", "8 10 11", kUsed, "the outputs, as JSON"},
    {"exportProfile", "file", "8 10 11", kUsed, "the time of each layer, as JSON"},
    {"exportLayerInfo", "file", "8 10 11", kUsed, "the engine's layers, as JSON"},
    {"device", "N", "8 10 11", kUsed, "the GPU to build for and run on, of those that CUDA_VISIBLE_DEVICES names (0)"},
    {"useDLACore", "N", "8 10 11", kIgnored, kDla},
    {"staticPlugins", "file", "8 10 11", kUsed, "library of operators of your own, built against tenon/plugin.h; may repeat"},
    {"dynamicPlugins", "file", "8 10 11", kUsed, "the same"},
    {"plugins", "file", "8 10 11", kUsed, "the same"},
    {"setPluginsToSerialize", "file", "8 10 11", kIgnored, kPlugin},
    {"ignoreParsedPluginLibs", nullptr, "8 10 11", kIgnored, kPlugin},
    {"safetyPlugins", "file", "8 10 11", kIgnored, kPlugin},
    {"help", nullptr, "8 10 11", kUsed, "this list"},
    {"h", nullptr, "8 10 11", kUsed, "this list"},
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// Insertions, deletions and replacements that turn one into the other.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

const ExecFlag* find_flag(std::string_view name) {
  const auto exact = std::find_if(std::begin(kFlags), std::end(kFlags), [&](const ExecFlag& f) { return name == f.name; });
  if (exact != std::end(kFlags)) return exact;
  const std::string wanted = lower(name);
  const auto alike = std::find_if(std::begin(kFlags), std::end(kFlags), [&](const ExecFlag& f) { return wanted == lower(f.name); });
  return alike == std::end(kFlags) ? nullptr : alike;
}

Status unknown_flag(const std::string& argument, std::string_view name) {
  const std::string wanted = lower(name);
  const auto nearest = std::min_element(std::begin(kFlags), std::end(kFlags), [&](const ExecFlag& a, const ExecFlag& b) {
    return edit_distance(wanted, lower(a.name)) < edit_distance(wanted, lower(b.name));
  });
  return error(ErrorCode::kInvalidArgument, "Unknown option: {}; the nearest is --{}", argument, nearest->name);
}

}  // namespace

std::span<const ExecFlag> exec_flags() { return kFlags; }

Result<GivenFlags> parse_exec_flags(std::span<const std::string> arguments) {
  GivenFlags given;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const size_t dashes = argument.starts_with("--") ? 2 : argument.starts_with("-") ? 1 : 0;
    const size_t equals = argument.find('=');
    const std::string_view name = std::string_view(argument).substr(dashes, equals == std::string::npos ? equals : equals - dashes);
    if (dashes == 0 || name.empty()) return error(ErrorCode::kInvalidArgument, "Unknown option: {}; options begin with --", argument);
    const ExecFlag* flag = find_flag(name);
    if (flag == nullptr) return unknown_flag(argument, name);
    std::string value;
    if (equals != std::string::npos) {
      if (flag->value == nullptr) return error(ErrorCode::kInvalidArgument, "--{} takes no value", flag->name);
      value = argument.substr(equals + 1);
    } else if (flag->value != nullptr && i + 1 < arguments.size() && !arguments[i + 1].starts_with("-")) {
      value = arguments[++i];
    }
    if (flag->value != nullptr && value.empty()) return error(ErrorCode::kInvalidArgument, "--{} needs a value: {}", flag->name, flag->value);
    switch (flag->use) {
      case FlagUse::kRefused: return error(ErrorCode::kInvalidArgument, "--{}: {}", flag->name, flag->help);
      case FlagUse::kIgnored: given.notices.push_back(fmt::format("--{} has no effect: {}", flag->name, flag->help)); break;
      case FlagUse::kUsed: given.list.push_back({flag->name, std::move(value)}); break;
    }
  }
  return given;
}

std::string exec_help() {
  std::string text = "tenon exec takes the command lines of trtexec (TensorRT 8.6, 10 and 11); installed as trtexec it is that command.\n\n"
                     "  tenon exec --onnx=model.onnx --saveEngine=model.engine --fp16 \\\n"
                     "      --minShapes=input_ids:1x8 --optShapes=input_ids:8x128 --maxShapes=input_ids:32x512\n"
                     "  tenon exec --loadEngine=model.engine --shapes=input_ids:8x128 --dumpProfile\n\n";
  for (const FlagUse use : {FlagUse::kUsed, FlagUse::kIgnored, FlagUse::kRefused}) {
    text += use == FlagUse::kUsed ? "Flags, and the versions of TensorRT that have them:\n" : use == FlagUse::kIgnored ? "\nTaken, but without effect here:\n" : "\nRefused:\n";
    for (const ExecFlag& flag : kFlags) {
      if (flag.use != use) continue;
      const std::string spelled = fmt::format("--{}{}{}", flag.name, flag.value ? "=" : "", flag.value ? flag.value : "");
      text += fmt::format("  {:<34} {:<9} {}\n", spelled, fmt::format("[{}]", flag.versions), flag.help);
    }
  }
  return text;
}

}  // namespace tenon::tools
