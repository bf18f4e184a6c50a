#include "builder/builder.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "builder/beside.h"
#include "builder/io_types.h"
#include "builder/tuning.h"
#include "builder/weights_ahead.h"
#include "engine/writer.h"
#include "plan/device_code.h"
#include "plan/cpu_timer.h"
#include "plan/gpu_timer.h"
#include "plan/weight_table.h"
#include "hf/checkpoint.h"
#include "ir/text.h"
#include "kernels/cpu/isa.h"
#include "network/network_impl.h"
#include "onnx/import.h"
#include "ops/plugin_host.h"
#include "passes/passes.h"
#include "runtime/choose_plan.h"

namespace tenon::builder {
namespace {

namespace fs = std::filesystem;

void progress(const BuilderConfig& config, std::string_view phase, double fraction) {
  if (config.on_progress) config.on_progress(phase, fraction);
}

std::vector<engine::Profile> profiles_of(const BuilderConfig& config) {
  std::vector<engine::Profile> profiles;
  for (const OptimizationProfile& profile : config.profiles) {
    engine::Profile p;
    for (const auto& range : profile.ranges()) p.ranges.push_back({range.input, range.min, range.opt, range.max});
    profiles.push_back(std::move(p));
  }
  return profiles;
}

struct TargetChoice {
  kernels::Target kind = kernels::Target::kCpu;
  plan::Machine machine;
  std::string not_tuned;  // why, where it was asked for
};

// Errors: invalid-argument (no such target), no-device ("cuda" without a GPU).
Result<TargetChoice> choose_target(std::string_view name, bool optimize, bool tune) {
  if (!optimize) return TargetChoice{kernels::Target::kReference, {}, {}};
  if (name == "cpu") return TargetChoice{};
  if (name == "cuda" || name == "auto") {
    auto machine = plan::machine_at_hand();
    if (machine.ok()) return TargetChoice{kernels::Target::kCuda, std::move(*machine), {}};
    if (name == "auto") return TargetChoice{};
    return machine.status();
  }
  const int capability = runtime::capability_of(name);
  if (capability == 0) {
    return error(ErrorCode::kInvalidArgument, "there is no target \"{}\": cpu, cuda, auto, or a GPU's such as sm_90", name);
  }
  if (capability < 80) return error(ErrorCode::kUnsupported, "{}: GPUs before sm_80 are not supported", name);
  if (tune) {  // on the machine at hand; otherwise the plan depends on nothing but the name
    TENON_ASSIGN(plan::Machine machine, plan::machine_at_hand());
    if (machine.compute_capability == capability) return TargetChoice{kernels::Target::kCuda, std::move(machine), {}};
    return error(ErrorCode::kNoDevice, "tuning for {} needs such a GPU; {} is sm_{}", name, machine.device, machine.compute_capability);
  }
  constexpr int kH100 = 132, kA100 = 108;  // multiprocessors to plan for while the GPU is not at hand
  plan::Machine machine;
  machine.compute_capability = capability;
  machine.multiprocessors = capability >= 90 ? kH100 : kA100;
  return TargetChoice{kernels::Target::kCuda, std::move(machine), {}};
}

// Of a list such as "sm_90,sm_80,cpu", each once; at least one. Of several, those that are not at hand are not tuned.
Result<std::vector<TargetChoice>> choose_targets(const BuilderConfig& config) {
  std::vector<std::string> names;
  std::istringstream list(config.target + ",");
  for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  std::vector<TargetChoice> targets;
  std::set<std::string> seen;
  for (const std::string& name : names) {
    auto target = choose_target(name, config.optimize, config.tune);
    if (!target.ok() && target.status().code() == ErrorCode::kNoDevice && config.tune && names.size() > 1) {
      const std::string why = target.status().message();
      target = choose_target(name, config.optimize, false);
      if (target.ok()) target->not_tuned = why;
    }
    if (!target.ok()) return target.status();
    if (seen.insert(plan::target_name(target->kind, target->machine)).second) targets.push_back(std::move(*target));
  }
  return targets;
}

struct Precision {
  DType floats = DType::kF32;  // GPUs: of everything
  std::string factors;         // of the linears, where floats stay f32
};

const char* integers_at_hand() { return kernels::cpu::lacks_vnni(kernels::cpu::chosen_isa()) ? "int8_quads" : "int8"; }

// Errors: unsupported (on this target), invalid-argument.
Result<Precision> parse_precision(std::string name, kernels::Target target) {
  const bool on_gpu = target == kernels::Target::kCuda;
  if (name == "best") name = on_gpu ? "fp16" : kernels::cpu::chosen_isa() >= kernels::cpu::Isa::kAvx512Bf16 ? "bf16" : "fp32";
  if (name == "fp32") return Precision{};
  if (target == kernels::Target::kReference) return error(ErrorCode::kUnsupported, "{} needs the optimised kernels", name);
  if (name == "fp16" && !on_gpu) return error(ErrorCode::kUnsupported, "fp16 needs a GPU: --target cuda or sm_90");
  if (name == "tf32" && !on_gpu) return error(ErrorCode::kUnsupported, "tf32 needs a GPU: --target cuda or sm_90");
  if (name == "int8" && on_gpu) return error(ErrorCode::kUnsupported, "int8 needs a CPU: --target cpu");
  if (name == "fp16") return Precision{DType::kF16, ""};
  if (name == "bf16") return on_gpu ? Precision{DType::kBF16, ""} : Precision{DType::kF32, "bf16"};
  if (name == "int8") return Precision{DType::kF32, integers_at_hand()};
  if (name == "tf32") return Precision{DType::kF32, name};
  return error(ErrorCode::kInvalidArgument, "there is no precision \"{}\": fp32, tf32, fp16, bf16, int8 or best", name);
}

// The model's own, where the build asks for none: the 16 bits of its products on a GPU.
std::string precision_for(const BuilderConfig& config, const ir::Graph& graph, kernels::Target target) {
  if (!config.precision.empty()) return config.precision;
  const DType own = target == kernels::Target::kCuda ? passes::type_of_products(graph) : DType::kF32;
  return own == DType::kF16 ? "fp16" : own == DType::kBF16 ? "bf16" : "fp32";
}

engine::PlanTexts texts_of(const CompiledPlan& plan) {
  engine::PlanTexts texts;
  texts.graph_compiled = ir::print(*plan.graph);
  for (const passes::Decision& d : plan.report.decisions) texts.decisions.push_back({d.pass, d.node, d.applied ? "applied" : "declined", d.reason});
  for (const plan::KernelRejection& r : plan.planned.rejections) {
    const auto& step = plan.planned.plan.steps[static_cast<size_t>(r.step)];
    texts.decisions.push_back({"plan", fmt::format("step {} {}", r.step, ir::op_name(step.op)), "kernel " + r.kernel + " declined", r.reason});
  }
  for (engine::Decision& d : describe_choices(plan.planned.config_problems)) texts.decisions.push_back(std::move(d));
  // Values keep their imported names through rewrites that keep their contents (passes/rewriter.h); packed rows and channels
  // that stand last carry a suffix.
  for (const auto& node : plan.graph->nodes()) {
    for (int i = 0; i < node->num_outputs(); ++i) {
      const std::string& name = node->output(i)->name();
      engine::ValueOrigin origin{name, name, "same"};
      for (const auto& [suffix, kind] : {std::pair<std::string_view, const char*>{".packed", "packed"}, {passes::kChannelsLastSuffix, "channels last"}}) {
        if (name.ends_with(suffix)) origin = {name, name.substr(0, name.size() - suffix.size()), kind};
      }
      texts.origins.push_back(std::move(origin));
    }
  }
  return texts;
}

engine::Metadata metadata_of(const Compiled& compiled, const BuilderConfig& config) {
  engine::Metadata m;
  m.tenon_version = TENON_VERSION;
  m.model_source = compiled.model.source;
  m.architecture = compiled.model.architecture;
  m.task = compiled.model.task;
  m.labels = compiled.model.labels;
  m.properties = compiled.model.properties;
  m.notes = compiled.model.notes;
  m.build_options["optimize"] = config.optimize ? "1" : "0";
  const std::string precision = config.precision.empty() ? compiled.plans.front().precision : config.precision;
  m.build_options["precision"] = precision;
  for (const CompiledPlan& plan : compiled.plans) {
    if (plan.precision != precision) m.build_options["precision for " + plan.planned.plan.target] = plan.precision;
  }
  for (const std::string& name : config.tactics) m.build_options["tactics"] += name + " ";
  for (const std::string& name : config.disabled_passes) m.build_options["disable-pass"] += name + " ";
  for (const auto& pattern : compiled.plans.front().report.patterns) m.build_options["patterns"] += pattern.name + " ";
  m.graph_imported = compiled.imported_text;
  for (const CompiledPlan& plan : compiled.plans) m.plans.push_back(texts_of(plan));
  if (compiled.tokenizer) m.tokenizer = compiled.tokenizer->serialize();
  return m;
}

}  // namespace

Result<ir::Model> import_model(const std::string& path, bool gather_masked) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return error(ErrorCode::kNotFound, "{}: no such file or folder", path);
  if (!fs::is_directory(path, ignored)) return onnx::import_file(path);
  TENON_ASSIGN(const bool is_checkpoint, hf::is_checkpoint(path));
  if (is_checkpoint) return hf::import_folder(path, {.gather_masked = gather_masked});
  const fs::path onnx = fs::path(path) / "model.onnx";
  if (fs::exists(onnx, ignored)) return onnx::import_file(onnx.string());
  return error(ErrorCode::kNotFound, "{}: neither a checkpoint (config.json and weights) nor a folder with model.onnx", path);
}

