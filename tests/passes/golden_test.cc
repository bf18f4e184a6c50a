// Every export of the corpus: imported, compiled, run on the references, compared with ONNX Runtime's recorded outputs.
#include <gtest/gtest.h>

#include <map>

#include "ir/text.h"
#include "onnx/import.h"
#include "ops/interpret.h"
#include "passes/pipeline.h"
#include "tests/support/golden.h"

namespace tenon {
namespace {

using test::GoldenCase;

std::map<std::string, int> count_ops(const ir::Graph& graph) {
  std::map<std::string, int> counts;
  for (const auto& node : graph.nodes()) ++counts[std::string(ir::op_name(node->op()))];
  return counts;
}

// Norms are counted where they ended up: in the embedding too.
int count_norms(const ir::Graph& graph) {
  int count = 0;
  for (const auto& node : graph.nodes()) {
    count += node->is(ir::Op::k_layer_norm);
    count += node->is(ir::Op::k_embedding) && node->attrs().integer("norm") != 0;
  }
  return count;
}

// By themselves, behind a product, and in programs.
int count_activations(const ir::Graph& graph, const std::string& name) {
  int count = 0;
  for (const auto& node : graph.nodes()) {
    count += ir::op_name(node->op()) == name;
    count += (node->is(ir::Op::k_linear) || node->is(ir::Op::k_conv)) && node->attrs().text("activation").starts_with(name);
    if (!node->is(ir::Op::k_pointwise)) continue;
    const std::string& program = node->attrs().text("program");
    for (size_t at = 0; (at = program.find("=" + name, at)) != std::string::npos; ++at) ++count;
  }
  return count;
}

std::string decisions_text(const passes::PipelineReport& report) {
  std::string text;
  for (const auto& d : report.decisions)
    if (!d.applied) text += d.pass + ": " + d.node + ": " + d.reason + "\n";
  return text;
}

passes::PipelineOptions verified() {
  passes::PipelineOptions options;
  options.verify = true;
  return options;
}

class GoldenExport : public testing::TestWithParam<GoldenCase> {};

TEST_P(GoldenExport, CompilesFusedAndAgrees) {
  const GoldenCase& golden = GetParam();
  auto model = onnx::import_file(golden.path);
  ASSERT_TRUE(model.ok()) << model.status().message();
  ir::Graph& graph = *model->graph;
  const auto report = passes::run_pipeline(graph, verified());
  ASSERT_TRUE(report.ok()) << report.status().message();

  auto counts = count_ops(graph);
  EXPECT_EQ(counts["attention"], golden.attention) << decisions_text(*report) << ir::print(graph);
  if (golden.layer_norm > 0) {
    EXPECT_EQ(count_norms(graph), golden.layer_norm);
  }
  EXPECT_EQ(counts["rms_norm"], golden.rms_norm);
  EXPECT_GE(count_activations(graph, "gelu"), golden.gelu);
  EXPECT_GE(count_activations(graph, "silu"), golden.silu);
  if (golden.conv > 0) {
    EXPECT_EQ(counts["conv"], golden.conv);
    int activated = 0;
    for (const auto& node : graph.nodes()) activated += node->is(ir::Op::k_conv) && !node->attrs().text("activation").empty();
    EXPECT_EQ(activated, golden.conv_activation) << decisions_text(*report);
    // No batch norm, padding or sum is left; what squeeze and excitation multiplies by has other sizes.
    EXPECT_EQ(counts["add"] + counts["pad"] + counts["relu"] + counts["max"] + counts["sigmoid"] + counts["silu"], 0) << ir::print(graph);
  }
  const bool packed = counts["pack_tokens"] == 1;
  if (golden.packable) {
    EXPECT_EQ(packed, *golden.packable) << decisions_text(*report);
  }

  for (int shape = 0; shape < golden.shapes; ++shape) {
    std::vector<ir::Tensor> inputs;
    for (const auto& in : graph.inputs()) {
      const ir::Tensor* t = golden.find(shape, "in", in->name());
      ASSERT_NE(t, nullptr) << in->name();
      inputs.push_back(*t);
    }
    const auto outputs = ops::interpret(graph, inputs);
    ASSERT_TRUE(outputs.ok()) << outputs.status().message() << "\n" << ir::print(graph);
    const ir::Tensor* mask = golden.valid(shape);
    for (size_t i = 0; i < golden.outputs.size(); ++i) {
      const ir::Tensor* expected = golden.find(shape, "out", golden.outputs[i].name);
      ASSERT_NE(expected, nullptr);
      const double worst = test::worst_difference((*outputs)[i], *expected, mask, golden.outputs[i].rows == "tokens");
      EXPECT_LE(worst, golden.tolerance) << golden.outputs[i].name << " at shape " << shape << "\n" << decisions_text(*report);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Corpus, GoldenExport, testing::ValuesIn(test::golden_cases("onnx")), [](const auto& at) { return test::test_name(at.param); });

}  // namespace
}  // namespace tenon
