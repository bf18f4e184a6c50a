// tenon optimize: the fused graph as an ONNX file.
#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "builder/builder.h"
#include "onnx/export/export.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace tenon::tools {

int optimize(const OptimizeArgs& args) {
  ir::Model model = value_or_throw(builder::import_model(args.model, false));
  const size_t imported = model.graph->nodes().size();
  passes::PipelineOptions options;
  if (args.fp16) options.precision = DType::kF16;
  for (const std::string& name : onnx::passes_not_for_export(args.microsoft)) options.disabled.insert(name);
  options.disabled.insert("fuse-unpack");
  options.disabled.insert(args.disabled_passes.begin(), args.disabled_passes.end());
  value_or_throw(passes::run_pipeline(*model.graph, options));
  const onnx::ExportReport report = value_or_throw(onnx::export_file(*model.graph, args.out, {.microsoft = args.microsoft, .graph_name = model.graph->name}));
  if (args.json) {
    const nlohmann::ordered_json json = {{"file", args.out}, {"nodes_imported", imported}, {"nodes", report.nodes}, {"file_bytes", report.file_bytes}, {"external_data", report.external}};
    std::puts(json.dump(2).c_str());
  } else if (!args.quiet) {
    fmt::print("{}: {} nodes became {}, {}{}\n", args.out, imported, report.nodes, human_bytes(report.file_bytes),
               report.external ? " (weights in " + args.out + ".data)" : "");
  }
  return kSuccess;
}

}  // namespace tenon::tools
