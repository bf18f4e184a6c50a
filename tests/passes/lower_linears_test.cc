// Which linears take narrow factors, and what that does to a graph's numbers.
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

}  // namespace
}  // namespace tenon::test
