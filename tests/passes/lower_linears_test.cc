// Which linears take narrow factors, and what that does to a graph's numbers.
#include <algorithm>

#include "passes/passes.h"
#include "passes/pipeline.h"
#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

// Body -> pooler (tanh) -> two logits, and a linear whose weight is an input.
std::unique_ptr<ir::Graph> body_and_head(Random& random) {
  auto graph = std::make_unique<ir::Graph>();
  const auto weight = [&](int64_t k, int64_t n) {
    return ops::constant(*graph, random.tensor(DType::kF32, {k, n}, -0.2, 0.2));
  };
  const auto linear = [&](ir::Value* x, ir::Value* w, const std::string& activation) {
    return (*ops::create(*graph, Op::k_linear, {x, w}, Attrs{{"activation", activation}}))->output();
  };
  ir::Value* x = graph->add_input("x", {DType::kF32, {ir::Dim::symbol("tokens"), ir::Dim(64)}});
  ir::Value* w = graph->add_input("w", {DType::kF32, {ir::Dim(64), ir::Dim(64)}});
  ir::Value* h = linear(x, weight(64, 128), "gelu");
  ir::Value* pooled = linear(h, weight(128, 64), "tanh");
  graph->add_output("y", linear(pooled, weight(64, 2), ""));
  graph->add_output("z", linear(x, w, ""));
  return graph;
}

TEST(LowerLinears, LeavesHeadsAndComputedWeightsAsTheyAre) {
  Random random;
  const auto graph = body_and_head(random);
  passes::Decisions decisions;
  ASSERT_TRUE(passes::lower_linears(*graph, "int8", decisions).ok());
  ASSERT_TRUE(ops::verify(*graph).ok());
  std::vector<std::string> reasons;
  for (const auto& d : decisions) reasons.push_back(d.reason);
  EXPECT_THAT(reasons, testing::ElementsAre("factors are int8", "tanh marks the pooler of a head",
                                            "it is small: 64 by 2", "its weight is computed when run"));
}

TEST(LowerLinears, FactorsMayBeOfQuads) {
  Random random;
  const auto graph = body_and_head(random);
  passes::Decisions decisions;
  ASSERT_TRUE(passes::lower_linears(*graph, "int8_quads", decisions).ok());
  ASSERT_TRUE(ops::verify(*graph).ok());
  EXPECT_EQ(decisions[0].reason, "factors are int8_quads");
  const auto first = std::ranges::find_if(graph->nodes(), [](const auto& node) { return node->is(Op::k_linear); });
  EXPECT_EQ((*first)->attrs().text("factors"), "int8_quads");
  EXPECT_EQ((*first)->input(1)->dtype(), DType::kF32);  // rounded when it is packed
}

TEST(LowerLinears, LeavesWhatTheBuildNames) {
  Random random;
  for (const auto& [name, is_kept] : {std::pair{"/layer.1/*", true},
                                      {"*MatMul", true},
                                      {"/layer.1/MatMul+/layer.1/Gelu", false},
                                      {"/layer.2/*", false}}) {
    const auto graph = body_and_head(random);
    const auto first = std::ranges::find_if(graph->nodes(), [](const auto& node) { return node->is(Op::k_linear); });
    (*first)->set_origin("/layer.1/Gelu+/layer.1/MatMul");
    passes::Decisions decisions;
    ASSERT_TRUE(passes::lower_linears(*graph, "int8", decisions, {"other", name}).ok());
    EXPECT_EQ(decisions[0].reason, is_kept ? "the build keeps it in 32 bits" : "factors are int8") << name;
    EXPECT_EQ(decisions[0].applied, !is_kept);
  }
}

