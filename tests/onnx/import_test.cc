// What the importer makes of a file: names, sizes, weights, functions, control flow, errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "ir/text.h"
#include "ops/interpret.h"
#include "tests/onnx/model_builder.h"

namespace tenon::onnx::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

ir::Tensor floats(std::vector<int64_t> shape, const std::vector<float>& values) {
  return ir::Tensor::from(DType::kF32, std::move(shape), values);
}

std::vector<float> values_of(const ir::Tensor& tensor) {
  std::vector<float> values;
  for (int64_t i = 0; i < tensor.numel(); ++i) values.push_back(static_cast<float>(tensor.at(i)));
  return values;
}

ir::Model import(const ModelBuilder& b, const ImportOptions& options = {}) {
  auto model = b.import("", options);
  if (!model.ok()) {
    ADD_FAILURE() << model.status().message();
    ir::Model empty;
    empty.graph = std::make_unique<ir::Graph>();
    return empty;
  }
  return std::move(*model);
}

std::string import_error(const ModelBuilder& b) {
  const auto model = b.import();
  return model.ok() ? "imported" : model.status().message();
}

std::vector<float> run(const ModelBuilder& b, const std::vector<ir::Tensor>& inputs) {
  const ir::Model model = import(b);
  const auto outputs = ops::interpret(*model.graph, inputs);
  if (!outputs.ok() || outputs->empty()) {
    ADD_FAILURE() << outputs.status().message();
    return {};
  }
  return values_of((*outputs)[0]);
}

// ---- Names and sizes
// -------------------------------------------------------------------------------------------------

TEST(OnnxImport, KeepsTheNamesOfNodesValuesAndParameters) {
  ModelBuilder b;
  b.input("x", kFloat, {"batch", "4"}).floats("enc.weight", {4, 1}, {1, 2, 3, 4});
  b.node("MatMul", {"x", "enc.weight"}, {"hidden"}).set_name("/enc/MatMul");
  b.node("Relu", {"hidden"}, {"y"}).clear_name();
  b.output("y");
  const ir::Model model = import(b);
  const ir::Value* hidden = model.graph->find_value("hidden");
  ASSERT_NE(hidden, nullptr);
  EXPECT_EQ(hidden->producer()->origin(), "/enc/MatMul");
  EXPECT_EQ(hidden->producer()->input(1)->producer()->attrs().text("name"), "enc.weight");
  EXPECT_EQ(model.graph->find_value("y")->producer()->origin(), "y");
  EXPECT_EQ(model.graph->outputs()[0].name, "y");
  EXPECT_THAT(model.source, HasSubstr("opset 17, test"));
}

TEST(OnnxImport, NamedAxesAreSymbolsAndEqualNamesEqualSymbols) {
  ModelBuilder b;
  b.input("a", kFloat, {"Batch size", "s1"}).input("b", kFloat, {"Batch size", "s-1"});
  b.node("Concat", {"a", "b"}, {"y"}, {int_attribute("axis", 1)});
  b.output("y");
  EXPECT_EQ(ir::to_string(import(b).graph->find_value("y")->shape()), "[Batch_size,s1 + s_1]");
}

TEST(OnnxImport, AxesWithoutANameAreBatchAndSeq) {
  ModelBuilder b;
  b.input("input_ids", kInt64, {"?", "?"}).input("attention_mask", kInt64, {"-1", "?"});
  b.node("Mul", {"input_ids", "attention_mask"}, {"y"});
  b.output("y");
  EXPECT_EQ(ir::to_string(import(b).graph->find_value("y")->shape()), "[batch,seq]");
}

TEST(OnnxImport, InputsThatMeetElementwiseShareTheirSymbols) {
  ModelBuilder b;
  b.input("a", kFloat, {"a0", "a1"}).input("b", kFloat, {"b0", "b1"});
  b.node("Add", {"a", "b"}, {"y"});
  b.output("y");
  const ir::Model model = import(b);
  EXPECT_EQ(model.graph->inputs()[0]->shape(), model.graph->inputs()[1]->shape());
}

