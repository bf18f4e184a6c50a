// What `tenon bench --profile` makes of times, costs and limits.
#include "tools/profile_report.h"

#include <gtest/gtest.h>

namespace tenon::tools {
namespace {

// A processor of 1e12 operations a second; bytes at 1e11 a second from memory and 1e12 from the cache, which holds 1e6.
const Limits kLimits{
    .device = "test", .f32 = 1e11, .tf32 = 2e11, .bf16 = 1e12, .memory = 1e11, .cache = 1e12, .held = 1e6};

StepCost cost(const char* name, const char* group, double flops, double weights, double rows) {
  return {.name = name,
          .op = "",
          .group = group,
          .factors = "f16",
          .flops = flops,
          .weight_bytes = weights,
          .activation_bytes = rows,
          .written_bytes = rows / 2,
          .absorbers = {}};
}

ProfileReport report_of(const std::vector<StepCost>& costs, const std::vector<std::pair<std::string, double>>& taken,
                        const char* kernel = "kernel") {
  StepTimes times;
  for (const auto& [name, seconds] : taken) times.step(name, kernel, seconds);
  return make_report(times, costs, kLimits);
}

TEST(ProfileReport, TheLimitThatAsksForMostTimeBinds) {
  const ProfileReport report = report_of(
      {cost("many", "GEMM", 1e9, 1e7, 1e5), cost("weights", "GEMM", 1e6, 1e8, 1e5), cost("rows", "norm", 1e5, 0, 9e5),
       cost("more rows", "norm", 1e6, 0, 2e6), cost("small", "other", 1e3, 0, 1e3)},
      {{"many", 2e-3}, {"weights", 2e-3}, {"rows", 1e-6}, {"more rows", 4e-5}, {"small", 1e-6}});
  const std::pair<const char*, double> wanted[] = {
      {"arithmetic", 0.5}, {"memory", 0.5}, {"cache", 0.9}, {"memory", 0.5}, {"latency", 1e-3}};
  ASSERT_EQ(report.steps.size(), std::size(wanted));
  for (size_t i = 0; i < std::size(wanted); ++i) {
    EXPECT_EQ(report.steps[i].bound, wanted[i].first) << report.steps[i].cost.name;
    EXPECT_NEAR(report.steps[i].of_limit, wanted[i].second, 1e-9) << report.steps[i].cost.name;
  }
  const std::vector<Binding> bindings = bindings_of(report);
  ASSERT_EQ(bindings.size(), 4u);
  EXPECT_EQ(bindings[0].bound, "memory");
  EXPECT_NEAR(bindings[0].seconds, 2.04e-3, 1e-12);
  EXPECT_NEAR(bindings[0].of_limit, 0.5, 1e-9);
}

TEST(ProfileReport, PrecisionsHaveTheirOwnLimits) {
  EXPECT_EQ(kLimits.operations("f32"), 1e11);
  EXPECT_EQ(kLimits.operations("tf32"), 2e11);
  EXPECT_EQ(kLimits.operations("f16"), 1e12);
  EXPECT_EQ(kLimits.operations("bf16"), 1e12);
  EXPECT_EQ(kLimits.operations("int64"), 0);
}

// Attention that computes its queries, keys and values itself.
TEST(ProfileReport, WhatAKernelComputesOfTheStepAheadIsItsCostToo) {
  std::vector<StepCost> costs = {cost("norm", "norm", 1e3, 0, 2e3), cost("qkv", "GEMM", 3e6, 1e6, 4e3),
                                 cost("heads", "attention", 1e6, 0, 4e3)};
  costs[2].absorbers = {"kernel of both"};
  const ProfileReport together = report_of(costs, {{"norm", 1e-3}, {"heads", 1e-3}}, "kernel of both");
  ASSERT_EQ(together.steps.size(), 2u);
  const StepCost& both = together.steps[1].cost;
  EXPECT_EQ(both.group, "GEMM+attention");
  EXPECT_EQ(both.flops, 4e6);
  EXPECT_EQ(both.weight_bytes, 1e6);
  EXPECT_EQ(both.activation_bytes, 4e3);  // neither written nor read: what lies between both
  const ProfileReport apart = report_of(costs, {{"norm", 1e-3}, {"qkv", 1e-3}, {"heads", 1e-3}});
  ASSERT_EQ(apart.steps.size(), 3u);
  EXPECT_EQ(apart.steps[2].cost.group, "attention");
  EXPECT_EQ(apart.steps[2].cost.flops, 1e6);
  // The step ahead did not run: a branch that was not taken, say.
  EXPECT_EQ(report_of(costs, {{"heads", 1e-3}}).steps[0].cost.flops, 1e6);
}

TEST(ProfileReport, WithoutLimitsNothingBinds) {
  StepTimes times;
  times.step("many", "kernel", 1e-3);
  const ProfileReport report = make_report(times, {cost("many", "GEMM", 1e9, 1e7, 1e5)}, {});
  EXPECT_EQ(report.steps[0].bound, "");
  EXPECT_TRUE(bindings_of(report).empty());
}

}  // namespace
}  // namespace tenon::tools
