// `tenon bench` and `tenon verify` through the real program, on a small encoder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>

#include "kernels/cpu/isa.h"
#include "tests/onnx/model_builder.h"
#include "tests/support/golden.h"
#include "tests/support/run_program.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

class Profile : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // What it prints; `code` is what the program must give.
  std::string run(const std::string& command, int code = 0) const {
    const test::Outcome outcome = test::run_program("tenon " + command + " --quiet", folder_);
    EXPECT_EQ(outcome.code, code) << command << "\n" << outcome.log.substr(0, 2000);
    return outcome.log;
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / "tenon_profile";
  const std::string model_ = test::golden_folder() + "onnx/bert-enc-ts14-mask-types-sdpa-dyn.onnx";
  const std::string build_ = "build " + model_ + " -o m.tenon";
  const std::string bench_ = "bench m.tenon --seq 16 --iterations 3 ";
};

TEST_F(Profile, JsonHasEveryStepAndSharesAddUp) {
  const json built = json::parse(run(build_ + " --json"));
  const json point = json::parse(run(bench_ + "--profile --json --without-passes " + model_ + " --duration 0.01"))[0];
  const json& profile = point["profile"];
  EXPECT_EQ(profile["steps"].size(), built["steps"].get<size_t>());
  double percent = 0;
  std::set<std::string> groups;
  for (const json& share : profile["shares"]) {
    percent += share["percent"].get<double>();
    groups.insert(share["group"]);
  }
  EXPECT_NEAR(percent, 100, 1e-6);
  for (const char* group : {"GEMM", "attention", "norm", "embedding"}) EXPECT_TRUE(groups.contains(group)) << group;
  for (const json& step : profile["steps"]) {
    if (step["group"] != "GEMM") continue;
    EXPECT_GT(step["flops"], 0);
    EXPECT_GT(step["weight_bytes"], 0);
    EXPECT_GT(step["activation_bytes"], 0);
    EXPECT_GE(step["of_limit"], 0);
    EXPECT_EQ(step["precision"], "f32");
  }
  double bound = 0;
  for (const json& part : profile["bound_by"]) {
    EXPECT_NE(part["advice"], "");
    bound += part["seconds"].get<double>();
  }
  EXPECT_NEAR(bound, profile["steps_s"].get<double>(), 1e-9);  // each step is bound by something
  std::set<std::string> passes;
  for (const json& pass : profile["passes"]) {
    EXPECT_EQ(pass["failure"], "") << pass["pass"];
    EXPECT_GT(pass["without_s"], 0);
    EXPECT_GT(pass["applied"], 0);
    passes.insert(pass["pass"]);
  }
  EXPECT_TRUE(passes.contains("fuse-attention"));
  EXPECT_TRUE(passes.contains("pack-tokens"));
}

TEST_F(Profile, ThePageStandsAlone) {
  run(build_);
  const std::string table = run(bench_ + "--profile-html page.html");
  EXPECT_THAT(table, HasSubstr("slowest steps"));
  EXPECT_THAT(table, HasSubstr("of limit"));
  EXPECT_THAT(table, HasSubstr("what would help"));
  std::ifstream file(folder_ / "page.html");
  std::stringstream text;
  text << file.rdbuf();
  const std::string page = text.str();
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>"));
  EXPECT_TRUE(page.ends_with("</html>\n"));
  for (const char* part : {"m.tenon", "cpu.linear.f32", "cpu.attention.f32", "GEMM", "FLOP/B"})
    EXPECT_THAT(page, HasSubstr(part));
  for (const char* outside : {"http:", "https:", "src=", "href="}) EXPECT_THAT(page, Not(HasSubstr(outside)));
  EXPECT_THAT(run(bench_ + "--profile-html /nowhere/page.html", 6), HasSubstr("/nowhere/page.html"));
}

// However often a file's lengths are run through, each comes as often as the others.
TEST_F(Profile, LengthsOfAFileComeEquallyOften) {
  run(build_);
  std::ofstream(folder_ / "lengths") << "1 2 3 4 5 6 7 8 9 10";
  const json point =
      json::parse(run("bench m.tenon --batch 2 --lengths list:lengths --warmup 5 --iterations 70 --json"))[0];
  EXPECT_EQ(point["tokens"], 11);
}

