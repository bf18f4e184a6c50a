// `tenon verify`: which values it compares, and that it names the first one that differs.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/golden.h"
#include "tests/support/run_program.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Verify : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string model(const std::string& name) { return test::golden_folder() + "onnx/" + name + ".onnx"; }
  // What verify reports of an engine of `built` beside `compared`.
  json verify(const std::string& built, const std::string& compared, const std::string& options = "",
              int code = 0) const {
    const test::Outcome made =
        test::run_program("tenon build " + model(built) + " -o m.tenon --quiet " + options, folder_);
    EXPECT_EQ(made.code, 0) << made.log;
    const test::Outcome outcome =
        test::run_program("tenon verify m.tenon --model " + model(compared) + " --batch 2 --json", folder_);
    EXPECT_EQ(outcome.code, code) << outcome.log;
    const size_t begin = outcome.log.find('{');
    return begin == std::string::npos ? json() : json::parse(outcome.log.substr(begin));
  }
  static auto values_ending(const json& report, std::string_view suffix) {
    return std::ranges::count_if(
        report["layers"], [&](const json& layer) { return layer["value"].get<std::string>().ends_with(suffix); });
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / "tenon_verify";
};

TEST_F(Verify, ComparesConvolutionsWhoseChannelsStandLast) {
  const json report = verify("resnet18-ts11-batch", "resnet18-ts11-batch");
  EXPECT_TRUE(report["passed"].get<bool>());
  EXPECT_GE(values_ending(report, ".channels_last"), 15);
}

TEST_F(Verify, ComparesPackedRows) {
  const json report = verify("bert-enc-ts14-mask-types-sdpa-dyn", "bert-enc-ts14-mask-types-sdpa-dyn");
  EXPECT_TRUE(report["passed"].get<bool>());
  EXPECT_GE(values_ending(report, ".packed"), 8);
}

// Hidden rows are zeros where they are unpacked, whatever hides them: lengths, ids, or a mask that biases are computed beside.
TEST_F(Verify, LeavesOutRowsThatPackingHides) {
  for (const char* name : {"mask-lengths-ts14", "mask-ids-not-pad-ts13", "deberta-v2-ts14-mask-eager"}) {
    const json report = verify(name, name);
    EXPECT_EQ(report["first_bad"], "") << name;
    EXPECT_GE(values_ending(report, ".packed"), 4) << name;
  }
}

// A last bit decides to which step a model that was quantised rounds.
TEST_F(Verify, AllowsForRoundingsOfTheModel) {
  for (const char* options : {"", "--fp32", "--bf16"}) {
    const json report = verify("variant-quantized-static-signed-dynamo18", "variant-quantized-static-signed-dynamo18", options);
    EXPECT_TRUE(report["passed"].get<bool>()) << options;
    EXPECT_EQ(report["tolerance"], 0.15);
  }
}

// Sums in another order differ in their last bits, which such a tolerance does not allow.
TEST_F(Verify, NamesTheFirstValueThatDiffers) {
  const json fine = verify("resnet18-ts11-batch", "resnet18-ts11-batch");
  EXPECT_EQ(fine["first_bad"], "");
  const test::Outcome strict = test::run_program(
      "tenon verify m.tenon --model " + model("resnet18-ts11-batch") + " --tolerance 1e-12 --json", folder_);
  EXPECT_EQ(strict.code, 1);
  const json report = json::parse(strict.log.substr(strict.log.find('{')));
  EXPECT_FALSE(report["passed"].get<bool>());
  EXPECT_NE(report["first_bad"], "");
}

}  // namespace
}  // namespace tenon
