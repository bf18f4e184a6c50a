// Every export of the golden corpus imports, and its graph, run by the ops' reference loops, gives the recorded
// outputs.
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include "onnx/import.h"
#include "ops/create.h"
#include "ops/interpret.h"

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

}  // namespace
}  // namespace tenon::onnx