TEST_F(Profile, BatchesOfTokensHoldWhatFits) {
  run(build_);
  std::ofstream(folder_ / "lengths") << "3 4 9 2";  // 3 and 4; 9, which is too long but goes alone; 2
  const json points =
      json::parse(run("bench m.tenon --batch-tokens 7,100 --lengths list:lengths --iterations 6 --json"));
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0]["tokens"], 6);
  EXPECT_EQ(points[0]["seq"], 9);
  EXPECT_EQ(points[1]["tokens"], 18) << "a batch ends where the file does";
  EXPECT_EQ(points[1]["batch"], 4);
  const double texts = points[0]["texts_per_s"], tokens = points[0]["tokens_per_s"];
  EXPECT_NEAR(tokens / texts, 18. / 4, 1e-9);
  EXPECT_EQ(json::parse(run("bench m.tenon --batch-tokens 20 --seq 8 --iterations 3 --json"))[0]["batch"], 2);
  EXPECT_THAT(run("bench m.tenon --batch-tokens 20 --batch 2", 2), HasSubstr("--batch-tokens"));
}

// Wide enough for products of 8 and 16 bits.
void write_two_products(const fs::path& path) {
  onnx::test::ModelBuilder model;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.1f);
  const auto weights = [&](const std::string& name, int64_t rows, int64_t columns) {
    std::vector<float> values(static_cast<size_t>(rows * columns));
    for (float& v : values) v = normal(random);
    model.floats(name, {rows, columns}, values);
  };
  weights("w1", 96, 128);
  weights("w2", 128, 96);
  model.input("x", onnx::test::kFloat, {"batch", "96"}).output("y");
  model.node("MatMul", {"x", "w1"}, {"a"});
  model.node("Relu", {"a"}, {"b"});
  model.node("MatMul", {"b", "w2"}, {"y"});
  std::ofstream(path, std::ios::binary) << model.bytes();
}

TEST_F(Profile, VerifySaysWhatItComparedAndHowExactly) {
  write_two_products(folder_ / "two.onnx");
  for (const char* precision : {"fp32", "bf16", "int8"}) {
    const bool narrow = std::string(precision) != "fp32";
    run("build two.onnx -o m.tenon" + (narrow ? " --" + std::string(precision) : ""));
    const std::string text = run("verify m.tenon --model two.onnx");
    EXPECT_THAT(text, HasSubstr(std::string("the tolerance for ") + precision));
    EXPECT_THAT(text, HasSubstr(std::string("m.tenon as it runs (") + precision + " products)"));
    const json report = json::parse(run("verify m.tenon --json --model two.onnx"));
    EXPECT_EQ(report["precision"], precision);
    EXPECT_TRUE(report["passed"]);
    EXPECT_EQ(report["tolerance"] > 1e-3, narrow);
  }
  // What 8 bits lose is more than what is asked for here.
  EXPECT_THAT(run("verify m.tenon --tolerance 1e-6 --model two.onnx", 1), HasSubstr("Not all of"));
}

// An engine that is built for AVX2 computes the same elsewhere.
TEST_F(Profile, Int8IsOfQuadsWithoutVnni) {
  const auto all = kernels::cpu::available_isas();
  if (std::ranges::find(all, kernels::cpu::Isa::kAvx2) == all.end()) GTEST_SKIP() << "this machine lacks AVX2";
  write_two_products(folder_ / "two.onnx");
  ASSERT_EQ(::setenv("TENON_ISA", "avx2", 1), 0);
  run("build two.onnx -o m.tenon --int8");
  const std::string verified = run("verify m.tenon --model two.onnx");
  ::unsetenv("TENON_ISA");
  EXPECT_THAT(verified, HasSubstr("m.tenon as it runs (int8 products)"));
  EXPECT_THAT(run("explain m.tenon --all"), HasSubstr("cpu.linear.int8_quads"));
  EXPECT_THAT(run("verify m.tenon --model two.onnx"), HasSubstr("m.tenon as it runs (int8 products)"));
  ASSERT_EQ(::setenv("TENON_ISA", "scalar", 1), 0);
  run("build two.onnx -o m.tenon --int8");
  ::unsetenv("TENON_ISA");
  EXPECT_THAT(run("explain m.tenon --all"), HasSubstr("cpu.linear.int8"));
}

TEST_F(Profile, VerifyLeavesMaskedRowsOfUnpackedValuesOut) {
  for (const char* precision : {"", " --bf16"}) {
    run(build_ + precision);
    EXPECT_THAT(run("verify m.tenon --model " + model_), HasSubstr("outputs agree within 0.0001"));
  }
}

}  // namespace
}  // namespace tenon