// Rewrites the graph. Returns how to plan it.
Result<plan::PlanOptions> optimize(ir::Graph& graph, const BuilderConfig& config, const TargetChoice& target,
                                   const Precision& precision, passes::PipelineReport& report) {
  progress(config, "optimize", 0);
  if (config.optimize) {
    passes::PipelineOptions options;
    options.precision = precision.floats;
    options.factors = precision.factors;
    options.fp32_layers = config.fp32_layers;
    if (target.kind == kernels::Target::kCpu && config.precision.empty()) options.quantized = integers_at_hand();
    options.channels_last = target.kind != kernels::Target::kReference;
    options.fold_norms = target.kind == kernels::Target::kCuda && target.machine.compute_capability == 90;
    options.dump_dir = config.dump_passes;
    options.disabled = std::set<std::string>(config.disabled_passes.begin(), config.disabled_passes.end());
    for (const std::string& path : config.patterns) {
      TENON_ASSIGN(auto rules, passes::read_patterns(path));
      std::move(rules.begin(), rules.end(), std::back_inserter(options.patterns));
    }
    TENON_ASSIGN(report, passes::run_pipeline(graph, options));
  }
  plan::PlanOptions options;
  options.target = target.kind;
  options.machine = target.machine;
  // Without timings a plan depends on the CPU that makes it by the bits of int8's weights alone.
  const bool has_timings = config.tune || !config.timing_cache.empty();
  if (target.kind == kernels::Target::kCpu && has_timings) options.machine = plan::cpu_at_hand();
  options.machine.workspace_limit = config.workspace_limit;
  if (target.kind == kernels::Target::kCuda) {
    TENON_ASSIGN(options.machine.tactics, parse_tactics(config.tactics));
  }
  options.profiles = profiles_of(config);
  return options;
}