TEST(OnnxImport, GivenShapesReplaceThoseOfTheFile) {
  ModelBuilder b;
  b.input("x", kFloat, {"batch", "4"});
  b.graph.mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  b.node("Relu", {"x"}, {"y"});
  b.output("y");
  EXPECT_THAT(import_error(b), HasSubstr("unknown rank"));
  ImportOptions options;
  options.input_shapes["x"] = {ir::Dim::symbol("n"), ir::Dim(4)};
  EXPECT_EQ(ir::to_string(import(b, options).graph->find_value("y")->shape()), "[n,4]");
  options.input_shapes["z"] = {};
  EXPECT_THAT(b.import("", options).status().message(), HasSubstr("'z', which is no input"));
}

TEST(OnnxImport, ShapeArithmeticIsResolved) {
  ModelBuilder b;
  b.input("x", kFloat, {"batch", "seq", "8"})
      .ints("two", {2})
      .ints("minus", {-1})
      .tensor("zero", kInt64, {})
      .add_int64_data(0);
  b.tensor("one", kInt64, {}).add_int64_data(1);
  b.node("Shape", {"x"}, {"shape"});
  b.node("Gather", {"shape", "zero"}, {"batch"}, {int_attribute("axis", 0)});
  b.node("Gather", {"shape", "one"}, {"seq"}, {int_attribute("axis", 0)});
  b.ints("axis0", {0});
  b.node("Unsqueeze", {"batch", "axis0"}, {"batch1"});
  b.node("Mul", {"seq", "two"}, {"double"});
  b.node("Concat", {"batch1", "double", "minus"}, {"target"}, {int_attribute("axis", 0)});
  b.node("Reshape", {"x", "target"}, {"y"});
  b.output("y");
  EXPECT_EQ(ir::to_string(import(b).graph->find_value("y")->shape()), "[batch,2*seq,4]");
}

TEST(OnnxImport, SizesThatDependOnDataAreUnsupportedAndNameTheNode) {
  ModelBuilder b;
  b.input("x", kFloat, {"4"}).input("shape", kInt64, {"2"});
  b.node("Reshape", {"x", "shape"}, {"y"}).set_name("/view");
  b.output("y");
  const std::string message = import_error(b);
  EXPECT_THAT(message, HasSubstr("Reshape (opset 17)"));
  EXPECT_THAT(message, HasSubstr("must be constant"));
  EXPECT_THAT(message, HasSubstr("'/view'"));
}

TEST(OnnxImport, ATableSlicedToASymbolLimitsTheSymbol) {
  ModelBuilder b;
  b.input("ids", kInt64, {"batch", "seq"}).ints("from", {0}).ints("axis", {1}).ints("i", {1});
  b.tensor("positions", kInt64, {1, 512}).set_raw_data(std::string(512 * 8, '\0'));
  b.node("Shape", {"ids"}, {"shape"});
  b.node("Gather", {"shape", "i"}, {"seq"});
  b.node("Slice", {"positions", "from", "seq", "axis"}, {"y"});
  b.output("y");
  const ir::Model model = import(b);
  EXPECT_EQ(ir::to_string(model.graph->find_value("y")->shape()), "[1,seq]");
  EXPECT_EQ(model.properties.at("limit.seq"), "512");
}

// ---- Weights
// ---------------------------------------------------------------------------------------------------------

TEST(OnnxImport, EveryFieldOfEveryTypeIsRead) {
  struct Field {
    int type;
    DType dtype;
    void (*fill)(onnx_pb::TensorProto&);
    double value;
  };
  const Field fields[] = {
      {kFloat, DType::kF32, [](auto& t) { t.add_float_data(1.5f); }, 1.5},
      {kDouble, DType::kF64, [](auto& t) { t.add_double_data(1.5); }, 1.5},
      {kInt64, DType::kI64, [](auto& t) { t.add_int64_data(-7); }, -7},
      {kInt32, DType::kI32, [](auto& t) { t.add_int32_data(-7); }, -7},
      {kInt8, DType::kI8, [](auto& t) { t.add_int32_data(-7); }, -7},
      {kUInt8, DType::kU8, [](auto& t) { t.add_int32_data(200); }, 200},
      {4, DType::kU16, [](auto& t) { t.add_int32_data(60000); }, 60000},
      {5, DType::kI16, [](auto& t) { t.add_int32_data(-300); }, -300},
      {12, DType::kU32, [](auto& t) { t.add_uint64_data(4000000000u); }, 4e9},
      {13, DType::kU64, [](auto& t) { t.add_uint64_data(4000000000u); }, 4e9},
      {kBool, DType::kBool, [](auto& t) { t.add_int32_data(1); }, 1},
      {kHalf, DType::kF16, [](auto& t) { t.add_int32_data(0x3E00); }, 1.5},
      {kBrain, DType::kBF16, [](auto& t) { t.add_int32_data(0x3FC0); }, 1.5},
      {kHalf, DType::kF16, [](auto& t) { t.set_raw_data(std::string("\x00\x3E", 2)); }, 1.5},
      {kFloat, DType::kF32, [](auto& t) { t.set_raw_data(std::string("\x00\x00\xC0\x3F", 4)); }, 1.5},
  };
  for (const Field& field : fields) {
    ModelBuilder b;
    field.fill(b.tensor("w", field.type, {1}));
    b.node("Identity", {"w"}, {"y"});
    b.output("y");
    const ir::Model model = import(b);
    ASSERT_EQ(model.graph->outputs().size(), 1u);
    const ir::Tensor* tensor = model.graph->outputs()[0].value->constant();
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->dtype(), field.dtype);
    EXPECT_EQ(tensor->at(0), field.value) << dtype_name(field.dtype);
  }
}

