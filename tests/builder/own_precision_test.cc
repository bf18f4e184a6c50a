// What a model is computed in where the build asks for nothing.
#include <gtest/gtest.h>

#include "builder/builder.h"
#include "passes/passes.h"

namespace tenon {
namespace {

Result<builder::Compiled> compiled(const std::string& golden, const std::string& precision) {
  TENON_ASSIGN(ir::Model model, builder::import_model(TENON_SOURCE_DIR "/tests/golden/onnx/" + golden + ".onnx"));
  BuilderConfig config;
  config.precision = precision;
  return builder::compile(std::move(model), "", config);
}

int integer_products(const ir::Graph& graph) {
  int count = 0;
  for (const auto& node : graph.nodes()) count += node->is(ir::Op::k_linear) && node->attrs().text("factors").starts_with("int8");
  return count;
}

TEST(OwnPrecision, OfADynamicallyQuantisedModelIs8Bits) {
  for (const auto& [asked, got] : {std::pair{"", "int8"}, {"fp32", "fp32"}, {"int8", "int8"}, {"bf16", "bf16"}}) {
    const auto made = compiled("variant-quantized-ts17", asked);
    ASSERT_TRUE(made.ok()) << made.status().message();
    EXPECT_EQ(made->plans[0].precision, got) << asked;
    EXPECT_EQ(integer_products(*made->plans[0].graph) > 0, std::string(got) == "int8") << asked;
  }
}

TEST(OwnPrecision, OfOtherModelsIsF32OnACpu) {
  for (const char* golden : {"variant-fp16-model-ts17", "bert-enc-ts17-mask-types-eager-dyn"}) {
    const auto made = compiled(golden, "");
    ASSERT_TRUE(made.ok()) << made.status().message();
    EXPECT_EQ(made->plans[0].precision, "fp32") << golden;
  }
}

TEST(OwnPrecision, OnAGpuIsThatOfTheProducts) {
  for (const auto& [golden, type] : {std::pair{"variant-fp16-model-ts17", DType::kF16},
                                     {"variant-fp16-initializers-ts14", DType::kF32},  // stored in 16 bits, computed in 32
                                     {"variant-quantized-ts17", DType::kF32}}) {
    const auto model = builder::import_model(std::string(TENON_SOURCE_DIR "/tests/golden/onnx/") + golden + ".onnx");
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ(passes::type_of_products(*model->graph), type) << golden;
  }
}

}  // namespace
}  // namespace tenon
