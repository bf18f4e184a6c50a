// Every export of the golden corpus imports, and its graph, run by the ops' reference loops, gives the recorded
// outputs; so does what `tenon optimize` makes of it, imported again.
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "onnx/export/export.h"
#include "onnx/import.h"
#include "ops/create.h"
#include "ops/interpret.h"
#include "passes/pipeline.h"
#include "tests/support/temporary_path.h"

namespace tenon::onnx {
namespace {

// The inputs of a recorded run in the order of the graph's.
std::vector<ir::Tensor> recorded_inputs(const test::GoldenCase& golden, const ir::Graph& graph, int shape) {
  std::vector<ir::Tensor> inputs;
  for (const auto& input : graph.inputs()) {
    const ir::Tensor* tensor = golden.find(shape, "in", input->name());
    if (tensor != nullptr) inputs.push_back(*tensor);
  }
  return inputs;
}

void compare_runs(const test::GoldenCase& golden, const ir::Graph& graph) {
  for (int shape = 0; shape < golden.shapes; ++shape) {
    const auto outputs = ops::interpret(graph, recorded_inputs(golden, graph, shape));
    ASSERT_TRUE(outputs.ok()) << "shape " << shape << ": " << outputs.status().message();
    const auto valid = golden.recorded.find("shape" + std::to_string(shape) + "/valid");
    for (const auto& expected : golden.outputs) {
      const auto output = std::find_if(graph.outputs().begin(), graph.outputs().end(),
                                       [&](const auto& o) { return o.name == expected.name; });
      const ir::Tensor* recorded = golden.find(shape, "out", expected.name);
      ASSERT_TRUE(output != graph.outputs().end() && recorded != nullptr) << expected.name;
      const ir::Tensor* mask = valid == golden.recorded.end() ? nullptr : &valid->second;
      const double worst = test::worst_difference((*outputs)[static_cast<size_t>(output - graph.outputs().begin())],
                                                  *recorded, mask, expected.rows == "tokens");
      EXPECT_LE(worst, golden.tolerance) << "shape " << shape << ", output " << expected.name;
    }
  }
}

TEST(OnnxGolden, EveryExportImportsAndAgreesWithItsRecordedOutputs) {
  const auto cases = test::golden_cases("onnx");
  ASSERT_FALSE(cases.empty());
  for (const auto& golden : cases) {
    SCOPED_TRACE(golden.name);
    const auto model = import_file(golden.path);
    if (!model.ok()) {
      ADD_FAILURE() << model.status().message();
      continue;
    }
    const Status valid = ops::verify(*model->graph);
    EXPECT_TRUE(valid.ok()) << valid.message();
    compare_runs(golden, *model->graph);
  }
}

TEST(OnnxGolden, WhatIsExportedAfterFusionsAgreesToo) {
  const test::TemporaryPath file("export.onnx");
  const std::string& path = file.str();
  int attentions = 0, fused = 0;
  for (const auto& golden : test::golden_cases("onnx")) {
    for (const bool microsoft : {false, true}) {
      SCOPED_TRACE(golden.name + (microsoft ? " microsoft" : ""));
      auto model = import_file(golden.path);
      ASSERT_TRUE(model.ok()) << model.status().message();
      passes::PipelineOptions options;
      for (const std::string& name : passes_not_for_export(microsoft)) options.disabled.insert(name);
      ASSERT_TRUE(passes::run_pipeline(*model->graph, options).ok());
      const auto written = export_file(*model->graph, path, {.microsoft = microsoft});
      ASSERT_TRUE(written.ok()) << written.status().message();
      const auto again = import_file(path);
      ASSERT_TRUE(again.ok()) << again.status().message();
      compare_runs(golden, *again->graph);
      // Heads that share keys and values have no such operator.
      for (const auto& node : model->graph->nodes())
        attentions += microsoft && node->is(ir::Op::k_attention) && node->attrs().integer("kv_heads") == 0;
      const auto report = survey(path);
      ASSERT_TRUE(report.ok()) << report.status().message();
      for (const auto& op : report->operators)
        if (op.domain == "com.microsoft" && (op.name == "Attention" || op.name == "MultiHeadAttention")) fused += static_cast<int>(op.count);
    }
  }
  EXPECT_GT(attentions, 100);
  EXPECT_EQ(fused, attentions);
}

TEST(OnnxExport, RefusesWhatOnlyOurKernelsRunAndLeavesNoFile) {
  const test::TemporaryPath file("refused.onnx");
  const std::string& path = file.str();
  const auto cases = test::golden_cases("onnx");
  const auto packable = std::find_if(cases.begin(), cases.end(), [](const auto& c) { return c.packable.value_or(false); });
  ASSERT_NE(packable, cases.end());
  const auto model = import_file(packable->path);
  ASSERT_TRUE(model.ok() && passes::run_pipeline(*model->graph, {}).ok());
  const auto written = export_file(*model->graph, path);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.status().code(), ErrorCode::kUnsupported);
  EXPECT_NE(written.status().message().find("cannot be written as ONNX"), std::string::npos) << written.status().message();
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace tenon::onnx
