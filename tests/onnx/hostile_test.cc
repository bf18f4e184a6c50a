// Files that are damaged or made to harm: every one gives an error or imports, none crashes (run under asan + ubsan).
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "tests/onnx/model_builder.h"

namespace tenon::onnx::test {
namespace {

namespace fs = std::filesystem;

// A model with the features that a file may be damaged in: weights, symbolic sizes, shape arithmetic, a function, a
// subgraph.
void build_sound(ModelBuilder& b) {
  b.input("x", kFloat, {"batch", "seq", "4"});
  b.floats("w", {4, 4}, std::vector<float>(16, 0.5f)).ints("shape", {0, -1, 2, 2});
  b.tensor("flag", kBool, {}).add_int32_data(1);
  b.node("MatMul", {"x", "w"}, {"y"});
  b.node("Reshape", {"y", "shape"}, {"z"});
  b.node("Softmax", {"z"}, {"s"}, {int_attribute("axis", -1)});
  ModelBuilder::import_opset(b.model, "local", 1);
  auto& function = *b.model.add_functions();
  function.set_name("Scale");
  function.set_domain("local");
  function.add_input("a");
  function.add_output("b");
  function.add_attribute("factor");
  ModelBuilder::import_opset(function, "", 17);
  ModelBuilder::add_node(function, "Constant", {}, {"f"}, {reference_attribute("value_float", "factor", 1)});
  ModelBuilder::add_node(function, "Mul", {"a", "f"}, {"b"});
  b.node("Scale", {"s"}, {"t"}, {float_attribute("factor", 2)}).set_domain("local");
  ModelBuilder then_branch, else_branch;
  ModelBuilder::add_node(then_branch.graph, "Relu", {"t"}, {"r"});
  then_branch.output("r");
  ModelBuilder::add_node(else_branch.graph, "Neg", {"t"}, {"n"});
  else_branch.output("n");
  b.node("If", {"flag"}, {"out"},
         {graph_attribute("then_branch", then_branch.graph), graph_attribute("else_branch", else_branch.graph)});
  b.output("out");
}

std::string sound_bytes() {
  ModelBuilder b;
  build_sound(b);
  return b.bytes();
}

TEST(OnnxHostile, TheSoundModelImports) {
  const auto model = ModelBuilder::import_text(sound_bytes());
  ASSERT_TRUE(model.ok()) << model.status().message();
}

TEST(OnnxHostile, TruncationAnywhereIsAnErrorOrAModel) {
  const std::string bytes = sound_bytes();
  int errors = 0;
  for (size_t length = 0; length < bytes.size(); ++length) {
    const auto model = ModelBuilder::import_text(bytes.substr(0, length));
    if (model.ok()) continue;
    ++errors;
    EXPECT_FALSE(model.status().message().empty());
  }
  EXPECT_GT(errors, static_cast<int>(bytes.size()) * 9 / 10);
}

TEST(OnnxHostile, FlippedBitsAreErrorsOrModels) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string bytes = sound_bytes();
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = bytes;
    for (unsigned flips = 1 + random() % 4; flips > 0; --flips)
      damaged[random() % damaged.size()] ^= static_cast<char>(1u << (random() % 8));
    const auto model = ModelBuilder::import_text(damaged);
    EXPECT_NE(model.status().code(), ErrorCode::kInternal) << model.status().message();
  }
}

struct Variant {
  const char* name;
  void (*spoil)(ModelBuilder&);
  const char* message;  // a part of the error; null: anything but a crash
};

onnx_pb::TensorProto& weight(ModelBuilder& b) { return *b.graph.mutable_initializer(0); }

// Functions that call each other `depth` times, doubling each time.
void add_doubling_functions(ModelBuilder& b, int depth) {
  ModelBuilder::import_opset(b.model, "bomb", 1);
  for (int i = 0; i < depth; ++i) {
    auto& function = *b.model.add_functions();
    function.set_name("F" + std::to_string(i));
    function.set_domain("bomb");
    function.add_input("a");
    function.add_output("c");
    ModelBuilder::import_opset(function, "", 17);
    ModelBuilder::import_opset(function, "bomb", 1);
    const std::string inner = i + 1 < depth ? "F" + std::to_string(i + 1) : "Relu";
    const std::string domain = i + 1 < depth ? "bomb" : "";
    ModelBuilder::add_node(function, inner, {"a"}, {"b"}).set_domain(domain);
    ModelBuilder::add_node(function, inner, {"b"}, {"c"}).set_domain(domain);
  }
  b.node("F0", {"x"}, {"boom"}).set_domain("bomb");
  b.output("boom");
}