namespace {

// What the plans of one engine share while they are made.
struct Workshop {
  plan::KernelCache kernels;
  plan::TimingCache timings;
  plan::ExpressionNames names;
  std::map<std::string, int64_t> limits;  // of symbols, by name
};

// What the importers wrote as "limit.<symbol>".
std::map<std::string, int64_t> limits_of(const ir::Model& model) {
  constexpr std::string_view kPrefix = "limit.";
  std::map<std::string, int64_t> limits;
  for (const auto& [key, value] : model.properties) {
    if (key.starts_with(kPrefix)) limits[key.substr(kPrefix.size())] = std::atoll(value.c_str());
  }
  return limits;
}

void note(std::vector<std::string>& notes, std::string text) {
  if (std::ranges::find(notes, text) == notes.end()) notes.push_back(std::move(text));
}

Result<CompiledPlan> compile_for(const TargetChoice& target, bool one_of_several, std::unique_ptr<ir::Graph> graph,
                                 const BuilderConfig& config, Workshop& shop, std::vector<std::string>& notes) {
  CompiledPlan out;
  out.graph = std::move(graph);
  out.precision = precision_for(config, *out.graph, target.kind);
  auto precision = parse_precision(out.precision, target.kind);
  if (!precision.ok() && precision.status().code() == ErrorCode::kUnsupported && one_of_several) {
    note(notes, fmt::format("{} computes in fp32: {}", plan::target_name(target.kind, target.machine), precision.status().message()));
    out.precision = "fp32";
    precision = Precision{};
  }
  if (!precision.ok()) return precision.status();
  TENON_ASSIGN(plan::PlanOptions options, optimize(*out.graph, config, target, *precision, out.report));
  if (out.report.is_quantized) out.precision = "int8";
  for (const auto& pattern : out.report.patterns) {
    if (pattern.applied == 0) note(notes, fmt::format("pattern {} ({}) was applied nowhere: `tenon explain` says where it came near", pattern.name, pattern.where));
  }
  progress(config, "plan", 0);
  options.timings = &shop.timings;
  options.names = &shop.names;
  if (!config.tactics.empty() && target.kind != kernels::Target::kCuda) note(notes, "tactics are of GPUs");
  if (!options.machine.tactics.empty() && !config.tune && config.timing_cache.empty())
    note(notes, "tactics are chosen only where they were timed faster: add --tune, or a --timing-cache of a build with it");
  options.limits = shop.limits;
  TENON_ASSIGN(out.planned, plan::make_plan(*out.graph, options));
  if (!target.not_tuned.empty()) {
    note(notes, "not tuned: " + target.not_tuned);
  } else if (config.tune && options.target == kernels::Target::kReference) {
    note(notes, "nothing was tuned: the plain loops have no configs");
  } else if (config.tune) {
    plan::TuneOptions tuning;
    tuning.on_progress = config.on_progress;
    TENON_TRY(tune_configs(out.planned.config_problems, options.machine, config, tuning, shop.kernels, shop.timings).status());
    TENON_ASSIGN(out.planned, plan::make_plan(*out.graph, options));
  }
  TENON_TRY(plan::compile_codes(out.planned, shop.kernels, [&](double done) { progress(config, "compile kernels", done); }));
  return out;
}

}  // namespace

