#include "tools/exec_options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <functional>

namespace tenon::tools {
namespace {

// Names that exports give to the same input.
constexpr std::array<std::array<std::string_view, 4>, 4> kAliases = {{
    {"attention_mask", "input_mask", "mask", "attn_mask"},
    {"token_type_ids", "segment_ids", "token_types", "input_type_ids"},
    {"input_ids", "input_word_ids", "token_ids", "ids"},
    {"position_ids", "positions", "position", "input_positions"},
}};

Status bad_value(std::string_view flag, std::string_view value, std::string_view expected) {
  return error(ErrorCode::kInvalidArgument, "--{}={}: expected {}", flag, value, expected);
}

Result<double> number(const GivenFlag& flag, double least) {
  char* end = nullptr;
  const double value = std::strtod(flag.value.c_str(), &end);
  if (*end != '\0' || !std::isfinite(value) || value < least) return bad_value(flag.name, flag.value, "a number, not below " + fmt::format("{}", least));
  return value;
}

Result<int> integer(const GivenFlag& flag, int least) {
  int value = 0;
  const char* const end = flag.value.data() + flag.value.size();
  const auto [stop, failed] = std::from_chars(flag.value.data(), end, value);
  if (failed != std::errc() || stop != end || value < least) return bad_value(flag.name, flag.value, fmt::format("a whole number, not below {}", least));
  return value;
}

// At commas that do not stand in quotes, which are dropped.
std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts(1);
  bool quoted = false;
  for (const char c : text) {
    if (c == '\'') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// "workspace:4096" in MiB, or with a suffix B, K, M, G; other pools have no meaning.
Result<uint64_t> workspace_of(const GivenFlag& flag) {
  uint64_t bytes = 0;
  for (const std::string& part : split_list(flag.value)) {
    const size_t colon = part.find(':');
    if (colon == std::string::npos) return bad_value(flag.name, flag.value, "pool:size");
    if (part.substr(0, colon) != "workspace") continue;
    char* end = nullptr;
    const double size = std::strtod(part.c_str() + colon + 1, &end);
    const std::string_view suffix(end);
    const std::string_view units = "BKMG";
    const size_t unit = suffix.empty() ? 2 : units.find(suffix[0]);
    if (end == part.c_str() + colon + 1 || suffix.size() > 1 || unit == std::string_view::npos || !(size >= 0 && size < 1e12)) {
      return bad_value(flag.name, flag.value, "a size such as 4096 (MiB) or 4G");
    }
    bytes = static_cast<uint64_t>(std::ldexp(size, static_cast<int>(10 * unit)));
  }
  return bytes;
}

Result<std::vector<double>> percentiles_of(const GivenFlag& flag) {
  std::vector<double> list;
  for (const std::string& part : split_list(flag.value)) {
    TENON_ASSIGN(const double p, number({flag.name, part}, 0));
    if (p > 100) return bad_value(flag.name, flag.value, "numbers from 0 to 100");
    list.push_back(p);
  }
  return list;
}

Result<std::vector<std::pair<std::string, std::string>>> files_of(const GivenFlag& flag) {
  std::vector<std::pair<std::string, std::string>> files;
  for (const std::string& part : split_list(flag.value)) {
    const size_t colon = part.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == part.size()) return bad_value(flag.name, flag.value, "name:file[,name:file]");
    files.emplace_back(part.substr(0, colon), part.substr(colon + 1));
  }
  return files;
}

// "fp16:chw,int32:chw+hwc", or "chw" alone (11): the types; nothing of the model's. Rows stay in order, which is chw.
Result<std::vector<std::string>> io_types_of(const GivenFlag& flag, std::vector<std::string>& notices) {
  std::vector<std::string> types;
  for (const std::string& part : split_list(flag.value)) {
    const size_t colon = part.find(':');
    types.push_back(colon == std::string::npos ? "" : part.substr(0, colon));
    const std::string formats = "+" + part.substr(colon == std::string::npos ? 0 : colon + 1) + "+";
    constexpr std::array<std::string_view, 13> kFormats = {"chw", "chw2", "chw4", "chw16", "chw32", "hwc", "hwc8", "hwc16", "dhwc", "dhwc8", "cdhw32", "dla_linear", "dla_hwc4"};
    for (size_t at = 1; at < formats.size();) {
      const size_t end = formats.find('+', at);
      if (std::find(kFormats.begin(), kFormats.end(), formats.substr(at, end - at)) == kFormats.end()) return bad_value(flag.name, flag.value, "type:format[+format], such as fp16:chw");
      at = end + 1;
    }
    if (formats.find("+chw+") == std::string::npos) notices.push_back(fmt::format("--{}: {} is taken as chw: tensors lie as the model has them, row by row", flag.name, formats.substr(1, formats.size() - 2)));
  }
  return types;
}

// "+CUBLAS_LT,-CUDNN": BuilderConfig::tactics.
Result<std::vector<std::string>> tactics_of(const GivenFlag& flag, std::vector<std::string>& notices) {
  std::vector<std::string> tactics;
  for (const std::string& part : split_list(flag.value)) {
    if (part.size() < 2 || (part[0] != '+' && part[0] != '-')) return bad_value(flag.name, flag.value, "+SOURCE or -SOURCE[,…], such as +CUBLAS_LT");
    const bool on = part[0] == '+';
    const std::string source = part.substr(1);
    const std::string library = source == "CUBLAS_LT" || source == "CUBLAS" ? "cublaslt" : source == "CUDNN" ? "cudnn" : "";
    std::erase(tactics, library);
    if (on && !library.empty()) tactics.push_back(library);
    if (on && library.empty()) notices.push_back(fmt::format("--{}: {} has no effect: kernels are Tenon's own, or of cuBLASLt or cuDNN", flag.name, part));
  }
  return tactics;
}

// '*' in the pattern stands for any text, once.
bool matches(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  const std::string_view head = pattern.substr(0, star), tail = pattern.substr(star + 1);
  return name.size() >= head.size() + tail.size() && name.starts_with(head) && name.ends_with(tail);
}

}  // namespace

Result<NamedShapes> parse_named_shapes(std::string_view flag, std::string_view text) {
  NamedShapes shapes;
  for (const std::string& part : split_list(text)) {
    const size_t colon = part.rfind(':');
    if (colon == std::string::npos || colon == 0) return bad_value(flag, text, "input:AxBxC[,input:…]");
    std::vector<int64_t> dims;
    const std::string_view sizes = std::string_view(part).substr(colon + 1);
    for (size_t at = 0; !sizes.empty() && sizes != "scalar" && at <= sizes.size();) {
      const size_t end = std::min(sizes.find('x', at), sizes.size());
      int64_t size = 0;
      const auto [stop, failed] = std::from_chars(sizes.data() + at, sizes.data() + end, size);
      constexpr int64_t kMost = int64_t{1} << 40;
      if (failed != std::errc() || stop != sizes.data() + end || size < 0 || size > kMost) return bad_value(flag, text, "input:AxBxC[,input:…]");
      dims.push_back(size);
      at = end + 1;
    }
    shapes.emplace_back(part.substr(0, colon), std::move(dims));
  }
  return shapes;
}

Status resolve_names(std::string_view flag, std::span<const std::string> inputs, NamedShapes& shapes, std::vector<std::string>& notices) {
  NamedShapes resolved;
  for (const auto& [typed, dims] : shapes) {
    const size_t before = resolved.size();
    for (const std::string& input : inputs) {
      if (matches(typed, input)) resolved.emplace_back(input, dims);
    }
    if (resolved.size() > before) continue;
    for (const auto& group : kAliases) {
      if (std::find(group.begin(), group.end(), typed) == group.end()) continue;
      for (const std::string& input : inputs) {
        const bool named = std::any_of(shapes.begin(), shapes.end(), [&](const auto& s) { return s.first == input; });
        if (named || std::find(group.begin(), group.end(), input) == group.end()) continue;
        notices.push_back(fmt::format("--{}: {} is the model's {}", flag, typed, input));
        resolved.emplace_back(input, dims);
      }
    }
    if (resolved.size() > before) continue;
    std::string list;
    for (const std::string& input : inputs) list += (list.empty() ? "" : ", ") + input;
    return error(ErrorCode::kInvalidArgument, "--{}: the model has no input {}; its inputs are {}", flag, typed, list);
  }
  shapes = std::move(resolved);
  return {};
}

Result<ExecOptions> exec_options(std::span<const GivenFlag> given) {
  ExecOptions o;
  int profile = 0;
  // How each flag changes the options.
  using Set = std::function<Status(const GivenFlag&)>;
  const auto text = [](std::string& member) -> Set {
    return [&member](const GivenFlag& f) { return member = f.value, Status(); };
  };
  const auto on = [](bool& member) -> Set {
    return [&member](const GivenFlag&) { return member = true, Status(); };
  };
  const auto count = [](int& member, int least) -> Set {
    return [&member, least](const GivenFlag& f) -> Status {
      TENON_ASSIGN(member, integer(f, least));
      return {};
    };
  };
  const auto real = [](double& member, double least) -> Set {
    return [&member, least](const GivenFlag& f) -> Status {
      TENON_ASSIGN(member, number(f, least));
      return {};
    };
  };
  const auto shapes = [&](NamedShapes ExecProfile::*member) -> Set {
    return [&, member](const GivenFlag& f) -> Status {
      TENON_ASSIGN(o.profiles[profile].*member, parse_named_shapes(f.name, f.value));
      return {};
    };
  };
  const Set plugin = [&](const GivenFlag& f) { return o.plugins.push_back(f.value), Status(); };
  const auto verbosity = [&](const GivenFlag& f) -> Status {
    o.detailed = f.value == "detailed";
    if (o.detailed || f.value == "layer_names_only" || f.value == "none" || f.value == "default" || f.value == "verbose") return {};
    return bad_value(f.name, f.value, "layer_names_only, detailed or none");
  };
  const auto algorithm = [&](const GivenFlag& f) -> Status {
    o.accuracy_algorithm = f.value;
    for (const char* known : {"l0", "l1", "l2", "lInf", "cos"})
      if (f.value == known) return {};
    return bad_value(f.name, f.value, "l0, l1, l2, lInf or cos");
  };
  const auto constraints = [&](const GivenFlag& f) -> Status {
    o.constrained = f.value == "prefer" || f.value == "obey";
    return o.constrained || f.value == "none" ? Status() : bad_value(f.name, f.value, "none, prefer or obey");
  };
  const auto layers = [&](const GivenFlag& f) -> Status {
    for (const std::string& part : split_list(f.value)) {
      const size_t colon = part.rfind(':');
      if (colon == std::string::npos || colon == 0) return bad_value(f.name, f.value, "layer:precision[,layer:precision]");
      o.layer_precisions.emplace_back(part.substr(0, colon), part.substr(colon + 1));
    }
    return {};
  };
  const std::map<std::string_view, Set> setters = {
      {"onnx", text(o.onnx)}, {"saveEngine", text(o.save_engine)}, {"loadEngine", text(o.load_engine)}, {"timingCacheFile", text(o.timing_cache)},
      {"tacticSources", [&](const GivenFlag& f) -> Status { TENON_ASSIGN(o.tactics, tactics_of(f, o.notices)); return {}; }},
      {"plugins", plugin}, {"staticPlugins", plugin}, {"dynamicPlugins", plugin},
      {"minShapes", shapes(&ExecProfile::min)}, {"optShapes", shapes(&ExecProfile::opt)}, {"maxShapes", shapes(&ExecProfile::max)},
      {"profile", count(profile, 0)},
      {"shapes", [&](const GivenFlag& f) -> Status { TENON_ASSIGN(o.shapes, parse_named_shapes(f.name, f.value)); return {}; }},
      {"loadInputs", [&](const GivenFlag& f) -> Status { TENON_ASSIGN(o.input_files, files_of(f)); return {}; }},
      {"precisionConstraints", constraints}, {"layerPrecisions", layers},
      {"inputIOFormats", [&](const GivenFlag& f) -> Status { TENON_ASSIGN(o.input_types, io_types_of(f, o.notices)); return {}; }},
      {"outputIOFormats", [&](const GivenFlag& f) -> Status { TENON_ASSIGN(o.output_types, io_types_of(f, o.notices)); return {}; }},
      {"loadRefOutputs", [&](const GivenFlag& f) -> Status { TENON_ASSIGN(o.reference_files, files_of(f)); return {}; }},
      {"accuracyAlgorithm", algorithm}, {"accuracyThreshold", real(o.accuracy_threshold, 0)}, {"atol", real(o.atol, 0)}, {"rtol", real(o.rtol, 0)},
      {"device", count(o.device, 0)}, {"tempdir", text(o.temporary_folder)}, {"monitorMemory", on(o.monitor_memory)},
      {"percentile", [&](const GivenFlag& f) -> Status { TENON_ASSIGN(o.percentiles, percentiles_of(f)); return {}; }},
      {"memPoolSize", [&](const GivenFlag& f) -> Status { TENON_ASSIGN(o.workspace, workspace_of(f)); return {}; }},
      {"workspace", [&](const GivenFlag& f) -> Status { TENON_ASSIGN(o.workspace, workspace_of({f.name, "workspace:" + f.value})); return {}; }},
      {"fp16", on(o.fp16)}, {"bf16", on(o.bf16)}, {"int8", on(o.int8)}, {"best", on(o.best)}, {"noTF32", on(o.no_tf32)}, {"cpuOnly", on(o.cpu_only)},
      {"builderOptimizationLevel", count(o.optimization_level, 0)}, {"profilingVerbosity", verbosity}, {"nvtxMode", verbosity},
      {"skipInference", on(o.skip_inference)}, {"buildOnly", on(o.skip_inference)}, {"timeDeserialize", on(o.time_deserialize)},
      {"getPlanVersionOnly", on(o.print_version)}, {"help", on(o.help)}, {"h", on(o.help)},
      {"iterations", count(o.iterations, 0)}, {"warmUp", real(o.warm_up_ms, 0)}, {"duration", real(o.duration_s, -1)},
      {"sleepTime", real(o.sleep_ms, 0)}, {"idleTime", real(o.idle_ms, 0)}, {"infStreams", count(o.streams, 1)}, {"streams", count(o.streams, 1)},
      {"noDataTransfers", on(o.no_data_transfers)}, {"includeDataTransfers", [&](const GivenFlag&) { return o.no_data_transfers = false, Status(); }},
      {"useProfile", count(o.use_profile, 0)}, {"verbose", on(o.verbose)}, {"v", on(o.verbose)}, {"avgRuns", count(o.avg_runs, 1)},
      {"dumpOutput", on(o.dump_output)}, {"dumpRawBindingsToFile", on(o.dump_raw)}, {"dumpProfile", on(o.dump_profile)},
      {"dumpLayerInfo", on(o.dump_layers)}, {"dumpOptimizationProfile", on(o.dump_profiles)}, {"exportTimes", text(o.export_times)},
      {"exportOutput", text(o.export_output)}, {"exportProfile", text(o.export_profile)}, {"exportLayerInfo", text(o.export_layers)},
  };
  for (const GivenFlag& flag : given) {
    const auto setter = setters.find(flag.name);
    if (setter == setters.end()) return error(ErrorCode::kInternal, "--{} is in the table of flags but nothing reads it", flag.name);
    TENON_TRY(setter->second(flag));
  }
  if (o.help) return o;
  if (o.onnx.empty() == o.load_engine.empty()) {
    return error(ErrorCode::kInvalidArgument, "{}", o.onnx.empty() ? "give a model, --onnx=FILE, or an engine, --loadEngine=FILE" : "give either --onnx or --loadEngine, not both");
  }
  if (o.print_version && o.load_engine.empty()) return error(ErrorCode::kInvalidArgument, "--getPlanVersionOnly needs --loadEngine=FILE");
  return o;
}

}  // namespace tenon::tools
