#include "plan/planner.h"

#include <algorithm>

#include "runtime/problem.h"
#include "tests/support/small_models.h"

namespace tenon::test {
namespace {

using engine::PlanValue;

plan::PlannedModel plan_of(const ir::Graph& graph, const plan::PlanOptions& options = {}) { return value_or_throw(plan::make_plan(graph, options)); }

TEST(Planner, ConstantExpressionsAreWeightsAndReshapesAreViews) {
  Random random;
  const auto graph = graph_from(kDenseModel, random);
  const auto model = plan_of(*graph, {.target = kernels::Target::kReference, .profiles = {}, .roles = {}});
  std::vector<std::string> weights;
  for (const auto& w : model.plan.weights) weights.push_back(w.name);
  EXPECT_EQ(weights, (std::vector<std::string>{"w1", "b1", "transpose(w2)"}));
  std::vector<ir::Op> ops;
  for (const auto& s : model.plan.steps) ops.push_back(s.op);
  EXPECT_EQ(ops, (std::vector<ir::Op>{ir::Op::k_linear, ir::Op::k_exp, ir::Op::k_linear, ir::Op::k_softmax}));
  const auto view = std::ranges::find(model.plan.values, std::string("r"), &PlanValue::name);
  ASSERT_NE(view, model.plan.values.end());
  EXPECT_EQ(model.plan.values[static_cast<size_t>(view->alias_of)].name, "h");
  EXPECT_FALSE(view->in_place);
}

TEST(Planner, WeightsComeEvaluatedWhenTheirTurnIs) {
  Random random;
  const auto graph = graph_from(kDenseModel, random);
  const auto model = plan_of(*graph, {.target = kernels::Target::kReference, .profiles = {}, .roles = {}});
  const ir::Tensor stored = value_or_throw(model.make_weight(2));
  const ir::Tensor& w2 = *graph->find_value("w2")->constant();
  ASSERT_EQ(stored.shape(), (std::vector<int64_t>{8, 4}));
  for (int64_t i = 0; i < 8; ++i)
    for (int64_t j = 0; j < 4; ++j) EXPECT_EQ(stored.at(i * 4 + j), w2.at(j * 8 + i));
}

TEST(Planner, EqualConstantExpressionsAreStoredOnce) {
  Random random;
  const auto graph = graph_from(R"(
    graph @main(%x: f32[n,2]) {
      %a = constant {name = "a", value = tensor f32[2,2] 1, 2, 3, 4}
      %b = constant {name = "tied to a", value = tensor f32[2,2] 1, 2, 3, 4}
      %c = constant {name = "other", value = tensor f32[2,2] 1, 2, 3, 5}
      %at = transpose(%a) {perm = [1, 0]}
      %bt = transpose(%b) {perm = [1, 0]}
      %ct = transpose(%c) {perm = [1, 0]}
      %p = matmul(%x, %at)
      %q = matmul(%p, %bt)
      %r = matmul(%q, %ct)
      return "y" = %r
    })", random);
  EXPECT_EQ(plan_of(*graph, {.target = kernels::Target::kReference, .profiles = {}, .roles = {}}).plan.weights.size(), 2u);
}

TEST(Planner, AStepThatComputesASizeEndsItsRegion) {
  Random random;
  const auto graph = graph_from(kPackedModel, random);
  const auto model = plan_of(*graph);
  const engine::Plan& plan = model.plan;
  ASSERT_EQ(plan.regions.size(), 2u);
  EXPECT_EQ(plan.steps[static_cast<size_t>(plan.regions[0].end - 1)].op, ir::Op::k_count_tokens);
  EXPECT_EQ(plan.tokens, ir::Dim::symbol("tokens"));
  EXPECT_EQ(plan.packing_mask_input, 1);
  ASSERT_GE(plan.row_offsets_value, 0);
  EXPECT_EQ(plan.values[static_cast<size_t>(plan.row_offsets_value)].name, "offsets");
  EXPECT_EQ(plan.values[static_cast<size_t>(plan.outputs[0].packed_value)].name, "rows");
  EXPECT_EQ(plan.outputs[1].packed_value, -1);
}

TEST(Planner, InputsHaveRolesAndLimits) {
  Random random;
  const auto graph = graph_from(kPackedModel, random);
  const auto model = plan_of(*graph, {.target = kernels::Target::kCpu, .profiles = {}, .roles = {{"token_type_ids", "something else"}}});
  const auto& inputs = model.plan.inputs;
  EXPECT_EQ(inputs[0].role, "input_ids");
  EXPECT_EQ(inputs[0].limit, 10);
  EXPECT_EQ(inputs[1].role, "attention_mask");
  EXPECT_EQ(inputs[1].limit, 0);
  EXPECT_EQ(inputs[2].role, "something else");
  EXPECT_EQ(inputs[2].limit, 2);
}

TEST(Planner, TheRuntimeSeesTheProblemsThatThePlannerChoseFor) {
  Random random;
  for (const char* text : {kDenseModel, kPackedModel}) {
    const auto graph = graph_from(text, random);
    const auto model = plan_of(*graph);
    for (const auto& step : model.plan.steps) {
      const auto problem = runtime::problem_of(model.plan, step);
      const kernels::Kernel* kernel = kernels::find_kernel(step.kernels[0].kernel);
      ASSERT_NE(kernel, nullptr);
      EXPECT_TRUE(kernel->supports(problem)) << step.kernels[0].kernel;
    }
    for (const auto& rejection : model.rejections) EXPECT_FALSE(rejection.reason.empty()) << rejection.kernel;
  }
}

TEST(Planner, MemoryIsReusedOnlyWhenNothingReadsItLater) {
  Random random;
  const auto graph = graph_from(R"(
    graph @main(%x: f32[n,8]) {
      %a = exp(%x)
      %b = tanh(%a)
      %c = tanh(%b)
      %d = add(%a, %c)
      return "d" = %d, "c" = %c
    })", random);
  const engine::Plan plan = plan_of(*graph).plan;
  const auto root = [&](const char* name) {
    const auto it = std::ranges::find(plan.values, std::string(name), &PlanValue::name);
    return engine::root_of(plan, static_cast<int>(it - plan.values.begin()));
  };
  EXPECT_NE(root("a"), root("x"));  // inputs belong to the caller
  EXPECT_NE(root("b"), root("a"));  // read again by the sum
  EXPECT_NE(root("d"), root("c"));  // an output
}

TEST(Planner, ASizeThatNoAxisGivesIsRefused) {
  Random random;
  const auto graph = graph_from("graph @main(%x: f32[2*n]) { %y = exp(%x)\n return \"y\" = %y }", random);
  const auto planned = plan::make_plan(*graph);
  ASSERT_FALSE(planned.ok());
  EXPECT_EQ(planned.status().code(), ErrorCode::kUnsupported);
  EXPECT_NE(planned.status().message().find("size n"), std::string::npos) << planned.status().message();
}

// Queries, keys and values of 64 columns a head, made by one product.
constexpr const char* kHeadsOf64 = R"(
    graph @main(%x: f16[batch,seq,128]) {
      %w = constant {name = "w", value = tensor f16[128,384]}
      %b = constant {name = "b", value = tensor f16[384]}
      %qkv = linear(%x, %w, %b)
      %y = attention(%qkv, %qkv, %qkv) {heads = 2, head_dim = 64, columns = [0, 128, 256], scale = 0.125}
      return "y" = %y
    })";

TEST(Planner, AttentionOverShortTextsTakesInTheProductAhead) {
  Random random;
  const auto graph = graph_from(kHeadsOf64, random);
  plan::PlanOptions options;
  options.target = kernels::Target::kCuda;
  const engine::Plan plan = plan_of(*graph, options).plan;
  const auto step = std::ranges::find(plan.steps, ir::Op::k_attention, &engine::PlanStep::op);
  ASSERT_NE(step, plan.steps.end());
  ASSERT_TRUE(engine::absorbs_previous(*step));
  EXPECT_EQ(plan.texts, ir::Dim::symbol("batch"));
  EXPECT_EQ(plan.length, ir::Dim::symbol("seq"));
  for (const engine::KernelChoice& k : step->kernels) {
    EXPECT_EQ(k.absorbs, k.kernel == "cuda.projected_attention.sm90");
    EXPECT_EQ(k.max_length, k.absorbs ? 128 : 0);
  }
  EXPECT_EQ(step->kernels.back().kernel, "cuda.attention.sm90");
  EXPECT_EQ(step->kernels.back().max_tokens, 0);
  // What the product reads lives until the attention, which may read it instead.
  const engine::PlanValue& x = plan.values[static_cast<size_t>(engine::root_of(plan, (step - 1)->inputs[0]))];
  EXPECT_EQ(x.last_step, static_cast<int>(step - plan.steps.begin()));
}

// %a is 1.2 MB for each image.
constexpr const char* kWideImages = R"(
    graph @main(%x: f32[batch,64,64,8]) {
      %w1 = constant {name = "w1", value = tensor f32[72,8,1,1]}
      %w2 = constant {name = "w2", value = tensor f32[72,1,3,3]}
      %a = conv(%x, %w1) {channels_last = 1, activation = "relu6"}
      %y = conv(%a, %w2) {channels_last = 1, group = 72, pads = dims[1,1,1,1]}
      return "y" = %y
    })";

