// What quantize_dynamic leaves in a model becomes linears that round for themselves, or compute in floats.
#include <algorithm>
#include <cmath>
#include <utility>

#include "passes/pipeline.h"
#include "tests/onnx/model_builder.h"
#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

using onnx::test::int_attribute;
using onnx::test::ModelBuilder;

constexpr int64_t kDepth = 64, kColumns = 96;

// y = x W as ONNX Runtime's quantize_dynamic writes it, W in 8 bits with a scale for each column; the scale of x's numbers
// is that of `scaled_by`.
ModelBuilder& quantized_product(ModelBuilder& m, Random& random, const std::string& scaled_by) {
  m.input("x", onnx::test::kFloat, {"batch", "seq", std::to_string(kDepth)});
  m.input("other", onnx::test::kFloat, {"batch", "seq", std::to_string(kDepth)});
  auto& w = m.tensor("w", onnx::test::kInt8, {kDepth, kColumns});
  for (int64_t i = 0; i < kDepth * kColumns; ++i) w.add_int32_data(static_cast<int32_t>(random.integer(-127, 127)));
  std::vector<float> scales;
  for (int64_t j = 0; j < kColumns; ++j) scales.push_back(static_cast<float>(random.real(0.001, 0.01)));
  m.floats("w_scale", {kColumns}, scales);
  m.node("DynamicQuantizeLinear", {"x"}, {"q", "x_scale", "x_zero"});
  m.node("DynamicQuantizeLinear", {"other"}, {"unread", "other_scale", "other_zero"});
  m.node("MatMulInteger", {"q", "w", "x_zero"}, {"sums"});
  m.node("Cast", {"sums"}, {"floats"}, {int_attribute("to", onnx::test::kFloat)});
  m.node("Mul", {scaled_by, "w_scale"}, {"scales"});
  m.node("Mul", {"floats", "scales"}, {"y"});
  m.output("y");
  return m;
}

std::vector<ir::Node*> linears_of(const ir::Graph& graph) {
  std::vector<ir::Node*> found;
  for (const auto& node : graph.nodes())
    if (node->is(Op::k_linear)) found.push_back(node.get());
  return found;
}

// Products of `graph` for the same x, which lies in [-2, 2].
Tensor product(const ir::Graph& graph, const Tensor& x, const Tensor& other) {
  return output_of(ops::interpret(graph, std::vector<Tensor>{x, other}));
}

// |a - b| / |b|, over all elements.
double relative_error(const Tensor& a, const Tensor& b) {
  double error = 0, size = 0;
  for (int64_t i = 0; i < b.numel(); ++i) {
    error += std::pow(a.at(i) - b.at(i), 2);
    size += std::pow(b.at(i), 2);
  }
  return std::sqrt(error / size);
}

TEST(FuseDynamicQuantization, AProductRoundsForItself) {
  Random random;
  SCOPED_TRACE(random.trace());
  ModelBuilder m;
  const auto model = quantized_product(m, random, "x_scale").import();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const Tensor x = random.tensor(DType::kF32, {2, 5, kDepth}), other = random.tensor(DType::kF32, {2, 5, kDepth}, -9, 9);
  const Tensor expected = product(*model->graph, x, other);
  // The model rounds x to steps of 4 / 255, a linear its rows too, and its results to bf16; quads round W anew.
  for (const auto& [factors, most] : {std::pair{"", 0.01}, {"int8", 0.015}, {"int8_quads", 0.05}}) {
    const auto graph = model->graph->clone();
    passes::PipelineOptions options;
    options.verify = true;
    options.quantized = factors;
    const auto report = passes::run_pipeline(*graph, options);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->is_quantized, !std::string(factors).empty());
    const auto linears = linears_of(*graph);
    ASSERT_EQ(linears.size(), 1U);
    EXPECT_EQ(linears[0]->attrs().text("factors"), factors);
    EXPECT_TRUE(std::ranges::none_of(graph->nodes(), [](const auto& node) { return node->is(Op::k_reduce_max); }));
    EXPECT_LT(relative_error(product(*graph, x, other), expected), most) << factors;
  }
}

TEST(FuseDynamicQuantization, WhatTheBuildAsksForGoesFirst) {
  Random random;
  ModelBuilder m;
  const auto model = quantized_product(m, random, "x_scale").import();
  ASSERT_TRUE(model.ok()) << model.status().message();
  passes::PipelineOptions bf16, half, kept;
  bf16.quantized = half.quantized = kept.quantized = "int8";
  bf16.factors = "bf16";
  half.precision = DType::kF16;
  kept.fp32_layers = {"node_MatMulInteger*"};
  for (const auto* options : {&bf16, &half, &kept}) {
    const auto graph = model->graph->clone();
    const auto report = passes::run_pipeline(*graph, *options);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_FALSE(report->is_quantized);
    const auto linears = linears_of(*graph);
    ASSERT_EQ(linears.size(), 1U);
    EXPECT_EQ(linears[0]->attrs().text("factors"), "");
    const DType type = options == &bf16 ? DType::kBF16 : options == &half ? DType::kF16 : DType::kF32;
    EXPECT_EQ(linears[0]->output()->dtype(), type);
  }
}

TEST(FuseDynamicQuantization, ScalesOfOtherNumbersAreLeftAlone) {
  Random random;
  SCOPED_TRACE(random.trace());
  ModelBuilder m;
  const auto model = quantized_product(m, random, "other_scale").import();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const Tensor x = random.tensor(DType::kF32, {2, 5, kDepth}), other = random.tensor(DType::kF32, {2, 5, kDepth}, -9, 9);
  const Tensor expected = product(*model->graph, x, other);
  const auto report = passes::run_pipeline(*model->graph, {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  for (const ir::Node* linear : linears_of(*model->graph)) EXPECT_FALSE(linear->input(0)->is_input()) << "x is still rounded";
  EXPECT_TRUE(std::ranges::any_of(report->decisions, [](const auto& d) { return d.reason == "x was not quantised by its own range"; }));
  EXPECT_TRUE(close(product(*model->graph, x, other), expected, {1e-4, 1e-5}));
}

TEST(FuseDynamicQuantization, TablesBecomeFloats) {
  Random random;
  SCOPED_TRACE(random.trace());
  ModelBuilder m;
  m.input("ids", onnx::test::kInt64, {"batch", "seq"});
  auto& table = m.tensor("table", onnx::test::kUInt8, {20, 8});
  for (int i = 0; i < 160; ++i) table.add_int32_data(static_cast<int32_t>(random.integer(0, 255)));
  m.tensor("zero", onnx::test::kUInt8, {}).add_int32_data(131);
  m.floats("scale", {}, {0.01F});
  m.node("Gather", {"table", "ids"}, {"rows"});
  m.node("DequantizeLinear", {"rows", "scale", "zero"}, {"y"});
  m.output("y");
  const auto model = m.import();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const std::vector<Tensor> ids{random.tensor(DType::kI64, {3, 4}, 0, 19)};
  const Tensor expected = output_of(ops::interpret(*model->graph, ids));
  const auto report = passes::run_pipeline(*model->graph, {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  ir::Value* y = model->graph->outputs()[0].value;
  EXPECT_TRUE(y->is(Op::k_gather) || y->is(Op::k_embedding));
  EXPECT_TRUE(close(output_of(ops::interpret(*model->graph, ids)), expected, {0, 0}));
}

}  // namespace
}  // namespace tenon::test