const Variant kVariants[] = {
    {"no graph", [](ModelBuilder& b) { b.model.clear_graph(); }, "no graph"},
    {"no outputs", [](ModelBuilder& b) { b.graph.clear_output(); }, "no outputs"},
    {"no opset", [](ModelBuilder& b) { b.model.clear_opset_import(); }, "no opset of domain"},
    {"opset 0", [](ModelBuilder& b) { b.model.mutable_opset_import(0)->set_version(0); }, "does not exist"},
    {"opset -1", [](ModelBuilder& b) { b.model.mutable_opset_import(0)->set_version(-1); }, "does not exist"},
    {"opset 6", [](ModelBuilder& b) { b.model.mutable_opset_import(0)->set_version(6); }, "opsets 7 to 28"},
    {"opset 999", [](ModelBuilder& b) { b.model.mutable_opset_import(0)->set_version(999); }, "opsets 7 to 28"},
    {"opset twice", [](ModelBuilder& b) { ModelBuilder::import_opset(b.model, "ai.onnx", 17); }, "imported twice"},
    {"unknown domain", [](ModelBuilder& b) { b.graph.mutable_node(0)->set_domain("nobody"); },
     "no opset of domain 'nobody'"},
    {"cycle", [](ModelBuilder& b) { b.graph.mutable_node(0)->set_input(0, "s"); }, "cycle"},
    {"cycle of one", [](ModelBuilder& b) { b.graph.mutable_node(0)->set_input(0, "y"); }, "cycle"},
    {"missing input", [](ModelBuilder& b) { b.graph.mutable_node(0)->set_input(0, "nothing"); },
     "'nothing' is not an input"},
    {"missing output", [](ModelBuilder& b) { b.output("nothing"); }, "'nothing' is not an input"},
    {"output twice", [](ModelBuilder& b) { b.output("out"); }, "listed twice"},
    {"input twice", [](ModelBuilder& b) { b.input("x", kFloat, {"2"}); }, "defined twice"},
    {"input without a name", [](ModelBuilder& b) { b.input("", kFloat, {"2"}); }, "no name"},
    {"input redefined by a node", [](ModelBuilder& b) { b.graph.mutable_node(1)->set_output(0, "x"); }, nullptr},
    {"output of two nodes", [](ModelBuilder& b) { b.graph.mutable_node(1)->set_output(0, "y"); },
     "defined by another node"},
    {"node defines a weight", [](ModelBuilder& b) { b.graph.mutable_node(0)->set_output(0, "w"); }, nullptr},
    {"weight twice", [](ModelBuilder& b) { b.floats("w", {1}, {1}); }, "defined twice"},
    {"weight without a name", [](ModelBuilder& b) { weight(b).clear_name(); }, "no name"},
    {"too few inputs", [](ModelBuilder& b) { b.graph.mutable_node(0)->mutable_input()->RemoveLast(); },
     "input 1 is missing"},
    {"empty required input", [](ModelBuilder& b) { b.graph.mutable_node(0)->set_input(1, ""); }, "input 1 is missing"},
    {"too many inputs", [](ModelBuilder& b) { b.graph.mutable_node(0)->add_input("x"); }, nullptr},
    {"no op type", [](ModelBuilder& b) { b.graph.mutable_node(0)->clear_op_type(); }, "does not support"},
    {"nothing has a name",
     [](ModelBuilder& b) {
       for (auto& node : *b.graph.mutable_node()) node.clear_name();
     },
     nullptr},
    {"input of no type", [](ModelBuilder& b) { b.graph.mutable_input(0)->clear_type(); }, "no tensors"},
    {"input of no rank",
     [](ModelBuilder& b) { b.graph.mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape(); },
     "unknown rank"},
    {"input of type 0",
     [](ModelBuilder& b) { b.graph.mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(0); },
     "element type"},
    {"input of type 99",
     [](ModelBuilder& b) { b.graph.mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(99); },
     "element type"},
    {"input of strings",
     [](ModelBuilder& b) { b.graph.mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(kString); },
     "STRING"},
    {"input of integers",
     [](ModelBuilder& b) { b.graph.mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(kInt64); },
     "node_MatMul"},
    {"negative axis",
     [](ModelBuilder& b) {
       b.graph.clear_input();
       b.input("x", kFloat, {"-2", "4"});
     },
     "no size"},
    {"huge axis",
     [](ModelBuilder& b) {
       b.graph.clear_input();
       b.input("x", kFloat, {"9223372036854775807", "4"});
     },
     "no size"},
    {"rank 1000",
     [](ModelBuilder& b) {
       b.graph.clear_input();
       b.input("x", kFloat, std::vector<std::string>(1000, "4"));
     },
     nullptr},
    {"negative weight axis", [](ModelBuilder& b) { weight(b).set_dims(0, -4); }, "negative or too large"},
    {"huge weight axes",
     [](ModelBuilder& b) {
       weight(b).set_dims(0, int64_t{1} << 62);
       weight(b).set_dims(1, int64_t{1} << 62);
     },
     "too large"},
    {"large weight without data", [](ModelBuilder& b) { weight(b).set_dims(0, int64_t{1} << 40); }, "needs"},
    {"weight too short", [](ModelBuilder& b) { weight(b).mutable_float_data()->RemoveLast(); },
     "16 elements, the file has 15"},
    {"weight too long", [](ModelBuilder& b) { weight(b).add_float_data(1); }, "the file has 17"},
    {"raw weight too short", [](ModelBuilder& b) { weight(b).set_raw_data("abc"); }, "64 bytes, the file has 3"},
    {"weight of another field", [](ModelBuilder& b) { weight(b).set_data_type(kDouble); }, "the file has 0"},
    {"weight of strings", [](ModelBuilder& b) { weight(b).set_data_type(kString); }, "STRING"},
    {"weight of type -1", [](ModelBuilder& b) { weight(b).set_data_type(-1); }, "not an element type"},
    {"weight of complex numbers", [](ModelBuilder& b) { weight(b).set_data_type(14); }, "COMPLEX64"},
    {"weight of another shape",
     [](ModelBuilder& b) {
       weight(b).set_dims(0, 2);
       weight(b).set_dims(1, 8);
     },
     "node_MatMul"},
    {"external without a location", [](ModelBuilder& b) { set_external(weight(b), ""); }, "no location"},
    {"external from memory", [](ModelBuilder& b) { set_external(weight(b), "w.bin"); }, "does not come from a folder"},
    {"reshape to nothing that fits", [](ModelBuilder& b) { b.graph.mutable_initializer(1)->set_int64_data(1, 7); },
     nullptr},
    {"reshape with two unknown sizes", [](ModelBuilder& b) { b.graph.mutable_initializer(1)->set_int64_data(0, -1); },
     "more than one size"},
    {"reshape to a negative size", [](ModelBuilder& b) { b.graph.mutable_initializer(1)->set_int64_data(0, -7); },
     "negative"},
    {"reshape to a huge size", [](ModelBuilder& b) { b.graph.mutable_initializer(1)->set_int64_data(0, INT64_MAX); },
     nullptr},
    {"reshape copies what is not there", [](ModelBuilder& b) { b.graph.mutable_initializer(1)->set_int64_data(3, 0); },
     "does not have"},
    {"attribute of another type",
     [](ModelBuilder& b) { *b.graph.mutable_node(2)->mutable_attribute(0) = float_attribute("axis", 1); }, "has type"},
    {"axis out of range", [](ModelBuilder& b) { b.graph.mutable_node(2)->mutable_attribute(0)->set_i(99); },
     "out of range"},
    {"least axis", [](ModelBuilder& b) { b.graph.mutable_node(2)->mutable_attribute(0)->set_i(INT64_MIN); },
     "out of range"},
    {"function calls itself",
     [](ModelBuilder& b) {
       auto& function = *b.model.mutable_functions(0);
       ModelBuilder::import_opset(function, "local", 1);
       function.mutable_node(1)->set_op_type("Scale");
       function.mutable_node(1)->set_domain("local");
       function.mutable_node(1)->mutable_input()->RemoveLast();
     },
     "calls itself"},
    {"function twice", [](ModelBuilder& b) { *b.model.add_functions() = onnx_pb::FunctionProto(b.model.functions(0)); },
     "defined twice"},
    {"function of too few outputs", [](ModelBuilder& b) { b.graph.mutable_node(3)->add_output("more"); }, "outputs"},
    {"function of too few inputs", [](ModelBuilder& b) { b.graph.mutable_node(3)->add_input("x"); }, "inputs"},
    {"function misses its attribute", [](ModelBuilder& b) { b.graph.mutable_node(3)->clear_attribute(); },
     "without a value"},
    {"function output undefined", [](ModelBuilder& b) { b.model.mutable_functions(0)->set_output(0, "ghost"); },
     "'ghost' is not an input"},
    {"functions that double", [](ModelBuilder& b) { add_doubling_functions(b, 40); }, "more than"},
    {"functions 100 deep", [](ModelBuilder& b) { add_doubling_functions(b, 100); }, "deep"},
    {"if without a branch", [](ModelBuilder& b) { b.graph.mutable_node(4)->clear_attribute(); }, "branch is missing"},
    {"if of no outputs",
     [](ModelBuilder& b) { b.graph.mutable_node(4)->mutable_attribute(0)->mutable_g()->clear_output(); }, "outputs"},
    {"loop without end",
     [](ModelBuilder& b) {
       ModelBuilder body;
       body.input("i", kInt64, {}).input("go", kBool, {}).input("v", kFloat, {});
       body.output("go").output("v");
       b.node("Loop", {"", "", "x"}, {"looped"}, {graph_attribute("body", body.graph)});
       b.output("looped");
     },
     "turns"},
    {"range of too many steps",
     [](ModelBuilder& b) {
       b.floats("a", {}, {0}).floats("end", {}, {1e30f}).floats("d", {}, {1});
       b.node("Range", {"a", "end", "d"}, {"range"});
       b.output("range");
     },
     "a range from"},
    {"range of step 0",
     [](ModelBuilder& b) {
       b.ints("a", {0}).ints("end", {9}).ints("d", {0});
       b.node("Range", {"a", "end", "d"}, {"range"});
       b.output("range");
     },
     "step is 0"},
    {"slice by step 0",
     [](ModelBuilder& b) {
       b.ints("a", {0}).ints("end", {9}).ints("d", {0});
       b.node("Slice", {"x", "a", "end", "a", "d"}, {"slice"});
       b.output("slice");
     },
     "step is 0"},
    {"slice by the least step",
     [](ModelBuilder& b) {
       b.ints("a", {INT64_MAX}).ints("end", {INT64_MIN}).ints("d", {INT64_MIN}).ints("axis", {0});
       b.node("Slice", {"x", "a", "end", "axis", "d"}, {"slice"});
       b.output("slice");
     },
     nullptr},
    {"split into parts of negative size",
     [](ModelBuilder& b) {
       b.ints("parts", {-1, 5});
       b.node("Split", {"x", "parts"}, {"p", "q"}, {int_attribute("axis", 2)});
       b.output("p").output("q");
     },
     nullptr},
    {"pad below nothing",
     [](ModelBuilder& b) {
       b.ints("pads", {0, 0, -100, 0, 0, 0});
       b.node("Pad", {"x", "pads"}, {"pad"});
       b.output("pad");
     },
     nullptr},
    {"transpose of one axis twice",
     [](ModelBuilder& b) {
       b.node("Transpose", {"x"}, {"turned"}, {ints_attribute("perm", {0, 0, 1})});
       b.output("turned");
     },
     "node_Transpose"},
    {"concat of a huge axis",
     [](ModelBuilder& b) {
       b.node("Concat", {"x", "x"}, {"joined"}, {int_attribute("axis", INT64_MAX)});
       b.output("joined");
     },
     "out of range"},
    {"expand of everything",
     [](ModelBuilder& b) {
       b.ints("big", {INT64_MAX, INT64_MAX, INT64_MAX, 1, 1, 1});
       b.node("Expand", {"x", "big"}, {"expanded"});
       b.output("expanded");
     },
     nullptr},
    {"sequence where a tensor is wanted",
     [](ModelBuilder& b) {
       b.node("SequenceConstruct", {"x", "x"}, {"list"});
       b.node("Relu", {"list"}, {"relu"});
       b.output("relu");
     },
     "sequence"},
};

