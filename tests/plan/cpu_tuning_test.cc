// The autotuner on the CPU at hand, on a model of two layers.
#include <gmock/gmock.h>

#include "builder/tuning.h"
#include "plan/cpu_timer.h"
#include "tests/support/small_models.h"

namespace tenon::plan {
namespace {

constexpr const char* kPackedModel = R"(
  graph @main(%x: f32[tokens,64], %offsets: i32[batch+1], %begin: i32[batch], %end: i32[batch]) {
    %w1 = constant {name = "w1", value = tensor f32[64,192]}
    %w2 = constant {name = "w2", value = tensor f32[64,64]}
    %qkv = linear(%x, %w1)
    %a = attention(%qkv, %qkv, %qkv, %offsets, %begin, %end) {heads = 2, head_dim = 32, columns = [0, 64, 128], scale = 0.2}
    %y = linear(%a, %w2, _, %x)
    return "y" = %y
  })";

constexpr const char* kLinears = R"(
  graph @main(%x: f32[rows,64]) {
    %w1 = constant {name = "w1", value = tensor f32[64,800]}
    %w2 = constant {name = "w2", value = tensor f32[800,64]}
    %a = linear(%x, %w1) {activation = "gelu"}
    %y = linear(%a, %w2, _, %x)
    return "y" = %y
  })";

// Prefers another config at every size, without timing anything.
class FickleTimer final : public ConfigTimer {
 public:
  std::string declines(const kernels::Problem&) const override { return ""; }
  Status compile(std::span<const Work>, const std::function<void(double)>&) override { return {}; }
  Result<std::vector<std::string>> prepare(const ConfigProblem&, int64_t,
                                           std::span<const kernels::Config> configs) override {
    favourite_ = ++prepared % configs.size();
    return std::vector<std::string>(configs.size());
  }
  Result<double> seconds(size_t index) override { return index == favourite_ ? 1e-6 : 2e-6; }
  size_t prepared = 0;

 private:
  size_t favourite_ = 0;
};

class CpuTuning : public testing::Test {
 protected:
  void use(const char* text) {
    graph_ = test::graph_from(text, random_);
    options_.machine = cpu_at_hand();
  }
  PlannedModel plan(const TimingCache* timings) {
    options_.timings = timings;
    return value_or_throw(make_plan(*graph_, options_));
  }

  test::Random random_;
  std::unique_ptr<ir::Graph> graph_;
  PlanOptions options_;
};

TEST_F(CpuTuning, LinearsAndAttentionAreTimedOnce) {
  use(kPackedModel);
  const PlannedModel before = plan(nullptr);
  ASSERT_EQ(before.config_problems.size(), 3u);
  CpuTimer timer(options_.machine);
  TimingCache cache;
  TuneOptions few;
  few.candidates = 3;
  const auto results = value_or_throw(autotune(before.config_problems, options_.machine, few, timer, cache));
  EXPECT_EQ(results.size(), cache.entries().size());
  EXPECT_GE(results.size(), 3u * 7u);
  for (const TuneResult& r : results) {
    EXPECT_FALSE(r.config.empty()) << r.problem->text;
    EXPECT_EQ(r.guess, "auto");
    EXPECT_EQ(r.timings.size(), 3u);
    for (const Timing& t : r.timings) EXPECT_GT(t.us, 0);
  }
  for (const TuneResult& r : value_or_throw(autotune(before.config_problems, options_.machine, few, timer, cache)))
    EXPECT_TRUE(r.cached);
  const auto choices = builder::describe_choices(plan(&cache).config_problems);
  EXPECT_EQ(choices[0].decision, "measured");
  EXPECT_THAT(choices[0].node, testing::HasSubstr("cpu.linear.f32 in 1 steps: linear(f32[rows,64]"));
  EXPECT_THAT(choices[0].reason, testing::HasSubstr(" us"));
}

