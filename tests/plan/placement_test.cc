// Where the work of the golden models is done on a GPU.
#include "plan/placement.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "onnx/import.h"
#include "passes/pipeline.h"
#include "plan/planner.h"
#include "tests/support/golden.h"
#include "tests/support/small_models.h"

namespace tenon::test {
namespace {

// The steps of a golden model that compute floats on the host, as ops and their kernels.
std::set<std::string> host_steps(const std::string& path, DType precision, int capability, const std::set<std::string>& disabled = {}) {
  ir::Model model = value_or_throw(onnx::import_file(path));
  passes::PipelineOptions passes;
  passes.precision = precision;
  passes.disabled = disabled;
  passes.channels_last = true;
  passes.fold_norms = capability == 90;
  value_or_throw(passes::run_pipeline(*model.graph, passes));
  plan::PlanOptions options;
  options.target = kernels::Target::kCuda;
  options.machine.compute_capability = capability;
  const engine::Plan plan = value_or_throw(plan::make_plan(*model.graph, options)).plan;
  std::set<std::string> found;
  for (const engine::PlanStep& step : plan.steps) {
    const bool floats = std::ranges::any_of(step.outputs, [&](int v) { return is_float(plan.values[static_cast<size_t>(v)].type.dtype); });
    const std::string& kernel = step.kernels[0].kernel;
    if (floats && !kernel.starts_with("cuda.")) found.insert(fmt::format("{} by {}", ir::op_name(step.op), kernel));
  }
  return found;
}

class Placement : public testing::TestWithParam<GoldenCase> {};

TEST_P(Placement, FloatsAreComputedOnTheGpu) {
  std::set<std::string> expected;
  for (const auto& [precision, capability] : {std::pair{DType::kF16, 90}, std::pair{DType::kF32, 80}})
    EXPECT_EQ(host_steps(GetParam().path, precision, capability), expected) << dtype_name(precision) << " on sm_" << capability;
}
INSTANTIATE_TEST_SUITE_P(Golden, Placement, testing::ValuesIn(golden_cases("onnx")), [](const auto& c) { return test_name(c.param); });

TEST(PlacementOfParts, AttentionThatIsNotFusedTooStaysOnTheGpu) {
  for (const GoldenCase& golden : golden_cases("onnx")) {
    if (!golden.name.starts_with("bert-enc-")) continue;
    for (const DType precision : {DType::kF16, DType::kF32})
      EXPECT_THAT(host_steps(golden.path, precision, 90, {"fuse-attention"}), testing::IsEmpty()) << golden.name;
  }
}

std::vector<bool> on_host(const char* text) {
  Random random;
  const auto graph = graph_from(text, random);
  const auto host = plan::host_nodes(*graph);
  std::vector<bool> found;
  for (const auto& node : graph->nodes()) found.push_back(host.contains(node.get()));
  return found;
}

// Indices are expanded where they are read, unless something else reads them too.
TEST(PlacementOfParts, IndicesAreExpandedWhereTheyAreRead) {
  EXPECT_EQ(on_host(R"(
    graph @main(%x: f32[batch,5,5], %i: i64[1,5,5]) {
      %wide = expand(%i) {shape = dims[batch,5,5]}
      %y = gather_elements(%x, %wide) {axis = -1}
      %seen = expand(%i) {shape = dims[batch,5,5]}
      %z = add(%seen, %seen)
      return "y" = %y, "z" = %z
    })"),
            (std::vector<bool>{false, false, true, true}));
}

TEST(PlacementOfParts, BucketsOfRelativePositionsGoWhereTheyAreRead) {
  EXPECT_EQ(on_host(R"(
    graph @main(%i: i64[seq], %table: f32[32,4]) {
      %column = reshape(%i) {shape = dims[seq,1]}
      %d = sub(%column, %i)
      %a = abs(%d)
      %y = gather(%table, %a)
      return "y" = %y
    })"),
            (std::vector<bool>{false, false, false, false}));
  // Not where they are a result, where they may fail, or where they are no more than what they are made of.
  EXPECT_EQ(on_host(R"(
    graph @main(%i: i64[seq], %j: i64[seq,1], %table: f32[32,4]) {
      %d = sub(%i, %j)
      %two = add(%i, %i)
      %q = div(%d, %two)
      %y = gather(%table, %q)
      %z = gather(%table, %two)
      return "d" = %d, "y" = %y, "z" = %z
    })"),
            (std::vector<bool>{true, true, true, false, false}));
}

}  // namespace
}  // namespace tenon::test