TEST(OnnxImport, AnInputWithAnInitializerIsAWeight) {
  ModelBuilder b;
  b.input("x", kFloat, {"2"}).input("w", kFloat, {"2"}).floats("w", {2}, {3, 4});
  b.node("Mul", {"x", "w"}, {"y"});
  b.output("y");
  EXPECT_EQ(import(b).graph->inputs().size(), 1u);
  EXPECT_THAT(run(b, {floats({2}, {1, 2})}), ElementsAre(3, 8));
}

TEST(OnnxImport, UnusedNodesAndWeightsAreLeftOut) {
  ModelBuilder b;
  b.input("x", kFloat, {"2"}).floats("unused", {2}, {3, 4});
  b.node("NonMaxSuppression", {"x", "unused"}, {"nobody"});
  b.node("Relu", {"x"}, {"y"});
  b.output("y");
  EXPECT_EQ(import(b).graph->nodes().size(), 1u);
}

TEST(OnnxImport, NodesMayStandInAnyOrder) {
  ModelBuilder b;
  b.input("x", kFloat, {"2"});
  b.node("Neg", {"a"}, {"y"});
  b.node("Exp", {"x"}, {"a"});
  b.output("y");
  EXPECT_THAT(run(b, {floats({2}, {0, 0})}), ElementsAre(-1, -1));
}

TEST(OnnxImport, ExternalDataIsMappedAndAligned) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("tenon_import_" + std::to_string(std::random_device{}()));
  std::filesystem::create_directories(folder);
  const float data[5] = {0, 1, 2, 3, 4};
  std::ofstream(folder / "w.bin", std::ios::binary).write(reinterpret_cast<const char*>(data), sizeof(data));
  ModelBuilder b;
  set_external(b.tensor("w", kFloat, {4}), "w.bin", "4", "16");
  set_external(b.tensor("odd", kFloat, {2}), "w.bin", "6");
  b.node("Identity", {"w"}, {"y"});
  b.node("Identity", {"odd"}, {"z"});
  b.output("y").output("z");
  const auto model = b.import(folder.string());
  std::filesystem::remove_all(folder);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_THAT(values_of(*model->graph->outputs()[0].value->constant()), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(model->graph->outputs()[1].value->constant()->data()) % 4, 0u);
}

// ---- Functions and control flow
// --------------------------------------------------------------------------------------

onnx_pb::FunctionProto& add_function(ModelBuilder& b, const std::string& name, const std::vector<std::string>& inputs,
                                     const std::string& output) {
  auto& function = *b.model.add_functions();
  function.set_name(name);
  function.set_domain("local");
  for (const auto& input : inputs) function.add_input(input);
  function.add_output(output);
  ModelBuilder::import_opset(function, "", 17);
  ModelBuilder::import_opset(function, "local", 1);
  return function;
}

