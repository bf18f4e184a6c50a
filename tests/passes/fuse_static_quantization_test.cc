// What quantize_static leaves in a model becomes products that round by the model's steps, or keep its roundings in floats.
#include <algorithm>
#include <cmath>

#include "passes/pipeline.h"
#include "tests/onnx/model_builder.h"
#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

using onnx::test::int_attribute;
using onnx::test::ints_attribute;
using onnx::test::kFloat;
using onnx::test::kInt32;
using onnx::test::kInt8;
using onnx::test::kUInt8;
using onnx::test::ModelBuilder;

constexpr int64_t kWidth = 64, kOutputs = 96;
constexpr int kZero = 131;

void random_integers(ModelBuilder& m, Random& random, const std::string& name, const std::vector<int64_t>& shape) {
  auto& w = m.tensor(name, kInt8, shape);
  for (int64_t i = 0; i < ops::product(shape, 0, static_cast<int>(shape.size())); ++i) w.add_int32_data(static_cast<int32_t>(random.integer(-127, 127)));
}

std::vector<float> random_scales(Random& random, int64_t count) {
  std::vector<float> scales;
  for (int64_t j = 0; j < count; ++j) scales.push_back(static_cast<float>(random.real(0.001, 0.01)));
  return scales;
}

// y = x W with both in 8 bits, x in u8 (steps of 0.02) or i8, W with a scale for each column.
ModelBuilder& rounded_product(ModelBuilder& m, Random& random, bool is_signed = false) {
  m.input("x", kFloat, {"batch", "seq", std::to_string(kWidth)});
  m.floats("x_scale", {}, {0.02F});
  m.tensor("x_zero", is_signed ? kInt8 : kUInt8, {}).add_int32_data(is_signed ? kZero - 128 : kZero);
  random_integers(m, random, "w", {kWidth, kOutputs});
  m.floats("w_scale", {kOutputs}, random_scales(random, kOutputs));
  auto& zeros = m.tensor("w_zero", kInt8, {kOutputs});
  for (int64_t j = 0; j < kOutputs; ++j) zeros.add_int32_data(0);
  m.node("QuantizeLinear", {"x", "x_scale", "x_zero"}, {"q"});
  m.node("DequantizeLinear", {"q", "x_scale", "x_zero"}, {"r"});
  m.node("DequantizeLinear", {"w", "w_scale", "w_zero"}, {"v"}, {int_attribute("axis", 1)});
  m.node("MatMul", {"r", "v"}, {"y"});
  m.output("y");
  return m;
}

