// The autotuner with a clock of its own: no GPU.
#include "plan/autotuner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/hash.h"
#include "base/write_file.h"
#include "builder/tuning.h"
#include "engine/writer.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/nvrtc.h"
#include "plan/kernel_cache.h"
#include "plan/planner.h"
#include "tests/support/small_models.h"

namespace tenon::plan {
namespace {

constexpr const char* kHalfModel = R"(
  graph @main(%x: f16[rows,64]) {
    %w1 = constant {name = "w1", value = tensor f16[64,256]}
    %w2 = constant {name = "w2", value = tensor f16[256,64]}
    %w3 = constant {name = "w3", value = tensor f16[64,256]}
    %a = linear(%x, %w1)
    %b = linear(%a, %w2)
    %c = linear(%b, %w3)
    return "y" = %c
  })";

// The lower the place in the alphabet, the faster; says how often it was asked.
class FakeTimer final : public ConfigTimer {
 public:
  std::string declines(const kernels::Problem&) const override { return ""; }
  Status compile(std::span<const Work> work, const std::function<void(double)>&) override {
    compiled += work.size();
    return {};
  }
  Result<std::vector<std::string>> prepare(const ConfigProblem&, int64_t,
                                           std::span<const kernels::Config> configs) override {
    names.clear();
    std::vector<std::string> reasons;
    for (const kernels::Config& c : configs) {
      names.push_back(c.text);
      reasons.push_back(c.text == broken ? "it is broken" : "");
    }
    ++prepared;
    return reasons;
  }
  Result<double> seconds(size_t index) override {
    ++samples;
    EXPECT_NE(names[index], broken);
    return names[index] == favourite ? 1e-6 : 2e-6 + 1e-7 * static_cast<double>(index);
  }

  std::string favourite, broken;
  std::vector<std::string> names;
  size_t compiled = 0, prepared = 0, samples = 0;
};

class Autotuner : public testing::Test {
 protected:
  Autotuner() {
    options_.target = kernels::Target::kCuda;
    graph_ = test::graph_from(kHalfModel, random_);
  }
  PlannedModel plan(const TimingCache* timings = nullptr) {
    options_.timings = timings;
    return value_or_throw(make_plan(*graph_, options_));
  }

  test::Random random_;
  std::unique_ptr<ir::Graph> graph_;
  PlanOptions options_;
};

TEST_F(Autotuner, LibrariesRaceBehindTheKernelsOwnConfigsWhereTheyAreAllowed) {
  FakeTimer timer;
  TimingCache timings;
  timer.favourite = "cublaslt";
  const auto raced = [&] {
    const PlannedModel planned = plan();
    const auto results = autotune(planned.config_problems, options_.machine, {}, timer, timings);
    EXPECT_TRUE(results.ok()) << results.status().message();
    return results->front().config;
  };
  EXPECT_NE(raced(), "cublaslt");
  options_.machine.tactics = {"cublaslt"};
  EXPECT_EQ(raced(), "cublaslt");
  EXPECT_EQ(timer.names.size(), 8u + 4u);
  const auto chosen = [&] {
    const PlannedModel planned = plan(&timings);
    return std::ranges::find(planned.plan.steps, ir::Op::k_linear, &engine::PlanStep::op)->kernels[0].config;
  };
  EXPECT_EQ(chosen(), "cublaslt");
  options_.machine.tactics = {};
  EXPECT_NE(chosen(), "cublaslt");
}

TEST(Race, TheFastestWins) {
  const auto result = race(5, [](size_t i) -> Result<double> { return i == 3 ? 1.0 : 2.0 + static_cast<double>(i); });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->winner, 3u);
  EXPECT_EQ(result->medians[3], 1.0);
  EXPECT_EQ(result->medians[0], 2.0);
}

TEST(Race, OfEqualOnesTheFirstWins) {
  // Each is within 1.5 % of the fastest but the last.
  const double times[] = {1.014, 1.0, 1.007, 1.016};
  const auto result = race(4, [&](size_t i) -> Result<double> { return times[i]; });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->winner, 0u);
}

