// What becomes of numbers when floats are 16 bits wide.
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

}  // namespace
}  // namespace tenon::test