// linear -> attention -> linear -> norm -> pooler, whose input is widened again; the attention's bias stays f32.
std::unique_ptr<ir::Graph> layer(Random& random, int64_t head_dim) {
  auto graph = std::make_unique<ir::Graph>();
  const auto constant = [&](std::vector<int64_t> shape) {
    return ops::constant(*graph, random.tensor(DType::kF32, std::move(shape), -0.2, 0.2));
  };
  const auto create = [&](Op op, std::vector<ir::Value*> inputs, Attrs attrs) {
    return (*ops::create(*graph, op, inputs, std::move(attrs)))->output();
  };
  const int64_t width = 2 * head_dim;
  ir::Value* x = graph->add_input("x", {DType::kF32, {ir::Dim(2), ir::Dim(5), ir::Dim(64)}});
  ir::Value* qkv = create(Op::k_linear, {x, constant({64, 3 * width})}, {});
  ir::Value* attended =
      create(Op::k_attention, {qkv, qkv, qkv, nullptr, nullptr, nullptr, nullptr, nullptr, constant({1, 1, 5, 5})},
             {{"heads", int64_t{2}},
              {"head_dim", head_dim},
              {"scale", 0.1},
              {"columns", std::vector<int64_t>{0, width, 2 * width}}});
  ir::Value* out = create(Op::k_linear, {attended, constant({width, 64}), nullptr, x}, {});
  ir::Value* norm = create(Op::k_layer_norm, {out}, {});
  graph->add_output("pooled", create(Op::k_linear, {norm, constant({64, 64})}, {{"activation", std::string("tanh")}}));
  graph->add_output("hidden", norm);
  return graph;
}

TEST(LowerLinears, WhatStandsBetweenThemBecomesBf16Too) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const char* factors : {"bf16", "int8"}) {
    const auto graph = layer(random, 32);
    const auto original = graph->clone();
    passes::Decisions decisions;
    ASSERT_TRUE(passes::lower_linears(*graph, factors, decisions).ok());
    ASSERT_TRUE(ops::verify(*graph).ok());
    int narrow = 0, casts = 0;
    for (const auto& node : graph->nodes()) {
      if (ops::is_constant_expression(*node->output())) continue;
      const bool is_bf16 = node->output()->dtype() == DType::kBF16;
      if (node->is(Op::k_cast)) ++casts;
      if (!node->is(Op::k_cast) && is_bf16) ++narrow;
      if (node->is(Op::k_attention)) {
        EXPECT_TRUE(is_bf16);
        EXPECT_EQ(node->input(8)->dtype(), DType::kF32);
      }
      if (node->is(Op::k_linear) && is_bf16 && std::string(factors) == "int8") {
        EXPECT_EQ(node->input(1)->dtype(), DType::kF32) << "weights of 8 bits are made of those of 32";
      }
    }
    EXPECT_EQ(narrow, 4) << "two linears, attention and norm";
    EXPECT_EQ(casts, 2) << "x, and the norm's rows for both who read them";
    const std::vector<Tensor> inputs{random.tensor(DType::kF32, {2, 5, 64})};
    const auto expected = ops::interpret(*original, inputs), actual = ops::interpret(*graph, inputs);
    ASSERT_TRUE(expected.ok() && actual.ok());
    for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(close((*actual)[i], (*expected)[i], {0.1, 0.1})) << factors;
  }
}

TEST(LowerLinears, AttentionOfOddRowsStaysWide) {
  Random random;
  const auto graph = layer(random, 33);
  for (const auto& node : graph->nodes())
    if (node->is(Op::k_attention)) node->attrs().set("columns", std::vector<int64_t>{1, 66, 132});
  passes::Decisions decisions;
  ASSERT_TRUE(passes::lower_linears(*graph, "bf16", decisions).ok());
  for (const auto& node : graph->nodes()) {
    if (!node->is(Op::k_attention)) continue;
    EXPECT_EQ(node->output()->dtype(), DType::kF32);
  }
}