TEST(OnnxHostile, EveryVariantGivesAClearError) {
  EXPECT_GE(std::size(kVariants), 60u);
  for (const Variant& variant : kVariants) {
    SCOPED_TRACE(variant.name);
    ModelBuilder b;
    build_sound(b);
    variant.spoil(b);
    const auto model = b.import();
    if (variant.message == nullptr) continue;
    ASSERT_FALSE(model.ok());
    EXPECT_NE(model.status().message().find(variant.message), std::string::npos) << model.status().message();
    EXPECT_NE(model.status().message().find("<memory>"), std::string::npos) << model.status().message();
  }
}

TEST(OnnxHostile, DeeplyNestedSubgraphsAreRefused) {
  ModelBuilder inner;
  inner.output("x");
  onnx_pb::GraphProto graph = inner.graph;
  for (int depth = 0; depth < 60; ++depth) {
    ModelBuilder outer;
    outer.node("If", {"flag"}, {"x"},
               {graph_attribute("then_branch", graph), graph_attribute("else_branch", onnx_pb::GraphProto())});
    outer.output("x");
    graph = outer.graph;
  }
  ModelBuilder b;
  build_sound(b);
  b.node("If", {"flag"}, {"deep"}, {graph_attribute("then_branch", graph), graph_attribute("else_branch", graph)});
  b.output("deep");
  const auto model = b.import();
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().code(), ErrorCode::kBadModel);
}

