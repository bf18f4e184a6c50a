// Checkpoints of every family through the passes: everything fuses, padding goes, and PyTorch's outputs stay.
#include <gtest/gtest.h>

#include <algorithm>

#include "hf/checkpoint.h"
#include "ops/interpret.h"
#include "passes/pipeline.h"
#include "tests/support/golden.h"

namespace tenon::hf {
namespace {

std::string declined(const passes::PipelineReport& report) {
  std::string text;
  for (const auto& d : report.decisions)
    if (!d.applied) text += d.pass + ": " + d.node + ": " + d.reason + "\n";
  return text;
}

class Compiled : public testing::TestWithParam<test::GoldenCase> {};

TEST_P(Compiled, IsFusedPackedAndTheSame) {
  const test::GoldenCase& c = GetParam();
  auto model = import_folder(c.path, {.gather_masked = false});
  ASSERT_TRUE(model.ok()) << model.status().message();
  ir::Graph& graph = *model->graph;
  passes::PipelineOptions options;
  options.verify = true;
  const auto report = passes::run_pipeline(graph, options);
  ASSERT_TRUE(report.ok()) << report.status().message();

  int attentions = 0, norms = 0, packings = 0, softmaxes = 0;
  for (const auto& node : graph.nodes()) {
    attentions += node->is(ir::Op::k_attention);
    norms += node->is(ir::Op::k_layer_norm) || (node->is(ir::Op::k_embedding) && node->attrs().integer("norm") != 0);
    packings += node->is(ir::Op::k_pack_tokens);
    softmaxes += node->is(ir::Op::k_softmax);
  }
  EXPECT_EQ(attentions, c.attention) << declined(*report);
  EXPECT_EQ(norms, c.layer_norm);
  EXPECT_EQ(packings, c.packable.value_or(false)) << declined(*report);
  EXPECT_EQ(softmaxes, 0);

  for (int shape = 0; shape < c.shapes; ++shape) {
    std::vector<ir::Tensor> inputs;
    for (const auto& in : graph.inputs()) inputs.push_back(*c.find(shape, "in", in->name()));
    const auto outputs = ops::interpret(graph, inputs);
    ASSERT_TRUE(outputs.ok()) << outputs.status().message();
    for (size_t i = 0; i < outputs->size(); ++i) {
      const std::string& name = graph.outputs()[i].name;
      const auto out = std::find_if(c.outputs.begin(), c.outputs.end(), [&](const auto& o) { return o.name == name; });
      ASSERT_NE(out, c.outputs.end()) << name;
      EXPECT_LE(
          test::worst_difference((*outputs)[i], *c.find(shape, "out", name), c.valid(shape), out->rows == "tokens"),
          c.tolerance)
          << name << ", shape " << shape;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Compiled, testing::ValuesIn(test::golden_cases("checkpoint")),
                         [](const auto& test_case) {
                           std::string name = test_case.param.name;
                           for (char& ch : name)
                             if (ch == '-') ch = '_';
                           return name;
                         });

}  // namespace
}  // namespace tenon::hf
