// Which plan of an engine a machine runs, for machines that are not here.
#include "runtime/choose_plan.h"

#include <gmock/gmock.h>

#include <fstream>

#include "tests/support/hostile_engines.h"
#include "tests/support/small_models.h"

namespace tenon::test {
namespace {

using engine::EngineFile;
using engine::Plan;
using runtime::choose_plan;
using runtime::Fit;
using runtime::fit_of;
using runtime::GpuAtHand;
using runtime::is_for_gpu;
using testing::HasSubstr;

engine::PlanCode code_for(const std::string& arch, bool has_ptx) {
  return {"kernel@file.cu", "kernel", arch, "machine code", has_ptx ? "// PTX" : ""};
}

Plan plan_for(const std::string& target, std::vector<engine::PlanCode> codes = {}) {
  Plan plan;
  plan.target = target;
  plan.codes = std::move(codes);
  return plan;
}

TEST(Fit, MachineCodeRunsOnItsGenerationAndPtxOnNewerOnes) {
  const Plan ampere = plan_for("sm_80", {code_for("sm_80", true)});
  EXPECT_EQ(fit_of(ampere, 75), Fit::kNone);
  EXPECT_EQ(fit_of(ampere, 80), Fit::kOwn);
  EXPECT_EQ(fit_of(ampere, 86), Fit::kSameGeneration);
  EXPECT_EQ(fit_of(ampere, 89), Fit::kSameGeneration);
  EXPECT_EQ(fit_of(ampere, 90), Fit::kTranslated);
  EXPECT_EQ(fit_of(ampere, 120), Fit::kTranslated);
  const Plan without_ptx = plan_for("sm_80", {code_for("sm_80", true), code_for("sm_80", false)});
  EXPECT_EQ(fit_of(without_ptx, 86), Fit::kSameGeneration);
  EXPECT_EQ(fit_of(without_ptx, 90), Fit::kNone);
  const Plan newer = plan_for("sm_86", {code_for("sm_86", true)});
  EXPECT_EQ(fit_of(newer, 80), Fit::kNone);
}

TEST(Fit, CodeOfOneGpuRunsOnNoOther) {
  const Plan hopper = plan_for("sm_90", {code_for("sm_90", true), code_for("sm_90a", false)});
  EXPECT_EQ(fit_of(hopper, 90), Fit::kOwn);
  EXPECT_EQ(fit_of(hopper, 89), Fit::kNone);
  EXPECT_EQ(fit_of(hopper, 100), Fit::kNone);
}

TEST(Fit, OnlyGpuTargetsFitGpus) {
  for (const char* target : {"cpu", "reference", "sm_", "sm_9x", "sm_-80", "tpu"}) {
    EXPECT_EQ(fit_of(plan_for(target), 90), Fit::kNone) << target;
    EXPECT_FALSE(is_for_gpu(plan_for(target))) << target;
  }
}

class ChoosePlan : public testing::Test {
 protected:
  void SetUp() override {
    const TemporaryPath path("engine");
    Random random;
    engine::Metadata metadata;
    metadata.build_options["precision"] = "fp16";
    write_to(path.str(), *graph_from(kDenseModel, random), {}, metadata);
    std::ifstream file(path.str(), std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }

  std::shared_ptr<const EngineFile> engine_for(const std::string& target,
                                               const std::vector<engine::PlanCode>& codes) const {
    const std::string bytes = forge_plan(bytes_, [&](Plan& p) {
      p.target = target;
      p.codes = codes;
    });
    auto memory = aligned_copy(bytes);
    const std::span<const std::byte> span(memory.get(), bytes.size());
    return value_or_throw(EngineFile::from_bytes(span, memory, "bert.tenon"));
  }

  // "0", or the error.
  static std::string choice(const EngineFile& file, const std::string& wanted, int capability) {
    const auto chosen = choose_plan(file, wanted, [&]() -> Result<GpuAtHand> {
      if (capability == 0) return error(ErrorCode::kNoDevice, "no NVIDIA driver");
      return GpuAtHand{"NVIDIA Test", capability};
    });
    return chosen.ok() ? std::to_string(*chosen)
                       : std::string(error_code_name(chosen.status().code())) + ": " + chosen.status().message();
  }

  std::string bytes_;
};

TEST_F(ChoosePlan, AnEngineForAnotherGpuNamesItAndTheCommandThatAddsIt) {
  const auto hopper = engine_for("sm_90", {code_for("sm_90a", false)});
  EXPECT_EQ(choice(*hopper, "auto", 90), "0");
  EXPECT_EQ(choice(*hopper, "sm_90", 90), "0");
  const std::string error = choice(*hopper, "auto", 80);
  EXPECT_THAT(error, HasSubstr("engine-version: the engine is for sm_90, this machine's NVIDIA Test is sm_80"));
  EXPECT_THAT(error, HasSubstr("`tenon build MODEL -o bert.tenon --target sm_90,sm_80 --fp16` adds it"));
  EXPECT_THAT(choice(*hopper, "auto", 75), HasSubstr("sm_75: GPUs before sm_80 are not supported"));
  EXPECT_THAT(choice(*hopper, "sm_90", 100),
              HasSubstr("code for sm_90 does not run on this machine's NVIDIA Test, which is sm_100"));
  EXPECT_THAT(choice(*hopper, "auto", 0),
              HasSubstr("no-device: the engine is for sm_90: no NVIDIA driver; `tenon build"));
}

TEST_F(ChoosePlan, PortableCodeRunsOnNewerGpus) {
  const auto ampere = engine_for("sm_80", {code_for("sm_80", true)});
  for (const int capability : {80, 86, 90, 120}) EXPECT_EQ(choice(*ampere, "auto", capability), "0") << capability;
  EXPECT_EQ(choice(*ampere, "cuda", 90), "0");
  EXPECT_THAT(choice(*ampere, "auto", 75), HasSubstr("engine-version"));
}

TEST_F(ChoosePlan, NoGpuIsLookedForWhereNoneIsNeeded) {
  const auto cpu = engine_for("cpu", {});
  const auto chosen = choose_plan(*cpu, "auto", []() -> Result<GpuAtHand> {
    ADD_FAILURE() << "the GPU was asked for";
    return error(ErrorCode::kInternal, "");
  });
  EXPECT_EQ(value_or_throw(chosen), 0);
}

TEST_F(ChoosePlan, ATargetThatTheEngineLacksIsNamed) {
  const auto cpu = engine_for("cpu", {});
  EXPECT_EQ(choice(*cpu, "cpu", 90), "0");
  EXPECT_THAT(choice(*cpu, "cuda", 90), HasSubstr("invalid-argument: the engine is for cpu, not for cuda"));
  EXPECT_THAT(choice(*cpu, "sm_90", 90),
              HasSubstr("`tenon build MODEL -o bert.tenon --target cpu,sm_90 --fp16` adds it"));
  EXPECT_THAT(choice(*cpu, "reference", 90), HasSubstr("invalid-argument"));
  EXPECT_THAT(choice(*engine_for("tpu", {}), "auto", 90),
              HasSubstr("engine-version: the engine is for tpu, which this runtime"));
}

}  // namespace
}  // namespace tenon::test