TEST(LowerLinears, RoundsAsTheFactorsSay) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto graph = body_and_head(random);
  const std::vector<Tensor> inputs{random.tensor(DType::kF32, {9, 64}), random.tensor(DType::kF32, {64, 64})};
  const auto exact = ops::interpret(*graph, inputs);
  ASSERT_TRUE(exact.ok()) << exact.status().message();
  for (const auto& [factors, most] : {std::pair<const char*, double>{"int8", 0.1}, {"bf16", 0.03}}) {
    const auto lowered = graph->clone();
    passes::PipelineOptions options;
    options.factors = factors;
    ASSERT_TRUE(passes::run_pipeline(*lowered, options).ok());
    const auto y = ops::interpret(*lowered, inputs);
    ASSERT_TRUE(y.ok()) << y.status().message();
    EXPECT_FALSE((*y)[0].same_bytes((*exact)[0])) << factors;
    EXPECT_TRUE(close((*y)[0], (*exact)[0], {most, most})) << factors;
    EXPECT_TRUE(close((*y)[1], (*exact)[1])) << factors;
  }
}

// Two convolutions with pooling between, behind one of few channels; then one in groups.
std::unique_ptr<ir::Graph> images(Random& random) {
  auto graph = std::make_unique<ir::Graph>();
  const auto conv = [&](ir::Value* x, int64_t channels, int64_t filters, int64_t groups) {
    ir::Value* w = ops::constant(*graph, random.tensor(DType::kF32, {filters, channels / groups, 3, 3}, -0.2, 0.2));
    const Attrs attrs{{"channels_last", int64_t{1}},
                      {"group", groups},
                      {"pads", ir::to_shape({1, 1, 1, 1})},
                      {"activation", std::string("relu")}};
    return (*ops::create(*graph, Op::k_conv, {x, w}, attrs))->output();
  };
  ir::Value* x = graph->add_input("x", {DType::kF32, {ir::Dim::symbol("batch"), ir::Dim(8), ir::Dim(8), ir::Dim(3)}});
  ir::Value* h = conv(conv(x, 3, 16, 1), 16, 32, 1);
  const Attrs pool{{"kernel_shape", std::vector<int64_t>{2, 2}}, {"channels_last", int64_t{1}}};
  h = (*ops::create(*graph, Op::k_max_pool, {h}, pool))->output();
  graph->add_output("y", conv(conv(h, 32, 32, 1), 32, 32, 2));
  return graph;
}

TEST(LowerLinears, ConvolutionsToo) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const char* factors : {"bf16", "int8"}) {
    SCOPED_TRACE(factors);
    const auto graph = images(random);
    const auto original = graph->clone();
    passes::Decisions decisions;
    ASSERT_TRUE(passes::lower_linears(*graph, factors, decisions).ok());
    ASSERT_TRUE(ops::verify(*graph).ok());
    std::vector<std::string> reasons;
    for (const auto& d : decisions) reasons.push_back(d.reason);
    const std::string narrow = fmt::format("factors are {}", factors);
    EXPECT_THAT(reasons, testing::ElementsAre("it is small: 16 filters of 3 channels", narrow, narrow,
                                              "its filters are in groups"));
    const bool int8 = std::string(factors) == "int8";
    for (const auto& node : graph->nodes()) {
      if (!node->is(Op::k_conv) || node->output()->dtype() != DType::kBF16) continue;
      EXPECT_EQ(node->attrs().text("factors"), int8 ? "int8" : "");
      EXPECT_EQ(node->input(1)->dtype(), int8 ? DType::kF32 : DType::kBF16);
    }
    const std::vector<Tensor> inputs{random.tensor(DType::kF32, {2, 8, 8, 3})};
    const auto expected = ops::interpret(*original, inputs), actual = ops::interpret(*graph, inputs);
    ASSERT_TRUE(expected.ok() && actual.ok());
    EXPECT_TRUE(close((*actual)[0], (*expected)[0], {0.1, 0.1}));
    EXPECT_FALSE((*actual)[0].same_bytes((*expected)[0]));
  }
}

}  // namespace
}  // namespace tenon::test
