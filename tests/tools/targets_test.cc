// Engines for several targets through the real program, on GPUs that are not there (tests/fake_driver).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/reader.h"
#include "engine/writer.h"
#include "ir/text.h"
#include "passes/pipeline.h"
#include "plan/planner.h"
#include "plan/weight_table.h"
#include "tests/support/run_program.h"
#include "tests/support/small_models.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class Targets : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // As the builder does it, with images that no GPU would run instead of what NVRTC makes.
  // `tactics`: timings say that libraries' configs are the fastest, and linears activate nothing, which libraries can do too.
  void write(const std::string& name, const std::vector<int>& capabilities, bool cpu, const std::vector<std::string>& tactics = {}) const {
    test::Random random;
    std::string text = test::packed_encoder();
    constexpr std::string_view kGelu = "activation = \"gelu\"";
    for (size_t at = 0; !tactics.empty() && (at = text.find(kGelu)) != text.npos;) text.erase(at, kGelu.size());
    const auto imported = test::graph_from(text, random);
    plan::ExpressionNames names;
    std::vector<std::unique_ptr<ir::Graph>> graphs;
    std::vector<plan::PlannedModel> made;
    const auto add = [&](kernels::Target target, int capability) {
      ir::Graph& graph = *graphs.emplace_back(imported->clone());
      passes::PipelineOptions passes;
      passes.precision = target == kernels::Target::kCuda ? DType::kF16 : DType::kF32;
      value_or_throw(passes::run_pipeline(graph, passes));
      plan::PlanOptions options;
      options.target = target;
      options.machine.compute_capability = capability;
      options.names = &names;
      options.profiles = {{{{"input_ids", {1, 1}, {2, 32}, {4, 64}}}}};
      made.push_back(value_or_throw(plan::make_plan(graph, options)));
      options.machine.tactics = tactics;
      plan::TimingCache timings;
      options.timings = &timings;
      for (const plan::ConfigProblem& problem : made.back().config_problems) {
        const auto others = plan::library_configs(*problem.kernel, problem.problem, options.machine);
        if (others.empty()) continue;
        for (const auto& size : problem.sizes)
          timings.put(plan::timing_key(*problem.kernel, problem.text, size.rows, options.machine), {others.front().text, {}, "", 0});
      }
      if (!tactics.empty()) made.back() = value_or_throw(plan::make_plan(graph, options));
      auto& codes = made.back().plan.codes;
      const bool portable = std::ranges::all_of(codes, engine::is_portable);
      for (engine::PlanCode& code : codes) {
        code.cubin = "\x7f" "ELF";
        if (portable) code.ptx = "// PTX";
      }
    };
    for (const int capability : capabilities) add(kernels::Target::kCuda, capability);
    if (cpu) add(kernels::Target::kCpu, 0);
    std::vector<plan::PlannedModel*> models;
    for (plan::PlannedModel& m : made) models.push_back(&m);
    plan::place_weights(models);
    std::vector<engine::Plan> plans;
    for (const plan::PlannedModel& m : made) plans.push_back(m.plan);
    engine::Metadata metadata;
    metadata.graph_imported = ir::print(*imported);
    for (const auto& graph : graphs) metadata.plans.push_back({ir::print(*graph), {}, {}});
    value_or_throw(engine::write_engine((folder_ / name).string(), plans, metadata, [&](engine::StoredWeight w) {
      return made[static_cast<size_t>(w.plan)].make_weight(w.index);
    }));
  }

  // What the program says on a machine with such a GPU; 0: with none.
  test::Outcome run(const std::string& command, int gpu, const std::string& environment = "") const {
    fs::remove(folder_ / "calls");
    const std::string fake = std::string("LD_LIBRARY_PATH='") + TENON_BINARY_DIR + "/tests/fake_driver' FAKE_GPU=" + std::to_string(gpu) +
                             " FAKE_GPU_LOG=calls TENON_LOG=error " + environment + " ";
    return test::run_program(command, folder_, fake);
  }
  json bench(const std::string& command, int gpu, const std::string& sizes = "--batch 2 --seq 32 --iterations 3") const {
    const test::Outcome outcome = run("tenon bench m.tenon --warmup 1 --json --quiet " + sizes + " " + command, gpu);
    EXPECT_EQ(outcome.code, 0) << outcome.log;
    return outcome.code == 0 ? json::parse(outcome.log)[0] : json();
  }
  // Lines of the driver's log that are `call`.
  int calls(const std::string& call) const {
    std::ifstream file(folder_ / "calls");
    int count = 0;
    for (std::string line; std::getline(file, line);) count += line == call;
    return count;
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / "tenon_targets";
};