TEST(Planner, WindowsOverLargeImagesTakeInTheProductAhead) {
  Random random;
  const auto graph = graph_from(kWideImages, random);
  const engine::Plan plan = plan_of(*graph).plan;
  ASSERT_EQ(plan.steps.size(), 2u);
  ASSERT_EQ(plan.steps[1].kernels.size(), 2u);
  EXPECT_TRUE(plan.steps[1].kernels[0].absorbs);
  EXPECT_EQ(plan.steps[1].kernels[0].kernel, "cpu.conv_pair.f32");
  EXPECT_EQ(plan.steps[1].kernels[1].kernel, "cpu.depthwise_conv.f32");
  for (const char* reader : {"%also = exp(%a)\n      return \"also\" = %also,", "return \"a\" = %a,"}) {
    std::string text = kWideImages;
    text.replace(text.find("return"), 6, reader);
    const auto read = graph_from(text.c_str(), random);
    for (const engine::PlanStep& s : plan_of(*read).plan.steps) EXPECT_FALSE(engine::absorbs_previous(s));
  }
}

TEST(Planner, AProductThatOthersReadIsNotTakenIn) {
  Random random;
  std::string text = kHeadsOf64;
  text.replace(text.find("return"), 6, "%also = exp(%qkv)\n      return \"also\" = %also,");
  const auto graph = graph_from(text.c_str(), random);
  plan::PlanOptions options;
  options.target = kernels::Target::kCuda;
  for (const engine::PlanStep& s : plan_of(*graph, options).plan.steps) EXPECT_FALSE(engine::absorbs_previous(s));
}

}  // namespace
}  // namespace tenon::test
