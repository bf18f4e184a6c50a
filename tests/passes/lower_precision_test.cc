// What becomes of numbers when floats are 16 bits wide.
#include <cmath>
#include <limits>

#include "ops/interpret.h"
#include "passes/passes.h"
#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

// y = x / max(norm(x), 1e-12): sentence vectors of length 1, zeros for a text without tokens.
std::unique_ptr<ir::Graph> normalised() {
  auto graph = std::make_unique<ir::Graph>();
  const auto node = [&](Op op, const std::vector<ir::Value*>& inputs, Attrs attrs = {}) {
    return (*ops::create(*graph, op, inputs, attrs))->output();
  };
  ir::Value* x = graph->add_input("x", {DType::kF32, {ir::Dim(2), ir::Dim(4)}});
  ir::Value* norm = node(Op::k_reduce_l2, {x}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{1}}});
  ir::Value* safe = node(Op::k_max, {norm, ops::constant(*graph, Tensor::scalar(DType::kF32, 1e-12))});
  graph->add_output("y", node(Op::k_div, {x, safe}));
  return graph;
}

TEST(LowerPrecision, NumbersThatKeepDivisorsFromZeroStayAboveIt) {
  for (const DType to : {DType::kF16, DType::kBF16}) {
    const auto graph = normalised();
    passes::Decisions decisions;
    ASSERT_TRUE(passes::lower_precision(*graph, to, decisions).ok());
    ASSERT_TRUE(ops::verify(*graph).ok());
    const std::vector<Tensor> x{Tensor::from<float>(DType::kF32, {2, 4}, {0, 0, 0, 0, 3, 0, 4, 0})};
    const auto y = ops::interpret(*graph, x);
    ASSERT_TRUE(y.ok()) << y.status().message();
    EXPECT_TRUE(
        close(y->front(), Tensor::from<float>(DType::kF32, {2, 4}, {0, 0, 0, 0, 0.6f, 0, 0.8f, 0}), tolerance(to)));
  }
}

// Scores of a row whose keys are all hidden, as exporters spell it: the largest number below zero that f32 has.
TEST(LowerPrecision, SoftmaxOfARowThatIsAllHiddenStaysANumber) {
  for (const DType to : {DType::kF16, DType::kBF16}) {
    ir::Graph graph;
    const auto node = [&](Op op, const std::vector<ir::Value*>& inputs, Attrs attrs = {}) {
      return (*ops::create(graph, op, inputs, attrs))->output();
    };
    ir::Value* scores = graph.add_input("scores", {DType::kF32, {ir::Dim(2), ir::Dim(4)}});
    ir::Value* hidden = graph.add_input("hidden", {DType::kBool, {ir::Dim(2), ir::Dim(4)}});
    ir::Value* lowest = ops::constant(graph, Tensor::scalar(DType::kF32, std::numeric_limits<float>::lowest()));
    graph.add_output("y", node(Op::k_softmax, {node(Op::k_where, {hidden, lowest, scores})}, {{"axis", int64_t{-1}}}));
    passes::Decisions decisions;
    ASSERT_TRUE(passes::lower_precision(graph, to, decisions).ok());
    const std::vector<Tensor> inputs{Tensor::from<float>(DType::kF32, {2, 4}, {1, 1, 1, 1, 1, 2, 3, 4}),
                                     Tensor::from<uint8_t>(DType::kBool, {2, 4}, {1, 1, 0, 0, 1, 1, 1, 1})};
    const auto y = ops::interpret(graph, inputs);
    ASSERT_TRUE(y.ok()) << y.status().message();
    EXPECT_TRUE(close(y->front(), Tensor::from<float>(DType::kF32, {2, 4}, {0, 0, 0.5f, 0.5f, 0.25f, 0.25f, 0.25f, 0.25f}), tolerance(to)));
  }
}

// 2048 * 0.37 radians in 16 bits would be half a radian off.
TEST(LowerPrecision, AnglesOfPositionsKeepTheirDigits) {
  const int64_t positions = 2049;
  for (const DType to : {DType::kF16, DType::kBF16}) {
    ir::Graph graph;
    const auto node = [&](Op op, const std::vector<ir::Value*>& inputs, Attrs attrs = {}) {
      return (*ops::create(graph, op, inputs, attrs))->output();
    };
    ir::Value* x = graph.add_input("x", {DType::kF32, {ir::Dim(positions)}});
    ir::Value* given = graph.add_input("positions", {DType::kI64, {ir::Dim(positions)}});
    ir::Value* counted = node(Op::k_iota, {},
                              {{"dtype", DType::kI64},
                               {"start", ir::Shape{ir::Dim(0)}},
                               {"size", ir::Shape{ir::Dim(positions)}},
                               {"step", int64_t{1}}});
    for (ir::Value* position : {given, counted}) {
      ir::Value* angle = node(Op::k_mul, {node(Op::k_cast, {position}, {{"to", DType::kF32}}),
                                          ops::constant(graph, Tensor::scalar(DType::kF32, 0.37))});
      graph.add_output(position == given ? "a" : "b", node(Op::k_mul, {x, node(Op::k_cos, {angle})}));
    }
    passes::Decisions decisions;
    ASSERT_TRUE(passes::lower_precision(graph, to, decisions).ok());
    ASSERT_TRUE(ops::verify(graph).ok());
    const Tensor ones = filled(DType::kF32, {positions}, [](int64_t) { return 1.0; });
    const Tensor order = filled(DType::kI64, {positions}, [](int64_t i) { return static_cast<double>(i); });
    const auto y = ops::interpret(graph, std::vector<Tensor>{ones, order});
    ASSERT_TRUE(y.ok()) << y.status().message();
    const Tensor expected =
        filled(DType::kF32, {positions}, [](int64_t i) { return std::cos(0.37f * static_cast<float>(i)); });
    for (const Tensor& values : *y) EXPECT_TRUE(close(values, expected, tolerance(to)));
  }
}

}  // namespace
}  // namespace tenon::test
