// What folding norms into products costs in digits, on the ops' plain loops.
#include "passes/pipeline.h"
#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

using ir::Graph;
using ir::Value;

// Two feed-forward blocks of an encoder. Some channels of the residual stream are far from the others, as in trained
// BERTs.
std::unique_ptr<Graph> feed_forward(uint64_t seed, double outlier) {
  Random random(seed);
  constexpr int64_t kWidth = 192, kInner = 256;
  auto graph = std::make_unique<Graph>();
  const auto weight = [&](std::vector<int64_t> shape, double low, double high) {
    return ops::constant(*graph, random.tensor(DType::kF32, std::move(shape), low, high));
  };
  const auto add = [&](Op op, std::vector<Value*> inputs, Attrs attrs = {}) {
    return (*ops::create(*graph, op, std::move(inputs), std::move(attrs)))->output();
  };
  Value* a = graph->add_input("a", {DType::kF32, {ir::Dim::symbol("tokens"), ir::Dim(64)}});
  Value* shift = ops::constant(*graph, filled(DType::kF32, {kWidth}, [&](int64_t i) {
    return i % 50 == 7 ? outlier : i % 61 == 3 ? -outlier / 3 : 0.1;
  }));
  Value* x = add(Op::k_linear, {a, weight({64, kWidth}, -0.2, 0.2), shift});
  for (int i = 0; i < 2; ++i) {
    Value* n = add(Op::k_layer_norm, {x, weight({kWidth}, 0.1, 1.5), weight({kWidth}, -1, 1)}, {{"epsilon", 1e-12}});
    Value* f = add(Op::k_linear, {n, weight({kWidth, kInner}, -0.1, 0.1), weight({kInner}, -0.5, 0.5)},
                   {{"activation", "gelu"}});
    x = add(Op::k_linear, {f, weight({kInner, kWidth}, -0.1, 0.1), shift, n});
  }
  Value* n = add(Op::k_layer_norm, {x, weight({kWidth}, 0.1, 1.5), weight({kWidth}, -1, 1)}, {{"epsilon", 1e-12}});
  graph->add_output("y", add(Op::k_linear, {n, weight({kWidth, 64}, -0.1, 0.1)}));
  return graph;
}

// Root of the mean squared difference to `exact`.
double error_of(const Tensor& y, const Tensor& exact) {
  double sum = 0;
  for (int64_t i = 0; i < y.numel(); ++i) sum += (y.at(i) - exact.at(i)) * (y.at(i) - exact.at(i));
  return std::sqrt(sum / static_cast<double>(y.numel()));
}

TEST(FoldLayerNorm, CostsNoDigits) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto seed = static_cast<uint64_t>(random.integer(1, 1 << 30));
  const Tensor a = random.tensor(DType::kF32, {33, 64}, -1, 1);
  for (const double outlier : {0.0, 30.0, 1000.0}) {
    const Tensor exact = output_of(ops::interpret(*feed_forward(seed, outlier), std::vector{a}));
    for (const DType dtype : {DType::kF16, DType::kBF16}) {
      double errors[2];
      for (const bool fold : {false, true}) {
        const auto graph = feed_forward(seed, outlier);
        passes::PipelineOptions options;
        options.precision = dtype;
        options.fold_norms = fold;
        ASSERT_TRUE(passes::run_pipeline(*graph, options).ok());
        const bool folded = std::ranges::none_of(graph->nodes(), [](const auto& n) { return n->is(Op::k_layer_norm); });
        ASSERT_EQ(folded, fold);
        errors[fold] = error_of(output_of(ops::interpret(*graph, std::vector{a})), exact);
      }
      EXPECT_LT(errors[1], 1.5 * errors[0]) << dtype_name(dtype) << " outliers of " << outlier;
    }
  }
}

}  // namespace
}  // namespace tenon::test