// ---- External data
// ---------------------------------------------------------------------------------------------------

class OnnxExternalData : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("tenon_onnx_" + std::to_string(std::random_device{}()));
    fs::create_directories(folder_ / "model");
    write(folder_ / "model" / "w.bin", 64);
    write(folder_ / "secret.bin", 64);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static void write(const fs::path& path, size_t bytes) {
    std::ofstream(path, std::ios::binary) << std::string(bytes, '\0');
  }

  Result<ir::Model> import(const std::string& location, const std::string& offset = "",
                           const std::string& length = "") {
    ModelBuilder b;
    build_sound(b);
    weight(b).clear_float_data();
    set_external(weight(b), location, offset, length);
    const fs::path file = folder_ / "model" / "model.onnx";
    std::ofstream(file, std::ios::binary) << b.bytes();
    return import_file(file.string());
  }
  void refuse(const char* message, const std::string& location, const std::string& offset = "",
              const std::string& length = "") {
    const auto model = import(location, offset, length);
    ASSERT_FALSE(model.ok()) << location << " " << offset << " " << length;
    EXPECT_NE(model.status().message().find(message), std::string::npos) << model.status().message();
    EXPECT_NE(model.status().message().find("tensor 'w'"), std::string::npos) << model.status().message();
    EXPECT_NE(model.status().message().find("model.onnx"), std::string::npos) << model.status().message();
  }

  fs::path folder_;
};