TEST(OnnxImport, FunctionsAreExpandedWithTheirAttributes) {
  ModelBuilder b;
  ModelBuilder::import_opset(b.model, "local", 1);
  auto& scale = add_function(b, "Scale", {"a"}, "c");
  scale.add_attribute("factor");
  ModelBuilder::add_node(scale, "Constant", {}, {"f"}, {reference_attribute("value_float", "factor", 1)});
  ModelBuilder::add_node(scale, "Mul", {"a", "f"}, {"c"});
  auto& twice = add_function(b, "Twice", {"a"}, "c");
  *twice.add_attribute_proto() = float_attribute("by", 3);
  ModelBuilder::add_node(twice, "Scale", {"a"}, {"t"}, {reference_attribute("factor", "by", 1)}).set_domain("local");
  ModelBuilder::add_node(twice, "Scale", {"t"}, {"c"}, {reference_attribute("factor", "by", 1)}).set_domain("local");
  b.input("x", kFloat, {"2"});
  b.node("Twice", {"x"}, {"a"}).set_domain("local");
  b.node("Twice", {"a"}, {"y"}, {float_attribute("by", 2)}).set_domain("local");
  b.output("y");
  EXPECT_THAT(run(b, {floats({2}, {1, 2})}), ElementsAre(36, 72));
  const ir::Model model = import(b);
  EXPECT_THAT(model.graph->find_value("y")->producer()->origin(), HasSubstr("node_Twice_2/node_Scale_2/node_Mul_2"));
}

TEST(OnnxImport, AFunctionMayLeaveAnInputAbsent) {
  ModelBuilder b;
  ModelBuilder::import_opset(b.model, "local", 1);
  auto& clip = add_function(b, "AtMost", {"a", "low", "high"}, "c");
  ModelBuilder::add_node(clip, "Clip", {"a", "low", "high"}, {"c"});
  b.input("x", kFloat, {"2"}).floats("two", {}, {2});
  b.node("AtMost", {"x", "", "two"}, {"y"}).set_domain("local");
  b.output("y");
  EXPECT_THAT(run(b, {floats({2}, {-1, 7})}), ElementsAre(-1, 2));
}

TEST(OnnxImport, AnIfTakesTheBranchOfItsConstant) {
  ModelBuilder then_branch, else_branch, b;
  ModelBuilder::add_node(then_branch.graph, "Neg", {"x"}, {"r"});
  then_branch.output("r");
  ModelBuilder::add_node(else_branch.graph, "NonMaxSuppression", {"x"}, {"r"});
  else_branch.output("r");
  b.input("x", kFloat, {"seq"}).tensor("one", kInt64, {1}).add_int64_data(1);
  b.node("Shape", {"x"}, {"shape"});
  b.node("GreaterOrEqual", {"shape", "one"}, {"flag"});  // true for every size
  b.node("If", {"flag"}, {"y"},
         {graph_attribute("then_branch", then_branch.graph), graph_attribute("else_branch", else_branch.graph)});
  b.output("y");
  EXPECT_THAT(run(b, {floats({2}, {1, 2})}), ElementsAre(-1, -2));
}

TEST(OnnxImport, ALoopOfAConstantCountIsUnrolled) {
  ModelBuilder body, b;
  body.input("turn", kInt64, {}).input("go", kBool, {}).input("v", kFloat, {"2"});
  ModelBuilder::add_node(body.graph, "Add", {"v", "v"}, {"w"});
  ModelBuilder::add_node(body.graph, "Identity", {"w"}, {"row"});
  body.output("go").output("w").output("row");
  b.input("x", kFloat, {"2"}).tensor("count", kInt64, {}).add_int64_data(3);
  b.node("Loop", {"count", "", "x"}, {"last", "rows"}, {graph_attribute("body", body.graph)});
  b.output("rows");
  EXPECT_THAT(run(b, {floats({2}, {1, 2})}), ElementsAre(2, 4, 4, 8, 8, 16));
}

// ---- What cannot be imported
// -----------------------------------------------------------------------------------------

TEST(OnnxImport, OneErrorListsEverythingUnsupported) {
  ModelBuilder b;
  ModelBuilder::import_opset(b.model, "com.example", 3);
  b.input("x", kFloat, {"2", "3"});
  b.node("Magic", {"x"}, {"a"}).set_domain("com.example");
  b.node("MaxRoiPool", {"a", "x"}, {"c1"}).set_name("pool.one");
  b.node("MaxRoiPool", {"c1", "x"}, {"c2"}).set_name("pool.two");
  b.node("Relu", {"c2"}, {"r"});
  b.node("LpNormalization", {"x"}, {"s"}, {int_attribute("p", 3)});
  b.output("r").output("s");
  const std::string message = import_error(b);
  EXPECT_THAT(message, HasSubstr("com.example.Magic (opset 3): 'node_Magic_1'"));
  EXPECT_THAT(message, HasSubstr("MaxRoiPool (opset 17): 'pool.one', 'pool.two'"));
  EXPECT_THAT(message, HasSubstr("LpNormalization (opset 17), p = 3: 'node_LpNormalization_5'"));
  EXPECT_THAT(message, Not(HasSubstr("Relu")));
}

