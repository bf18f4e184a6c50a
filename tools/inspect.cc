#include <fmt/core.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "builder/builder.h"
#include "engine/format.h"
#include "engine/reader.h"
#include "ir/text.h"
#include "onnx/import.h"
#include "ops/create.h"
#include "tools/graph_stats.h"
#include "tools/graph_svg.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kBatch = 1, kSeq = 128;  // the sizes that FLOPs are counted for

bool is_engine(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<unsigned char, engine::kMagic.size()> magic{};
  file.read(reinterpret_cast<char*>(magic.data()), magic.size());
  return file && magic == engine::kMagic;
}

Json ports(const ir::Graph& graph) {
  Json json;
  for (const auto& in : graph.inputs()) json["inputs"].push_back({{"name", in->name()}, {"type", in->type().to_string()}});
  for (const auto& out : graph.outputs()) json["outputs"].push_back({{"name", out.name}, {"type", out.value->type().to_string()}});
  return json;
}

void print_json(const Json& json, bool as_json) {
  if (as_json) {
    std::puts(json.dump(2).c_str());
    return;
  }
  for (const auto& [key, value] : json.items()) {
    if (!value.is_array()) {
      fmt::print("{}: {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
      continue;
    }
    fmt::print("{}:\n", key);
    for (const auto& row : value) {
      std::string line;
      if (row.is_object()) {
        for (const auto& [name, cell] : row.items()) line += (cell.is_string() ? cell.get<std::string>() : cell.dump()) + "  ";
      } else {
        line = row.is_string() ? row.get<std::string>() : row.dump();
      }
      fmt::print("  {}\n", line);
    }
  }
}

void write_svg(const InspectArgs& args, const ir::Graph& before, const ir::Graph& after) {
  std::ofstream file(args.svg);
  file << draw_svg(before, after);
  file.close();
  if (!file) throw Error(ErrorCode::kIo, "cannot write " + args.svg);
}

// One of several targets: what it takes of the file, and where it runs.
Json describe_target(const engine::EngineFile& file, size_t index) {
  const engine::Plan& plan = file.plans()[index];
  uint64_t weights = 0, code = 0;
  for (const engine::PlanWeight& w : plan.weights) weights += w.bytes;
  bool has_ptx = !plan.codes.empty();
  for (const engine::PlanCode& c : plan.codes) {
    code += c.cubin.size() + c.ptx.size();
    has_ptx = has_ptx && !c.ptx.empty();
  }
  Json json = {{"target", plan.target}, {"steps", fmt::format("{} steps", plan.steps.size())}, {"weights", human_bytes(weights) + " of weights"}};
  if (!plan.codes.empty()) json["code"] = fmt::format("{} of code{}", human_bytes(code), has_ptx ? ", newer GPUs too" : "");
  return json;
}

int inspect_engine(const InspectArgs& args) {
  const auto file = value_or_throw(engine::EngineFile::open(args.path));
  const engine::Metadata meta = value_or_throw(file->read_texts());
  const int shown = plan_for(*file, args.target);
  const engine::Plan& plan = file->plan(shown);
  const std::string& compiled = meta.plans[static_cast<size_t>(shown)].graph_compiled;
  const auto graph = value_or_throw(ops::parse_graph(compiled, args.path));
  if (args.graph) fmt::print("{}", compiled);
  if (!args.svg.empty()) write_svg(args, *value_or_throw(ops::parse_graph(meta.graph_imported, args.path)), *graph);
  if (args.graph) return kSuccess;
  const GraphStats stats = measure_graph(*graph, kBatch, kSeq);
  Json json = {{"kind", "engine"}, {"tenon", meta.tenon_version}, {"source", meta.model_source}, {"architecture", meta.architecture}, {"task", meta.task},
               {"target", plan.target}, {"file", human_bytes(file->file_bytes())}, {"weights", human_bytes(file->weight_bytes())},
               {"tokenizer", meta.tokenizer.empty() ? "none" : human_bytes(meta.tokenizer.size())}, {"FLOPs at 1x128", human_count(stats.flops)}};
  json.update(ports(*graph));
  if (file->plans().size() > 1) {
    for (size_t i = 0; i < file->plans().size(); ++i) json["targets"].push_back(describe_target(*file, i));
  }
  for (const engine::PluginUse& use : engine::plugins_of(plan)) {
    json["plugins"].push_back({{"operator", use.name}, {"version", "version " + use.version}, {"library", "library " + use.library}, {"steps", fmt::format("{} steps", use.steps)}});
  }
  for (size_t i = 0; i < plan.regions.size(); ++i) json["regions"].push_back(fmt::format("region {}: steps {} to {}", i, plan.regions[i].begin, plan.regions[i].end));
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const engine::PlanStep& step = plan.steps[i];
    const engine::PlanValue& out = plan.values[static_cast<size_t>(step.outputs[0])];
    json["steps"].push_back({{"step", i}, {"op", std::string(ir::op_name(step.op))}, {"kernel", step.kernels[0].kernel}, {"output", out.type.to_string()},
                             {"live", fmt::format("steps {}..{}", out.first_step, out.last_step)}, {"name", out.name}});
  }
  print_json(json, args.json);
  return kSuccess;
}