TEST_F(CpuTuning, ATunedEngineComputesTheSameBits) {
  use(kLinears);
  TimingCache cache;
  FickleTimer timer;
  const PlannedModel untuned = plan(nullptr);
  ASSERT_TRUE(autotune(untuned.config_problems, options_.machine, {}, timer, cache).ok());
  const PlannedModel tuned = plan(&cache);
  size_t choices = 0;
  for (const engine::PlanStep& step : tuned.plan.steps) choices += step.kernels.size();
  ASSERT_GT(choices, tuned.plan.steps.size());
  ASSERT_EQ(tuned.plan.tokens, ir::Dim::symbol("rows"));

  const auto run = [&](const PlanOptions& options, int threads, const ir::Tensor& x) {
    const auto executable = test::executable_of(*graph_, options, threads);
    const auto context = value_or_throw(runtime::Context::create(executable));
    EXPECT_TRUE(context->inputs().set("x", test::view_of(x)).ok());
    const Status status = context->run();
    EXPECT_TRUE(status.ok()) << status.message();
    return test::tensor_of(value_or_throw(context->output("y")));
  };
  for (const int64_t rows : {1, 9, 33, 127, 300, 700}) {
    const ir::Tensor x = random_.tensor(DType::kF32, {rows, 64}, -1, 1);
    const ir::Tensor expected = run({}, 1, x);
    for (const int threads : {1, 2, 3})
      EXPECT_TRUE(run(options_, threads, x).same_bytes(expected)) << rows << " rows, " << threads << " threads";
  }
}

TEST_F(CpuTuning, WithoutTimingsAPlanDoesNotDependOnTheMachine) {
  use(kLinears);
  const PlannedModel here = plan(nullptr);
  options_.machine = {};
  const PlannedModel anywhere = plan(nullptr);
  EXPECT_TRUE(anywhere.config_problems.empty());
  for (size_t i = 0; i < here.plan.steps.size(); ++i) {
    ASSERT_EQ(here.plan.steps[i].kernels.size(), 1u);
    EXPECT_EQ(here.plan.steps[i].kernels[0].config, anywhere.plan.steps[i].kernels[0].config);
  }
}

TEST_F(CpuTuning, TheWorkspaceLimitBindsAndIsNamed) {
  use(kLinears);
  options_.machine.workspace_limit = 65536 * static_cast<uint64_t>(options_.machine.multiprocessors);
  const PlannedModel model = plan(nullptr);
  CpuTimer timer(options_.machine);
  TuneOptions all;
  all.only = {"auto", "rows=32,depth=384,*", "rows=256,depth=768,*"};
  TimingCache cache;
  bool excluded = false;
  for (const TuneResult& r : value_or_throw(autotune(model.config_problems, options_.machine, all, timer, cache))) {
    if (r.rows < 256 || r.problem->text.find("f32[rows,800], const") == std::string::npos) continue;
    for (const std::string& reason : r.left_out)
      excluded |= reason.starts_with("auto: needs ") &&
                  reason.ends_with(fmt::format("the limit is {}", options_.machine.workspace_limit));
    EXPECT_TRUE(r.config.starts_with("rows=32,")) << r.config;
  }
  EXPECT_TRUE(excluded);
  bool named = false;
  for (const engine::Decision& d : builder::describe_choices(plan(&cache).config_problems))
    named |= d.reason.find("auto left out") != std::string::npos;
  EXPECT_TRUE(named);
}

TEST_F(CpuTuning, WhatCannotBeTimedIsDeclinedWithAReason) {
  use(kPackedModel);
  const PlannedModel model = plan(nullptr);
  const CpuTimer timer(options_.machine);
  kernels::Problem attention = model.config_problems[1].problem;
  ASSERT_EQ(attention.op, ir::Op::k_attention);
  EXPECT_EQ(timer.declines(attention), "");
  attention.inputs[1].shape[0] = ir::Dim::symbol("other");
  EXPECT_EQ(timer.declines(attention), "the number of keys is not that of the queries");
  kernels::Problem other;
  other.op = ir::Op::k_softmax;
  EXPECT_EQ(timer.declines(other), "only linears and attentions are timed");
}

}  // namespace
}  // namespace tenon::plan