// The same by QLinearMatMul, whose result has steps of 0.05.
ModelBuilder& product_of_integers(ModelBuilder& m, Random& random) {
  m.input("x", kFloat, {"batch", "seq", std::to_string(kWidth)});
  m.floats("x_scale", {}, {0.02F});
  m.tensor("x_zero", kUInt8, {}).add_int32_data(kZero);
  random_integers(m, random, "w", {kWidth, kOutputs});
  m.floats("w_scale", {}, {0.004F});
  m.tensor("w_zero", kInt8, {}).add_int32_data(0);
  m.floats("y_scale", {}, {0.05F});
  m.tensor("y_zero", kUInt8, {}).add_int32_data(120);
  m.node("QuantizeLinear", {"x", "x_scale", "x_zero"}, {"q"});
  m.node("QLinearMatMul", {"q", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero"}, {"p"});
  m.node("DequantizeLinear", {"p", "y_scale", "y_zero"}, {"y"});
  m.output("y");
  return m;
}

// A convolution by QLinearConv behind pooling of 8-bit numbers, with a bias and a scale for each filter.
ModelBuilder& convolution_of_integers(ModelBuilder& m, Random& random) {
  constexpr int64_t kChannels = 20, kFilters = 24;
  m.input("x", kFloat, {"batch", std::to_string(kChannels), "12", "12"});
  m.floats("x_scale", {}, {0.02F});
  m.tensor("x_zero", kUInt8, {}).add_int32_data(kZero);
  random_integers(m, random, "w", {kFilters, kChannels, 3, 3});
  m.floats("w_scale", {kFilters}, random_scales(random, kFilters));
  auto& zeros = m.tensor("w_zero", kInt8, {kFilters});
  for (int64_t j = 0; j < kFilters; ++j) zeros.add_int32_data(0);
  auto& bias = m.tensor("bias", kInt32, {kFilters});
  for (int64_t j = 0; j < kFilters; ++j) bias.add_int32_data(static_cast<int32_t>(random.integer(-20000, 20000)));
  m.floats("y_scale", {}, {0.1F});
  m.tensor("y_zero", kUInt8, {}).add_int32_data(120);
  m.node("QuantizeLinear", {"x", "x_scale", "x_zero"}, {"q"});
  m.node("MaxPool", {"q"}, {"pooled"}, {ints_attribute("kernel_shape", {2, 2}), ints_attribute("strides", {2, 2})});
  m.node("QLinearConv", {"pooled", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero", "bias"}, {"p"}, {ints_attribute("pads", {1, 1, 1, 1})});
  m.node("DequantizeLinear", {"p", "y_scale", "y_zero"}, {"y"});
  m.output("y");
  return m;
}

ir::Node* product_of(const ir::Graph& graph) {
  const auto found = std::ranges::find_if(graph.nodes(), [](const auto& node) { return node->is(Op::k_linear) || node->is(Op::k_conv); });
  return found == graph.nodes().end() ? nullptr : found->get();
}

Tensor result(const ir::Graph& graph, const Tensor& x) { return output_of(ops::interpret(graph, std::vector<Tensor>{x})); }

passes::PipelineReport run(ir::Graph& graph, const std::string& quantized, std::vector<std::string> kept = {}) {
  passes::PipelineOptions options;
  options.verify = options.channels_last = true;
  options.quantized = quantized;
  options.fp32_layers = std::move(kept);
  const auto report = passes::run_pipeline(graph, options);
  EXPECT_TRUE(report.ok()) << report.status().message();
  return report.ok() ? *report : passes::PipelineReport();
}

// Of all elements, those that are further apart than `near`.
double share_apart(const Tensor& a, const Tensor& b, double near) {
  int64_t apart = 0;
  for (int64_t i = 0; i < a.numel(); ++i) apart += !(std::abs(a.at(i) - b.at(i)) <= near);
  return static_cast<double>(apart) / static_cast<double>(a.numel());
}

// x reaches beyond what 8 bits hold: what the model clips is clipped.
TEST(FuseStaticQuantization, AProductRoundsByTheModelsSteps) {
  for (const bool is_signed : {false, true}) {
    Random random;
    SCOPED_TRACE(random.trace());
    ModelBuilder m;
    const auto model = rounded_product(m, random, is_signed).import();
    ASSERT_TRUE(model.ok()) << model.status().message();
    const Tensor x = random.tensor(DType::kF32, {2, 5, kWidth}, -4, 4), expected = result(*model->graph, x);
    EXPECT_TRUE(run(*model->graph, "int8").is_quantized);
    const ir::Node* product = product_of(*model->graph);
    ASSERT_NE(product, nullptr);
    EXPECT_EQ(product->attrs().text("factors"), "int8");
    EXPECT_FLOAT_EQ(static_cast<float>(product->attrs().number("x_step")), 0.02F);
    EXPECT_EQ(product->attrs().integer("x_zero"), kZero);
    EXPECT_TRUE(product->input(0)->is_input()) << "x is rounded before";
    EXPECT_TRUE(close(result(*model->graph, x), expected, {1e-5, 1e-5}));
  }
}

TEST(FuseStaticQuantization, ProductsOfIntegersTakeTheirScalesIntoTheirWeights) {
  for (const auto make : {product_of_integers, convolution_of_integers}) {
    Random random;
    SCOPED_TRACE(random.trace());
    ModelBuilder m;
    const auto model = make(m, random).import();
    ASSERT_TRUE(model.ok()) << model.status().message();
    const bool is_conv = make == convolution_of_integers;
    const Tensor x = is_conv ? random.tensor(DType::kF32, {2, 20, 12, 12}, -4, 4) : random.tensor(DType::kF32, {2, 5, kWidth}, -4, 4);
    const Tensor expected = result(*model->graph, x);
    const auto report = run(*model->graph, "int8");
    EXPECT_TRUE(report.is_quantized);
    const ir::Node* product = product_of(*model->graph);
    ASSERT_NE(product, nullptr) << ir::print(*model->graph);
    EXPECT_EQ(product->attrs().text("factors"), "int8");
    EXPECT_FLOAT_EQ(static_cast<float>(product->attrs().number("x_step")), 0.02F);
    EXPECT_TRUE(std::ranges::none_of(model->graph->nodes(), [](const auto& node) { return node->output()->dtype() == DType::kU8; }));
    // What lies halfway between two steps of the result may go to either.
    EXPECT_LT(share_apart(result(*model->graph, x), expected, 1e-4), 0.005);
  }
}

// Where a product is not in 8 bits after all, its rows are rounded as the model says.
TEST(FuseStaticQuantization, RoundingsStayWhereProductsAreOfFloats) {
  Random random;
  SCOPED_TRACE(random.trace());
  ModelBuilder m;
  const auto model = rounded_product(m, random).import();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const Tensor x = random.tensor(DType::kF32, {2, 5, kWidth}, -4, 4), expected = result(*model->graph, x);
  for (const auto& [quantized, kept] : {std::pair<std::string, std::vector<std::string>>{"", {}}, {"int8", {"node_MatMul*"}}}) {
    const auto graph = model->graph->clone();
    EXPECT_FALSE(run(*graph, quantized, kept).is_quantized);
    const ir::Node* product = product_of(*graph);
    ASSERT_NE(product, nullptr);
    EXPECT_EQ(product->attrs().text("factors"), "");
    EXPECT_EQ(product->attrs().number("x_step"), 0);
    EXPECT_FALSE(product->input(0)->is_input());
    EXPECT_TRUE(close(result(*graph, x), expected, {1e-5, 1e-5}));
  }
}

TEST(FuseStaticQuantization, WeightsOfFloatsAreLeftAlone) {
  Random random;
  ModelBuilder m;
  m.input("x", kFloat, {"batch", "seq", std::to_string(kWidth)});
  m.floats("x_scale", {}, {0.02F});
  m.tensor("x_zero", kUInt8, {}).add_int32_data(kZero);
  std::vector<float> w;
  for (int64_t i = 0; i < kWidth * kOutputs; ++i) w.push_back(static_cast<float>(random.real(-1, 1)));
  m.floats("w", {kWidth, kOutputs}, w);
  m.node("QuantizeLinear", {"x", "x_scale", "x_zero"}, {"q"});
  m.node("DequantizeLinear", {"q", "x_scale", "x_zero"}, {"r"});
  m.node("MatMul", {"r", "w"}, {"y"});
  m.output("y");
  const auto model = m.import();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto report = run(*model->graph, "int8");
  EXPECT_FALSE(report.is_quantized);
  EXPECT_EQ(product_of(*model->graph)->attrs().text("factors"), "");
  EXPECT_TRUE(std::ranges::any_of(report.decisions, [](const auto& d) { return d.reason == "its weights are not of 8 bits"; }));
}

// What is rounded again by the same steps, behind moves, is rounded once.
TEST(FuseStaticQuantization, RoundingTwiceIsRoundingOnce) {
  for (const bool same : {true, false}) {
    Random random;
    ModelBuilder m;
    m.input("x", kFloat, {"batch", "8"});
    m.floats("scale", {}, {0.5F});
    m.floats("other", {}, {0.25F});
    m.tensor("zero", kUInt8, {}).add_int32_data(3);
    m.ints("shape", {-1, 2, 4});
    m.node("QuantizeLinear", {"x", "scale", "zero"}, {"q"});
    m.node("DequantizeLinear", {"q", "scale", "zero"}, {"r"});
    m.node("Reshape", {"r", "shape"}, {"moved"});
    m.node("QuantizeLinear", {"moved", same ? "scale" : "other", "zero"}, {"p"});
    m.node("DequantizeLinear", {"p", same ? "scale" : "other", "zero"}, {"y"});
    m.output("y");
    const auto model = m.import();
    ASSERT_TRUE(model.ok()) << model.status().message();
    const Tensor x = random.tensor(DType::kF32, {5, 8}, -9, 9), expected = result(*model->graph, x);
    std::vector<passes::Decision> decisions;
    for (const char* pass : {"fold-constants", "integers-to-floats"}) ASSERT_TRUE(passes::run_pass(*model->graph, pass, decisions).ok());
    EXPECT_EQ(std::ranges::count_if(model->graph->nodes(), [](const auto& node) { return node->is(Op::k_round); }), same ? 1 : 2) << ir::print(*model->graph);
    EXPECT_TRUE(result(*model->graph, x).same_bytes(expected));
  }
}

}  // namespace
}  // namespace tenon::test
