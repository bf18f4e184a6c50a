// Channels last, the numbers of a graph are the same, and few reformats are left.
#include "ir/text.h"
#include "passes/passes.h"
#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

ir::Value* weight(ir::Graph& graph, Random& random, std::vector<int64_t> shape) {
  return ops::constant(graph, random.tensor(DType::kF32, std::move(shape), -0.5, 0.5));
}

// A first layer, a residual block with channel attention, a grouped and a depthwise layer, concatenation, padding, a
// head.
std::unique_ptr<ir::Graph> network(Random& random) {
  auto graph = std::make_unique<ir::Graph>();
  const auto create = [&](Op op, std::vector<ir::Value*> inputs, Attrs attrs = {}) {
    return (*ops::create(*graph, op, std::move(inputs), std::move(attrs)))->output();
  };
  const auto conv = [&](ir::Value* x, int64_t filters, int64_t kernel, int64_t group = 1, std::string activation = "",
                        ir::Value* residual = nullptr) {
    const int64_t channels = x->shape()[1].value(), pad = kernel / 2;
    return create(Op::k_conv,
                  {x, weight(*graph, random, {filters, channels / group, kernel, kernel}),
                   weight(*graph, random, {filters}), residual},
                  {{"group", group},
                   {"activation", std::move(activation)},
                   {"activate_sum", int64_t{1}},
                   {"pads", ir::to_shape({pad, pad, pad, pad})}});
  };
  const auto spatial = Attrs{{"axes", std::vector<int64_t>{2, 3}}, {"keepdims", int64_t{1}}};
  ir::Value* x = graph->add_input(
      "x", {DType::kF32, {ir::Dim::symbol("batch"), ir::Dim(3), ir::Dim::symbol("h"), ir::Dim::symbol("w")}});
  ir::Value* a = conv(x, 8, 3, 1, "relu");
  a = create(Op::k_max_pool, {a},
             {{"kernel_shape", std::vector<int64_t>{3, 3}},
              {"strides", std::vector<int64_t>{2, 2}},
              {"pads", ir::to_shape({1, 1, 1, 1})}});
  ir::Value* b = conv(a, 8, 1, 1, "hard_swish");
  ir::Value* squeezed = conv(create(Op::k_reduce_mean, {b}, spatial), 8, 1, 1, "hard_sigmoid");
  b = create(Op::k_mul, {b, squeezed});
  b = conv(b, 8, 3, 2, "relu", a);
  ir::Value* scaled = create(Op::k_mul, {conv(b, 8, 5, 8), weight(*graph, random, {8, 1, 1})});
  ir::Value* joined = create(Op::k_concat, {scaled, a}, {{"axis", int64_t{1}}});
  joined = create(Op::k_pad, {joined}, {{"before", ir::to_shape({0, 0, 0, 1})}, {"after", ir::to_shape({0, 0, 2, 0})}});
  ir::Value* pooled = create(Op::k_average_pool, {conv(joined, 5, 1)}, {{"kernel_shape", std::vector<int64_t>{2, 2}}});
  graph->add_output("map", pooled);
  graph->add_output("logits", create(Op::k_reduce_mean, {create(Op::k_silu, {joined})},
                                     {{"axes", std::vector<int64_t>{2, 3}}, {"keepdims", int64_t{0}}}));
  return graph;
}

TEST(ChannelsLast, ChangesNoNumberAndLeavesTheEdgesToTranspose) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto original = network(random);
  const auto graph = original->clone();
  passes::Decisions decisions;
  const Status status = passes::channels_last(*graph, decisions);
  ASSERT_TRUE(status.ok()) << status.message();
  ASSERT_TRUE(ops::verify(*graph).ok()) << ir::print(*graph);
  ASSERT_FALSE(decisions.empty());
  EXPECT_EQ(decisions.back().reason, "8 convolutions and poolings with channels last, 2 reformats")
      << ir::print(*graph);
  const std::vector<Tensor> inputs{random.tensor(DType::kF32, {2, 3, 11, 9}, -1, 1)};
  const auto expected = ops::interpret(*original, inputs), actual = ops::interpret(*graph, inputs);
  ASSERT_TRUE(expected.ok() && actual.ok());
  for (size_t i = 0; i < expected->size(); ++i)
    EXPECT_TRUE(close((*actual)[i], (*expected)[i], tolerance(DType::kF32) * 8)) << "output " << i;
}

}  // namespace
}  // namespace tenon::test