TEST_F(Targets, EachMachineRunsWhatSuitsItBest) {
  write("m.tenon", {90, 80}, true);
  EXPECT_EQ(bench("", 90)["target"], "sm_90");
  EXPECT_EQ(calls("load ptx"), 0);
  EXPECT_GT(calls("launch early"), 0);
  EXPECT_EQ(bench("", 80)["target"], "sm_80");
  EXPECT_EQ(bench("", 86)["target"], "sm_80");
  EXPECT_GT(calls("load cubin"), 0);
  EXPECT_EQ(calls("load ptx"), 0);
  EXPECT_EQ(bench("", 75)["target"], "cpu");
  EXPECT_EQ(bench("", 0)["target"], "cpu");
}

// The fake GPU: 100 multiprocessors at 1 GHz; each step takes 10 us, each copy of 192 MiB too.
TEST_F(Targets, AProfileSaysWhatTheGpuCouldDo) {
  write("m.tenon", {90}, false);
  const json profile = bench("--profile", 90)["profile"];
  EXPECT_EQ(profile["limits"]["device"], "Fake GPU");
  EXPECT_DOUBLE_EQ(profile["limits"]["bf16"], 2 * 1e9 * 100 * 2048);
  EXPECT_DOUBLE_EQ(profile["limits"]["f32"], 2 * 1e9 * 100 * 1024 / 3);
  EXPECT_NEAR(profile["limits"]["memory"].get<double>(), 2 * 192 * 1048576 / 10e-6, 1e9);
  for (const json& step : profile["steps"]) EXPECT_NE(step["bound"], "") << step["value"];
  EXPECT_FALSE(profile["bound_by"].empty());
  EXPECT_GT(calls("load ptx"), 0);  // the delay ahead of what is timed
}

TEST_F(Targets, InputsMayLieOnTheGpu) {
  write("m.tenon", {90}, false);
  EXPECT_EQ(bench("--inputs-on-device", 90)["target"], "sm_90");
  EXPECT_EQ(run("tenon bench m.tenon --inputs-on-device --batch 2 --seq 32", 0).code == 0, false);
}

// It does not wait for what runs before it, so it must not start early there either.
TEST_F(Targets, CodeOfAnOlderGpuIsTranslatedAndDoesNotStartEarly) {
  write("m.tenon", {90, 80}, true);
  EXPECT_EQ(bench("", 100)["target"], "sm_80");
  EXPECT_GT(calls("load ptx"), 0);
  EXPECT_EQ(calls("load cubin"), 0);
  EXPECT_GT(calls("launch"), 0);
  EXPECT_EQ(calls("launch early"), 0);
  EXPECT_EQ(bench("--target sm_80", 90)["target"], "sm_80");
  EXPECT_EQ(calls("launch early"), 0);
}

TEST_F(Targets, ATargetCanBeAskedFor) {
  write("m.tenon", {90}, true);
  EXPECT_EQ(bench("--target cpu", 90)["target"], "cpu");
  EXPECT_EQ(calls("allocate"), 0);
  EXPECT_EQ(bench("--target cuda", 90)["target"], "sm_90");
  const auto missing = run("tenon bench m.tenon --target sm_80 --quiet", 90);
  EXPECT_NE(missing.code, 0);
  EXPECT_THAT(missing.log, HasSubstr("the engine is for sm_90,cpu, not for sm_80: `tenon build MODEL -o m.tenon --target sm_90,cpu,sm_80` adds it"));
  const auto none = run("tenon bench m.tenon --target cuda --quiet", 0);
  EXPECT_NE(none.code, 0);
  EXPECT_THAT(none.log, HasSubstr("no usable GPU"));
}

