// The compiler as the tools use it; include/tenon/builder.h is the users' face of the same functions.
#pragma once

#include <memory>
#include <string>

#include "engine/metadata.h"
#include "ir/model.h"
#include "passes/pipeline.h"
#include "plan/planner.h"
#include "tenon/builder.h"
#include "text/tokenizer.h"

namespace tenon::builder {

// Reads an ONNX file or a checkpoint folder. Errors: not-found, bad-model, unsupported, io.
Result<ir::Model> import_model(const std::string& path, bool gather_masked = true);

// What a model became for one target. The plan points into the graph.
struct CompiledPlan {
  std::string precision;
  std::unique_ptr<ir::Graph> graph;
  passes::PipelineReport report;
  plan::PlannedModel planned;
};

// A model with everything that the engine file needs beside its weights.
struct Compiled {
  ir::Model model;  // without its graph
  std::string imported_text;
  int nodes_imported = 0;
  std::vector<CompiledPlan> plans;  // for the targets of BuilderConfig, in their order
  std::shared_ptr<const text::Tokenizer> tokenizer;  // may be null
};

// Optimises and plans, for each target. `folder` is where a tokenizer is looked for; may be empty.
Result<Compiled> compile(ir::Model model, const std::string& folder, const BuilderConfig& config);

// import -> compile -> write.
Result<BuildReport> build(const std::string& model, const std::string& engine, const BuilderConfig& config);

// compile -> write, for a model that is imported already.
Result<BuildReport> build(ir::Model model, const std::string& folder, const std::string& engine, const BuilderConfig& config);

}  // namespace tenon::builder