TEST(OnnxImport, AnOutputThatAnOperatorDoesNotGiveIsUnsupported) {
  ModelBuilder b(15);
  b.input("x", kFloat, {"2", "3"});
  b.node("Relu", {"x"}, {"y", "extra"});
  b.output("extra");
  EXPECT_THAT(import_error(b), HasSubstr("output 1 ('extra') is not supported"));
}

TEST(OnnxImport, OlderOpsetsKeepTheirMeaning) {
  ModelBuilder b(12);
  b.input("x", kFloat, {"1", "2", "2"});
  b.node("Softmax", {"x"}, {"y"});  // over the last two axes together
  b.output("y");
  EXPECT_THAT(run(b, {floats({1, 2, 2}, {1, 1, 1, 1})}), ElementsAre(0.25, 0.25, 0.25, 0.25));
  ModelBuilder c(11);
  c.input("x", kFloat, {"1", "2"});
  c.node("Squeeze", {"x"}, {"s"}, {ints_attribute("axes", {0})});
  c.node("ReduceSum", {"s"}, {"y"}, {ints_attribute("axes", {0}), int_attribute("keepdims", 0)});
  c.output("y");
  EXPECT_THAT(run(c, {floats({1, 2}, {3, 4})}), ElementsAre(7));
  ModelBuilder d(11);
  d.input("x", kFloat, {"1", "2"});
  d.node("Trilu", {"x"}, {"y"});
  d.output("y");
  EXPECT_THAT(import_error(d), HasSubstr("Trilu (opset 11)"));
}

// ---- Survey
// ----------------------------------------------------------------------------------------------------------

TEST(OnnxSurvey, ListsWhatIsInAFileWithoutImportingIt) {
  ModelBuilder b;
  b.input("x", kFloat, {"batch", "4", "?"}).floats("w", {4, 4}, std::vector<float>(16));
  b.node("MatMul", {"x", "w"}, {"a"});
  b.node("MatMul", {"a", "w"}, {"b"});
  b.node("Bernoulli", {"b"}, {"y"}).set_name("coin");
  b.output("y");
  const auto path =
      std::filesystem::temp_directory_path() / ("tenon_survey_" + std::to_string(std::random_device{}()) + ".onnx");
  std::ofstream(path, std::ios::binary) << b.bytes();
  const auto report = survey(path.string());
  std::filesystem::remove(path);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->producer, "test");
  EXPECT_EQ(report->opsets[0], std::pair("" + std::string(), int64_t{17}));
  EXPECT_EQ(report->inputs[0].type, "f32[batch,4,?]");
  ASSERT_EQ(report->operators.size(), 2u);
  EXPECT_EQ(report->operators[0].name, "Bernoulli");
  EXPECT_FALSE(report->operators[0].supported);
  EXPECT_THAT(report->operators[0].nodes, ElementsAre("coin"));
  EXPECT_EQ(report->operators[1].count, 2);
  EXPECT_TRUE(report->operators[1].supported);
  EXPECT_EQ(report->parameters[0].type, "f32[4,4]");
  EXPECT_EQ(report->parameters[0].bytes, 64);
}

TEST(OnnxSurvey, AFileThatIsNotThereOrNoModelIsAnError) {
  EXPECT_EQ(survey("/nonexistent/model.onnx").status().code(), ErrorCode::kNotFound);
  EXPECT_EQ(survey(std::filesystem::temp_directory_path().string()).status().code(), ErrorCode::kIo);
  const auto path =
      std::filesystem::temp_directory_path() / ("tenon_survey_" + std::to_string(std::random_device{}()) + ".onnx");
  std::ofstream(path, std::ios::binary) << "this is not a model";
  EXPECT_EQ(survey(path.string()).status().code(), ErrorCode::kBadModel);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace tenon::onnx::test
