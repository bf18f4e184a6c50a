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

}  // namespace
}  // namespace tenon::test