TEST_F(OnnxExternalData, IsReadFromTheModelsFolder) {
  EXPECT_TRUE(import("w.bin").ok());
  EXPECT_TRUE(import("w.bin", "0", "64").ok());
  EXPECT_TRUE(import("./w.bin").ok());
}

TEST_F(OnnxExternalData, IsRefusedOutsideOfTheModelsFolder) {
  fs::create_symlink(folder_ / "secret.bin", folder_ / "model" / "link.bin");
  fs::create_directory_symlink(folder_, folder_ / "model" / "up");
  refuse("outside of the model's folder", "../secret.bin");
  refuse("outside of the model's folder", "a/../../secret.bin");
  refuse("outside of the model's folder", (folder_ / "secret.bin").string());
  refuse("outside of the model's folder", "/etc/passwd");
  refuse("leads outside", "link.bin");
  refuse("leads outside", "up/secret.bin");
  refuse("outside of the model's folder", std::string("w.bin\0/../../secret.bin", 23));
}

TEST_F(OnnxExternalData, IsRefusedWhenItIsNotThereOrTooShort) {
  refuse("cannot be opened", "missing.bin");
  refuse("not a regular file", ".");
  refuse("64 bytes at offset 1 are wanted", "w.bin", "1");
  refuse("which is no size", "w.bin", "-8");
  refuse("which is no size", "w.bin", "12x");
  refuse("which is no size", "w.bin", "99999999999999999999");
  refuse("at offset 9223372036854775807", "w.bin", "9223372036854775807");
  refuse("gives 4", "w.bin", "0", "4");
  refuse("which is no size", "w.bin", "0", "-1");
  write(folder_ / "model" / "empty.bin", 0);
  refuse("has 0 bytes", "empty.bin");
}

}  // namespace
}  // namespace tenon::onnx::test