TEST_F(Targets, AnotherGpuIsNamedWithTheCommandThatAddsIt) {
  write("m.tenon", {90}, false);
  const auto older = run("tenon bench m.tenon --quiet", 86);
  EXPECT_EQ(older.code, 4);
  EXPECT_THAT(older.log, HasSubstr("m.tenon: the engine is for sm_90, this machine's Fake GPU is sm_86: `tenon build MODEL -o m.tenon --target sm_90,sm_86` adds it"));
}

TEST_F(Targets, ADriverThatCannotTranslateIsNamed) {
  write("m.tenon", {80}, false);
  const auto old = run("tenon bench m.tenon --quiet", 90, "FAKE_PTX=222");
  EXPECT_EQ(old.code, 4);
  EXPECT_THAT(old.log, HasSubstr("the driver is of CUDA 12.4 and cannot translate the engine's code for sm_80: update it, or build with --target sm_90"));
}

TEST_F(Targets, InspectAndExplainListThem) {
  write("m.tenon", {90, 80}, true);
  const json shown = json::parse(run("tenon inspect m.tenon --json", 0).log);
  ASSERT_EQ(shown["targets"].size(), 3u);
  EXPECT_EQ(shown["targets"][1]["target"], "sm_80");
  EXPECT_THAT(shown["targets"][1]["code"].get<std::string>(), HasSubstr("newer GPUs too"));
  EXPECT_THAT(shown["targets"][0]["code"].get<std::string>(), Not(HasSubstr("newer GPUs too")));
  EXPECT_EQ(json::parse(run("tenon inspect m.tenon --json --target cpu", 0).log)["target"], "cpu");
  EXPECT_NE(run("tenon inspect m.tenon --target sm_86", 0).code, 0);
  EXPECT_THAT(run("tenon explain m.tenon --target sm_80", 0).log, HasSubstr("Target: sm_80 (also in the engine, shown by --target: sm_90, cpu)"));
}

// What was recorded when the context was made is replayed from the first request on.
TEST_F(Targets, TheProfilesUsualSizesAreWarmAtLoad) {
  write("m.tenon", {90}, false);
  const json warm = bench("", 90);  // the profile's opt sizes
  EXPECT_GT(warm["graphs_at_load"], 0);
  EXPECT_EQ(warm["graphs"], 0);
  EXPECT_EQ(calls("record"), warm["graphs_at_load"]);
  const json cold = bench("--warm none", 90);
  EXPECT_EQ(cold["graphs_at_load"], 0);
  EXPECT_GT(cold["graphs"], 0);
  EXPECT_GT(bench("", 90, "--batch 1 --seq 48 --iterations 3")["graphs"], 0);  // sizes that were not
}

// A new length replays what others of its bucket recorded; when it comes again it gets a graph of its own. Each comes twice.
TEST_F(Targets, ANewShapeWithinAWarmBucketRecordsNothing) {
  write("m.tenon", {90}, false);
  const std::string options = " --warmup 0 --iterations 1 --batch 2 --json --quiet --seq ";
  const auto warm = run("tenon bench m.tenon --warm all" + options + "17,18,19,23,24,25,31,32", 90);
  ASSERT_EQ(warm.code, 0) << warm.log;
  for (const json& point : json::parse(warm.log)) EXPECT_EQ(point["graphs"], point["seq"] == 32 ? 0 : 1) << point["seq"];
  const auto cold = run("tenon bench m.tenon --warm none" + options + "17,18", 90);
  ASSERT_EQ(cold.code, 0) << cold.log;
  EXPECT_EQ(json::parse(cold.log)[0]["graphs"], 2);
}

