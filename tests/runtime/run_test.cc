// Engines run end to end: planned, written, loaded, and compared with the interpreter of ops.
#include "ops/interpret.h"
#include "tests/support/small_models.h"
#include "tests/support/tolerance.h"

namespace tenon::test {
namespace {

using runtime::Context;

// Runs graph and engine on the same inputs and compares every output.
void expect_as_interpreted(const ir::Graph& graph, const std::vector<ir::Tensor>& inputs, Context& context) {
  const auto expected = value_or_throw(ops::interpret(graph, inputs));
  for (size_t i = 0; i < inputs.size(); ++i) throw_if_error(context.inputs().set(graph.inputs()[i]->name(), view_of(inputs[i])));
  throw_if_error(context.run());
  for (size_t i = 0; i < expected.size(); ++i) {
    const ir::Tensor actual = tensor_of(value_or_throw(context.output(graph.outputs()[i].name)));
    EXPECT_TRUE(close(actual, expected[i], tolerance(DType::kF32) * 8)) << graph.outputs()[i].name;
  }
}

ir::Tensor random_mask(Random& random, int64_t batch, int64_t seq, double density) {
  std::vector<int64_t> mask(static_cast<size_t>(batch * seq));
  for (auto& m : mask) m = random.chance(density);
  return ir::Tensor::from(DType::kI64, {batch, seq}, mask);
}

TEST(Run, DenseModelAsInterpreted) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto graph = graph_from(kDenseModel, random);
  const auto executable = executable_of(*graph);
  const auto context = value_or_throw(Context::create(executable));
  for (int64_t batch : {1, 5, 3, 17, 0}) expect_as_interpreted(*graph, {random.tensor(DType::kF32, {batch, 8})}, *context);
}

TEST(Run, PackedModelAsInterpreted) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto graph = graph_from(kPackedModel, random);
  for (const auto target : {kernels::Target::kReference, kernels::Target::kCpu}) {
    plan::PlanOptions options;
    options.target = target;
    const auto executable = executable_of(*graph, options);
    EXPECT_EQ(executable->plan().regions.size(), 2u);
    const auto context = value_or_throw(Context::create(executable));
    for (int round = 0; round < 20; ++round) {
      const int64_t batch = random.integer(0, 5), seq = random.integer(1, 9);
      expect_as_interpreted(*graph,
                            {random.tensor(DType::kI64, {batch, seq}, 0, 9), random_mask(random, batch, seq, random.real(0, 1)),
                             random.tensor(DType::kI64, {batch, seq}, 0, 1)},
                            *context);
    }
  }
}

// Windows take in the product ahead of them, unless what it makes is to be kept.
TEST(Run, ConvolutionsBandByBandAsInterpreted) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto graph = graph_from(R"(
    graph @main(%x: f32[batch,64,64,8]) {
      %w1 = constant {name = "w1", value = tensor f32[72,8,1,1]}
      %w2 = constant {name = "w2", value = tensor f32[72,1,3,3]}
      %b = constant {name = "b", value = tensor f32[72]}
      %a = conv(%x, %w1) {channels_last = 1, activation = "relu6"}
      %y = conv(%a, %w2, %b) {channels_last = 1, group = 72, pads = dims[1,1,1,1], strides = [2, 1]}
      return "y" = %y
    })",
                                random);
  const auto executable = executable_of(*graph, {}, 2);
  ASSERT_TRUE(engine::absorbs_previous(executable->plan().steps.back()));
  ContextOptions keeps;
  keeps.keep = {"a"};
  const auto context = value_or_throw(Context::create(executable)), keeping = value_or_throw(Context::create(executable, keeps));
  for (const int64_t batch : {1, 3, 0, 2}) {
    const std::vector<ir::Tensor> inputs{random.tensor(DType::kF32, {batch, 64, 64, 8}, -1, 1)};
    expect_as_interpreted(*graph, inputs, *context);
    expect_as_interpreted(*graph, inputs, *keeping);
    EXPECT_TRUE(tensor_of(value_or_throw(keeping->output("y"))).same_bytes(tensor_of(value_or_throw(context->output("y")))));
    const ir::Tensor between = tensor_of(value_or_throw(keeping->kept("a")));
    EXPECT_EQ(between.shape(), (std::vector<int64_t>{batch, 64, 64, 72}));
    for (int64_t i = 0; i < between.numel(); i += 997) ASSERT_TRUE(between.at(i) >= 0 && between.at(i) <= 6) << i;
  }
}

}  // namespace
}  // namespace tenon::test