int inspect_model(const InspectArgs& args) {
  Json json;
  std::error_code ignored;
  if (!std::filesystem::is_directory(args.path, ignored)) {
    const onnx::FileReport report = value_or_throw(onnx::survey(args.path));
    json = {{"kind", "ONNX"}, {"producer", report.producer}};
    for (const auto& [domain, version] : report.opsets) json["opsets"].push_back({{"domain", domain.empty() ? "ai.onnx" : domain}, {"version", version}});
    int64_t elements = 0, bytes = 0;
    for (const auto& p : report.parameters) {
      elements += p.elements;
      bytes += p.bytes;
    }
    json["parameters"] = fmt::format("{} in {} tensors, {}", elements, report.parameters.size(), human_bytes(static_cast<uint64_t>(bytes)));
    for (const auto& op : report.operators) {
      json["operators"].push_back({{"name", (op.domain.empty() ? "" : op.domain + ".") + op.name}, {"count", op.count}, {"status", op.supported ? "" : "UNSUPPORTED"}});
    }
  } else {
    json = {{"kind", "checkpoint"}};
  }
  auto model = builder::import_model(args.path);
  json["valid"] = model.ok() ? "yes" : "no: " + model.status().message();
  if (model.ok()) {
    const std::unique_ptr<ir::Graph> before = model->graph->clone();
    if (args.graph) {
      fmt::print("{}", ir::print(*before));
      return kSuccess;
    }
    const GraphStats was = measure_graph(*before, kBatch, kSeq);
    const builder::Compiled compiled = value_or_throw(builder::compile(std::move(*model), "", {}));
    const ir::Graph& after = *compiled.plans.front().graph;
    const GraphStats is = measure_graph(after, kBatch, kSeq);
    json.update({{"source", compiled.model.source}, {"architecture", compiled.model.architecture}, {"task", compiled.model.task},
                 {"FLOPs at 1x128", human_count(was.flops)}, {"parameters in graph", human_count(was.parameters)}});
    json["compiles to"] = fmt::format("{} nodes -> {} steps, {} attentions", was.launches, is.launches, is.ops.contains("attention") ? is.ops.at("attention") : 0);
    json.update(ports(*before));
    if (!args.svg.empty()) write_svg(args, *before, after);
  }
  print_json(json, args.json);
  return model.ok() ? kSuccess : kCheckFailed;
}

}  // namespace

int inspect(const InspectArgs& args) { return is_engine(args.path) ? inspect_engine(args) : inspect_model(args); }

}  // namespace tenon::tools