Result<Compiled> compile(ir::Model model, const std::string& folder, const BuilderConfig& config) {
  Compiled out;
  out.model = std::move(model);
  if (!config.task.empty()) out.model.task = config.task;
  read_beside(folder, out.model);
  out.imported_text = ir::print(*out.model.graph);
  out.nodes_imported = static_cast<int>(out.model.graph->nodes().size());
  TENON_TRY(set_io_types(*out.model.graph, config.input_types, config.output_types));
  TENON_ASSIGN(out.tokenizer, find_tokenizer(folder, config.tokenizer, out.model.notes));
  TENON_ASSIGN(const std::vector<TargetChoice> targets, choose_targets(config));
  Workshop shop;
  TENON_ASSIGN(shop.timings, load_timings(config));
  shop.limits = limits_of(out.model);
  for (const TargetChoice& target : targets) {
    const bool is_last = &target == &targets.back();
    auto graph = is_last ? std::move(out.model.graph) : out.model.graph->clone();
    TENON_ASSIGN(CompiledPlan compiled, compile_for(target, targets.size() > 1, std::move(graph), config, shop, out.model.notes));
    out.plans.push_back(std::move(compiled));
  }
  return out;
}

Result<TuneReport> tune(const std::string& model, const BuilderConfig& config, const plan::TuneOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  progress(config, "import", 0);
  TENON_ASSIGN(const ir::Model imported, import_model(model, config.gather_masked));
  passes::PipelineReport passes;
  TENON_ASSIGN(const TargetChoice target, choose_target(config.target, config.optimize, config.tune));
  TENON_ASSIGN(const Precision precision, parse_precision(precision_for(config, *imported.graph, target.kind), target.kind));
  TENON_ASSIGN(plan::PlanOptions planning, optimize(*imported.graph, config, target, precision, passes));
  if (planning.target == kernels::Target::kReference) return error(ErrorCode::kUnsupported, "the plain loops have no configs to time");
  TENON_ASSIGN(plan::TimingCache timings, load_timings(config));
  planning.timings = &timings;
  TENON_ASSIGN(plan::PlannedModel planned, plan::make_plan(*imported.graph, planning));

  TuneReport report;
  report.machine = planning.machine;
  report.timing_cache = config.timing_cache;
  report.problems = std::move(planned.config_problems);
  plan::KernelCache kernels;
  TENON_ASSIGN(report.results, tune_configs(report.problems, report.machine, config, options, kernels, timings));
  report.kernels_compiled = kernels.compiled();
  report.kernels_reused = kernels.reused();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

Result<BuildReport> build(ir::Model model, const std::string& folder, const std::string& engine, const BuilderConfig& config) {
  const auto start = std::chrono::steady_clock::now();
  TENON_TRY(ops::load_plugin_libraries(config.plugins));  // for patterns, where the model is imported already
  TENON_ASSIGN(Compiled compiled, compile(std::move(model), folder, config));
  std::vector<plan::PlannedModel*> models;
  for (CompiledPlan& p : compiled.plans) models.push_back(&p.planned);
  plan::place_weights(models);
  const engine::Metadata metadata = metadata_of(compiled, config);
  std::vector<engine::Plan> plans;
  for (const plan::PlannedModel* m : models) plans.push_back(m->plan);

  const std::vector<engine::StoredWeight> stored = engine::stored_weights(plans);
  const auto count = static_cast<double>(std::max<size_t>(1, stored.size()));
  WeightsAhead weights({models.begin(), models.end()}, stored);
  double packed = 0;
  const engine::WeightSource source = [&](engine::StoredWeight) {
    progress(config, "pack weights", packed++ / count);
    return weights.next();  // the writer asks for them in order
  };
  TENON_ASSIGN(const engine::WriteResult written, engine::write_engine(engine, plans, metadata, source));
  progress(config, "done", 1);

  BuildReport report;
  report.source = compiled.model.source;
  report.engine = engine;
  report.file_bytes = written.file_bytes;
  report.weight_bytes = written.weight_bytes;
  report.nodes_imported = compiled.nodes_imported;
  report.steps = static_cast<int>(plans.front().steps.size());
  for (const engine::Plan& p : plans) report.targets.push_back(p.target);
  report.notes = compiled.model.notes;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

Result<BuildReport> build(const std::string& path, const std::string& engine, const BuilderConfig& config) {
  const auto start = std::chrono::steady_clock::now();
  TENON_TRY(ops::load_plugin_libraries(config.plugins));
  progress(config, "import", 0);
  TENON_ASSIGN(ir::Model model, import_model(path, config.gather_masked));
  TENON_ASSIGN(BuildReport report, build(std::move(model), folder_beside(path), engine, config));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace tenon::builder

namespace tenon {

void OptimizationProfile::set_shape(const std::string& input, std::vector<int64_t> min, std::vector<int64_t> opt, std::vector<int64_t> max) {
  bool ordered = min.size() == opt.size() && opt.size() == max.size();
  for (size_t i = 0; ordered && i < min.size(); ++i) ordered = 0 <= min[i] && min[i] <= opt[i] && opt[i] <= max[i];
  if (!ordered) throw Error(ErrorCode::kInvalidArgument, "profile of input '" + input + "': shapes must have one rank and min <= opt <= max");
  ranges_.push_back({input, std::move(min), std::move(opt), std::move(max)});
}

BuildReport Builder::build(const std::string& model, const std::string& engine, const BuilderConfig& config) const {
  return value_or_throw(builder::build(model, engine, config));
}

BuildReport Builder::build(const Network& network, const std::string& engine, const BuilderConfig& config) const {
  ir::Model model;
  model.source = "network";
  model.graph = value_or_throw(network::snapshot(network));
  return value_or_throw(builder::build(std::move(model), "", engine, config));
}

}  // namespace tenon
