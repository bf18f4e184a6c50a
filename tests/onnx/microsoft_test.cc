// The fused operators of com.microsoft equal the standard operators that they were fused from.
#include <gtest/gtest.h>

#include <cmath>

#include "ops/interpret.h"
#include "tests/onnx/model_builder.h"

namespace tenon::onnx::test {
namespace {

// Weights that are all different: element i is sin(i + phase).
void add_weight(ModelBuilder& b, const std::string& name, const std::vector<int64_t>& shape, int phase) {
  int64_t count = 1;
  for (const int64_t d : shape) count *= d;
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(std::sin(static_cast<double>(i + phase))));
  b.floats(name, shape, values);
}

void start(ModelBuilder& b) {
  ModelBuilder::import_opset(b.model, "com.microsoft", 1);
  b.input("x", kFloat, {"2", "3", "4"});
  add_weight(b, "skip", {2, 3, 4}, 1);
  add_weight(b, "gamma", {4}, 2);
  add_weight(b, "beta", {4}, 3);
  add_weight(b, "bias", {4}, 4);
  add_weight(b, "square", {4, 4}, 5);
  add_weight(b, "qkv", {4, 12}, 6);
  add_weight(b, "qkv_bias", {12}, 7);
  b.tensor("mask", kInt32, {2, 3}).mutable_int32_data()->Add(1);
  for (const int keep : {1, 0, 1, 1, 1})
    b.graph.mutable_initializer(b.graph.initializer_size() - 1)->add_int32_data(keep);
  b.tensor("lengths", kInt32, {2}).add_int32_data(2);
  b.graph.mutable_initializer(b.graph.initializer_size() - 1)->add_int32_data(3);
  b.output("y");
}

ir::Tensor run(const ModelBuilder& b) {
  std::vector<float> x;
  for (int i = 0; i < 24; ++i) x.push_back(std::cos(static_cast<float>(i)));
  const auto model = b.import();
  if (!model.ok()) {
    ADD_FAILURE() << model.status().message();
    return ir::Tensor();
  }
  const ir::Tensor inputs[] = {ir::Tensor::from(DType::kF32, {2, 3, 4}, x)};
  const auto outputs = ops::interpret(*model->graph, inputs);
  if (outputs.ok()) return (*outputs)[0];
  ADD_FAILURE() << outputs.status().message();
  return ir::Tensor();
}

void expect_equal(const ModelBuilder& fused, const ModelBuilder& standard) {
  const ir::Tensor actual = run(fused), expected = run(standard);
  ASSERT_EQ(actual.shape(), expected.shape());
  for (int64_t i = 0; i < expected.numel(); ++i) EXPECT_NEAR(actual.at(i), expected.at(i), 1e-5) << i;
}

// "q": x in 8 bits; "other": skip in 8 bits of other steps; "positive": where x is.
void quantize(ModelBuilder& b) {
  b.floats("scale", {}, {0.01f});
  b.floats("half", {}, {0.02f});
  b.floats("none", {}, {0});
  b.tensor("zero", kUInt8, {}).add_int32_data(101);
  b.node("QuantizeLinear", {"x", "scale", "zero"}, {"q"});
  b.node("QuantizeLinear", {"skip", "half", "zero"}, {"other"});
  b.node("Greater", {"x", "none"}, {"positive"});
}

struct Pair {
  const char* name;
  void (*fused)(ModelBuilder&);
  void (*standard)(ModelBuilder&);
};

const Pair kPairs[] = {
    {"BiasGelu",
     [](ModelBuilder& b) {
       b.node("BiasGelu", {"x", "bias"}, {"y"}).set_domain("com.microsoft");
     },
     [](ModelBuilder& b) {
       b.node("Add", {"x", "bias"}, {"s"});
       b.node("Gelu", {"s"}, {"y"});
     }},
    {"FastGelu",
     [](ModelBuilder& b) {
       b.node("FastGelu", {"x", "bias"}, {"y"}).set_domain("com.microsoft");
     },
     [](ModelBuilder& b) {
       b.node("Add", {"x", "bias"}, {"s"});
       b.node("Gelu", {"s"}, {"y"}, {text_attribute("approximate", "tanh")});
     }},
    {"SkipLayerNormalization",
     [](ModelBuilder& b) {
       b.node("SkipLayerNormalization", {"x", "skip", "gamma", "beta", "bias"}, {"y"},
              {float_attribute("epsilon", 1e-5f)})
           .set_domain("com.microsoft");
     },
     [](ModelBuilder& b) {
       b.node("Sum", {"x", "skip", "bias"}, {"s"});
       b.node("LayerNormalization", {"s", "gamma", "beta"}, {"y"});
     }},
    {"FusedMatMul",
     [](ModelBuilder& b) {
       b.node("FusedMatMul", {"x", "square"}, {"y"}, {int_attribute("transB", 1), float_attribute("alpha", 0.5f)})
           .set_domain("com.microsoft");
     },
     [](ModelBuilder& b) {
       b.floats("half", {}, {0.5f});
       b.node("Transpose", {"square"}, {"t"});
       b.node("MatMul", {"x", "t"}, {"m"});
       b.node("Mul", {"m", "half"}, {"y"});
     }},
    {"Attention with a mask per key",
     [](ModelBuilder& b) {
       b.node("Attention", {"x", "qkv", "qkv_bias", "mask"}, {"y"}, {int_attribute("num_heads", 2)})
           .set_domain("com.microsoft");
     },
     [](ModelBuilder& b) {
       b.node("Attention", {"x", "qkv", "qkv_bias", "lengths"}, {"y"}, {int_attribute("num_heads", 2)})
           .set_domain("com.microsoft");
     }},
    {"Attention without a mask",
     [](ModelBuilder& b) {
       b.node("Attention", {"x", "qkv", "qkv_bias"}, {"y"}, {int_attribute("num_heads", 2)})
           .set_domain("com.microsoft");
     },
     [](ModelBuilder& b) {
       b.node("MatMul", {"x", "qkv"}, {"m"});
       b.node("Add", {"m", "qkv_bias"}, {"a"});
       b.node("Split", {"a"}, {"q", "k", "v"}, {int_attribute("axis", 2), int_attribute("num_outputs", 3)});
       b.node("Attention", {"q", "k", "v"}, {"y"}, {int_attribute("q_num_heads", 2), int_attribute("kv_num_heads", 2)});
     }},
    {"QLinearAveragePool",
     [](ModelBuilder& b) {
       quantize(b);
       b.node("QLinearAveragePool", {"q", "scale", "zero", "half", "zero"}, {"p"}, {ints_attribute("kernel_shape", {2}), ints_attribute("pads", {1, 0})})
           .set_domain("com.microsoft");
       b.node("DequantizeLinear", {"p", "half", "zero"}, {"y"});
     },
     [](ModelBuilder& b) {
       quantize(b);
       b.node("DequantizeLinear", {"q", "scale", "zero"}, {"r"});
       b.node("AveragePool", {"r"}, {"a"}, {ints_attribute("kernel_shape", {2}), ints_attribute("pads", {1, 0})});
       b.node("QuantizeLinear", {"a", "half", "zero"}, {"p"});
       b.node("DequantizeLinear", {"p", "half", "zero"}, {"y"});
     }},
    {"QLinearWhere",
     [](ModelBuilder& b) {
       quantize(b);
       b.node("QLinearWhere", {"positive", "q", "scale", "zero", "other", "half", "zero", "half", "zero"}, {"p"}).set_domain("com.microsoft");
       b.node("DequantizeLinear", {"p", "half", "zero"}, {"y"});
     },
     [](ModelBuilder& b) {
       quantize(b);
       b.node("DequantizeLinear", {"q", "scale", "zero"}, {"r"});
       b.node("DequantizeLinear", {"other", "half", "zero"}, {"s"});
       b.node("Where", {"positive", "r", "s"}, {"w"});
       b.node("QuantizeLinear", {"w", "half", "zero"}, {"p"});
       b.node("DequantizeLinear", {"p", "half", "zero"}, {"y"});
     }},
};

TEST(OnnxMicrosoft, FusedOperatorsEqualWhatTheyWereFusedFrom) {
  for (const Pair& pair : kPairs) {
    SCOPED_TRACE(pair.name);
    ModelBuilder fused(23), standard(23);
    start(fused);
    start(standard);
    pair.fused(fused);
    pair.standard(standard);
    expect_equal(fused, standard);
  }
}

}  // namespace
}  // namespace tenon::onnx::test
