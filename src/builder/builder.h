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

// A model with everything that the engine file needs beside its weights. The plan points into the graph.
struct Compiled {
  ir::Model model;  // the graph is the compiled one
  std::string imported_text;
  int nodes_imported = 0;
  passes::PipelineReport report;
  plan::PlannedModel planned;
  std::shared_ptr<const text::Tokenizer> tokenizer;  // may be null
};

// Optimises and plans. `folder` is where a tokenizer is looked for; may be empty.
Result<Compiled> compile(ir::Model model, const std::string& folder, const BuilderConfig& config);

// import -> compile -> write.
Result<BuildReport> build(const std::string& model, const std::string& engine, const BuilderConfig& config);

// compile -> write, for a model that is imported already.
Result<BuildReport> build(ir::Model model, const std::string& folder, const std::string& engine, const BuilderConfig& config);

}  // namespace tenon::builder