TEST_F(Targets, ProfilersSeeStepsByName) {
  write("m.tenon", {90}, true);
  const std::string attached = std::string("NVTX_INJECTION64_PATH='") + TENON_BINARY_DIR + "/tests/fake_driver/libfake_nvtx.so' FAKE_NVTX_LOG=ranges ";
  const std::string command = "tenon bench m.tenon --warm none --batch 2 --seq 32 --iterations 1 --warmup 0 --quiet";
  const auto ranges = [&](int gpu, const std::string& more) {
    fs::remove(folder_ / "ranges");
    EXPECT_EQ(run(command, gpu, attached + more).code, 0);
    std::ifstream file(folder_ / "ranges");
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  };
  const std::string on_cpu = ranges(0, "");
  EXPECT_THAT(on_cpu, HasSubstr("tenon run\n"));
  EXPECT_THAT(on_cpu, HasSubstr("\n  count_tokens count\n"));
  EXPECT_THAT(on_cpu, HasSubstr("\n  attention "));
  const std::string on_gpu = ranges(90, "");
  EXPECT_THAT(on_gpu, HasSubstr("\n  attention "));
  EXPECT_THAT(on_gpu, Not(HasSubstr("graph")));
  EXPECT_EQ(calls("record"), 0);
  const std::string graphs = ranges(90, "TENON_NVTX=graphs ");
  EXPECT_THAT(graphs, HasSubstr("\n  graph\n"));
  EXPECT_GT(calls("record"), 0);
  EXPECT_EQ(ranges(90, "TENON_NVTX=off "), "");
}

TEST_F(Targets, LibrariesAreOpenedByEnginesThatNeedThem) {
  write("m.tenon", {80}, false, {"cublaslt"});
  const std::string without = "TENON_CUBLASLT=/nowhere/libcublasLt.so";
  const std::string command = "tenon bench m.tenon --warmup 1 --json --quiet --batch 2 --seq 32 --iterations 3";
  const auto found = run(command, 80);
  EXPECT_EQ(found.code, 0) << found.log;
  EXPECT_GT(calls("cublaslt"), 0);
  EXPECT_EQ(calls("cublaslt without workspace"), 0);
  const auto missing = run(command, 80, without);
  EXPECT_NE(missing.code, 0);
  EXPECT_THAT(missing.log, HasSubstr("cuBLASLt is needed (--tactics cublaslt): /nowhere/libcublasLt.so cannot be opened; set TENON_CUBLASLT to its path"));
  write("own.tenon", {80}, false);
  EXPECT_EQ(run("tenon bench own.tenon --quiet --batch 2 --seq 32 --iterations 1", 80, without).code, 0);
}

TEST_F(Targets, TacticsAreNamedWhenTheyCannotBeHad) {
  const std::string model = std::string(TENON_SOURCE_DIR) + "/tests/golden/onnx/bert-enc-ts17-mask-types-eager-dyn.onnx";
  const auto missing = run("tenon build '" + model + "' -o t.tenon --target sm_90 --tactics cublaslt --quiet", 0, "TENON_CUBLASLT=/nowhere/libcublasLt.so");
  EXPECT_NE(missing.code, 0);
  EXPECT_THAT(missing.log, HasSubstr("cuBLASLt is needed (--tactics cublaslt): /nowhere/libcublasLt.so cannot be opened"));
  const auto no_cudnn = run("tenon build '" + model + "' -o t.tenon --target sm_90 --tactics cudnn --quiet", 0, "TENON_CUDNN=/nowhere/libcudnn.so.9");
  EXPECT_NE(no_cudnn.code, 0);
  EXPECT_THAT(no_cudnn.log, HasSubstr("cuDNN is needed (--tactics cudnn): /nowhere/libcudnn.so.9 cannot be opened; set TENON_CUDNN to its path"));
  const auto unknown = run("tenon build '" + model + "' -o t.tenon --target sm_90 --tactics cublas --quiet", 0);
  EXPECT_NE(unknown.code, 0);
  EXPECT_THAT(unknown.log, HasSubstr("there are no tactics of \"cublas\": cublaslt or cudnn"));
  const auto on_cpu = run("tenon build '" + model + "' -o t.tenon --tactics cublaslt --quiet", 0);
  EXPECT_EQ(on_cpu.code, 0);
  EXPECT_THAT(on_cpu.log, HasSubstr("tactics are of GPUs"));
}

// 16-bit weights of products are packed alike for both GPUs.
TEST_F(Targets, GpusShareTheirWeights) {
  write("one.tenon", {90}, false);
  write("two.tenon", {90, 80}, false);
  const auto weights = [&](const char* name) { return value_or_throw(engine::EngineFile::open((folder_ / name).string()))->weight_bytes(); };
  EXPECT_EQ(weights("one.tenon"), weights("two.tenon"));
}

}  // namespace
}  // namespace tenon