TEST(Race, TheSlowerHalfIsTimedNoMoreAndCandidatesTakeTurns) {
  std::map<size_t, int> asked;
  std::vector<size_t> order;
  const auto result = race(8, [&](size_t i) -> Result<double> {
    ++asked[i];
    order.push_back(i);
    return 1.0 + static_cast<double>(i);
  });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(asked[0], 15);
  EXPECT_EQ(asked[7], 3);
  EXPECT_EQ(asked[3], 6);
  EXPECT_EQ(std::vector<size_t>(order.begin(), order.begin() + 16),
            (std::vector<size_t>{0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(Race, OneDisturbedSampleChangesNothing) {
  int asked = 0;
  const auto result =
      race(2, [&](size_t i) -> Result<double> { return asked++ == 0 ? 100.0 : 1.0 + static_cast<double>(i); });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->winner, 0u);
  EXPECT_EQ(result->medians[0], 1.0);
}

TEST(Race, AnErrorEndsIt) {
  const auto result = race(2, [](size_t) -> Result<double> { return error(ErrorCode::kInternal, "the GPU fell off"); });
  EXPECT_FALSE(result.ok());
}

TEST_F(Autotuner, EqualProblemsOfLayersAreOne) {
  const PlannedModel model = plan();
  ASSERT_EQ(model.config_problems.size(), 2u);
  EXPECT_EQ(model.config_problems[0].steps, 2);
  EXPECT_EQ(model.config_problems[0].text, "linear(f16[rows,64], const f16[64,256]) -> f16[rows,256]");
  EXPECT_EQ(model.config_problems[0].sizes.back().max_tokens, 0);
}

TEST(ProblemText, RowsAreOneAxisAndDefaultsAreLeftOut) {
  const auto type = [](DType dtype, ir::Shape shape) { return ir::TensorType{dtype, std::move(shape)}; };
  const ir::Dim batch = ir::Dim::symbol("batch"), seq = ir::Dim::symbol("seq");
  kernels::Problem p;
  p.op = ir::Op::k_linear;
  p.attrs.set("activation", std::string());
  p.inputs = {type(DType::kF16, {batch, seq, 8}), type(DType::kF16, {8, 4}), {}, {}};
  p.present = {true, true, false, false};
  p.constant = {false, true, false, false};
  p.outputs = {type(DType::kF16, {batch, seq, 4}), type(DType::kF32, {batch * seq, 12, 2})};
  EXPECT_EQ(problem_text(p), "linear(f16[rows,8], const f16[8,4]) -> f16[rows,4] f32[rows,12,2]");
  p.attrs.set("activation", std::string("gelu"));
  EXPECT_TRUE(problem_text(p).ends_with("{activation = \"gelu\"}"));
  EXPECT_EQ(with_rows(p, 5).inputs[0].shape, (ir::Shape{5, 8}));
  EXPECT_EQ(with_rows(p, 5).inputs[1].shape, (ir::Shape{8, 4}));
}

TEST_F(Autotuner, TheMeasuredConfigIsPlannedAndNothingIsTimedTwice) {
  const PlannedModel before = plan();
  FakeTimer timer;
  const auto& problem = before.config_problems[0];
  const auto ranked = ranked_configs(*problem.kernel, problem.problem, problem.sizes[0].rows, options_.machine);
  timer.favourite = ranked[5].text;
  TimingCache cache;
  const auto results = value_or_throw(autotune(before.config_problems, options_.machine, {}, timer, cache));
  EXPECT_EQ(results.size(), cache.entries().size());
  EXPECT_EQ(results[0].config, timer.favourite);
  EXPECT_EQ(results[0].guess, ranked[0].text);
  EXPECT_EQ(results[0].timings.size(), 8u);

  const PlannedModel after = plan(&cache);
  EXPECT_EQ(after.config_problems[0].sizes[0].choice.origin, ConfigOrigin::kMeasured);
  int planned = 0;
  for (const engine::PlanStep& step : after.plan.steps) {
    if (step.op != ir::Op::k_linear ||
        after.plan.values[static_cast<size_t>(step.outputs[0])].type.shape[1] != ir::Dim(256))
      continue;
    EXPECT_EQ(step.kernels[0].config, timer.favourite);
    ++planned;
  }
  EXPECT_EQ(planned, 2);

  FakeTimer second;
  const auto again = value_or_throw(autotune(before.config_problems, options_.machine, {}, second, cache));
  EXPECT_EQ(second.prepared, 0u);
  EXPECT_TRUE(again[0].cached);
  EXPECT_EQ(again[0].config, timer.favourite);
  TuneOptions anew;
  anew.again = true;
  ASSERT_TRUE(autotune(before.config_problems, options_.machine, anew, second, cache).ok());
  EXPECT_EQ(second.prepared, results.size());
}

TEST_F(Autotuner, AFileOfTimingsGivesTheEngineThatTimingGave) {
  const PlannedModel before = plan();
  FakeTimer timer;
  TimingCache measured;
  ASSERT_TRUE(autotune(before.config_problems, options_.machine, {}, timer, measured).ok());
  const TimingCache read = TimingCache::parse(measured.text());
  const PlannedModel a = plan(&measured), b = plan(&read);
  const auto bytes = [&](const PlannedModel& model) {
    const test::TemporaryPath path("engine");
    engine::Metadata metadata;
    metadata.plans = {{"", builder::describe_choices(model.config_problems), {}}};
    value_or_throw(engine::write_engine(path.str(), model.plan, metadata, [&](int i) { return model.make_weight(i); }));
    return value_or_throw(read_file(path.str()));
  };
  EXPECT_TRUE(bytes(a) == bytes(b));
  EXPECT_EQ(builder::describe_choices(a.config_problems)[0].decision, "measured");
}

TEST_F(Autotuner, ConfigsCanBeRestrictedAndThoseThatCannotRunAreLeftOut) {
  const PlannedModel model = plan();
  FakeTimer timer;
  TuneOptions options;
  options.only = {"tile=128x128*"};
  timer.broken = "tile=128x128,schedule=cooperative,cluster=1";
  TimingCache cache;
  const auto results = value_or_throw(autotune(model.config_problems, options_.machine, options, timer, cache));
  for (const TuneResult& r : results) {
    EXPECT_TRUE(r.config.starts_with("tile=128x128")) << r.config;
    EXPECT_NE(r.config, timer.broken);
    ASSERT_EQ(r.left_out.size(), 1u);
    EXPECT_EQ(r.left_out[0], timer.broken + ": it is broken");
  }
  options.kernels = "cuda.attention*";
  EXPECT_TRUE(value_or_throw(autotune(model.config_problems, options_.machine, options, timer, cache)).empty());
}

TEST_F(Autotuner, TimingsOfOtherCodeOrAnotherDriverAreNotUsed) {
  const PlannedModel model = plan();
  const ConfigProblem& p = model.config_problems[0];
  const int64_t rows = p.sizes[0].rows;
  const TimingKey key = timing_key(*p.kernel, p.text, rows, options_.machine);
  const auto ranked = ranked_configs(*p.kernel, p.problem, rows, options_.machine);
  const std::string other = ranked.back().text;
  const auto origin = [&](const TimingEntry& entry, const Machine& machine) {
    TimingCache cache;
    cache.put(key, entry);
    return choose_config(*p.kernel, p.problem, rows, machine, &cache).origin;
  };
  TimingEntry entry{other, {{other, 1, 0}}, timed_code_name(*p.kernel, p.problem, {other}, options_.machine), 13};
  EXPECT_EQ(origin(entry, options_.machine), ConfigOrigin::kMeasured);
  Machine newer = options_.machine;
  newer.driver = 14;
  EXPECT_NE(origin(entry, newer), ConfigOrigin::kMeasured);
  entry.code = "0123456789abcdef0123456789abcdef";
  EXPECT_NE(origin(entry, options_.machine), ConfigOrigin::kMeasured);
  // Written by hand, without a code: taken as it is, unless the kernel has no such config.
  entry.code.clear();
  EXPECT_EQ(origin(entry, options_.machine), ConfigOrigin::kMeasured);
  entry.config = "tile=1x1";
  EXPECT_NE(origin(entry, options_.machine), ConfigOrigin::kMeasured);
}

TEST_F(Autotuner, ProfilesLimitTheSizes) {
  engine::Profile profile;
  profile.ranges.push_back({"x", {1, 64}, {2, 64}, {2, 64}});
  options_.profiles = {profile};
  const PlannedModel model = plan();
  EXPECT_LE(model.config_problems[0].sizes.size(), 3u);
  EXPECT_EQ(model.config_problems[0].sizes.back().max_tokens, 0);
}

TEST(KernelCache, DamagedFilesAreCompiledAgain) {
  if (cuda::nvrtc_version() == 0) GTEST_SKIP() << "no NVRTC";
  const std::string folder = testing::TempDir() + "/kernel_cache";
  std::filesystem::remove_all(folder);
  const CodeRequest request{{.file = "norm.cu", .entry = "layer_norm", .defines = {}}, "sm_90"};
  const std::string name = cuda::code_name(request.source, request.arch);
  EXPECT_NE(name, cuda::code_name(request.source, "sm_80"));
  EXPECT_NE(name, cuda::code_name({.file = "norm.cu", .entry = "layer_norm", .defines = {"A=1"}}, request.arch));
  const std::string code = "as good as machine code", file = folder + "/" + name + ".cubin";
  std::filesystem::create_directories(folder);
  ASSERT_TRUE(write_file(file, content_name(code) + code).ok());
  {
    KernelCache cache(folder);
    EXPECT_EQ(value_or_throw(cache.get(request)), code);
    EXPECT_EQ(cache.reused(), 1);
  }
  for (const std::string& damaged : {std::string(), std::string("short"), content_name(code) + code + "!"}) {
    ASSERT_TRUE(write_file(file, damaged).ok());
    KernelCache cache(folder);
    const auto got = cache.get(request);
    EXPECT_EQ(cache.reused(), 0);
    EXPECT_TRUE(!got.ok() || cache.compiled() == 1);
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace tenon::plan
