// Operators from shared libraries: loaded, imported, planned, kept in engines, run, and refused in words where they
// fail.
#include <gmock/gmock.h>

#include "builder/builder.h"
#include "engine/reader.h"
#include "ir/text.h"
#include "kernels/kernel.h"
#include "ops/interpret.h"
#include "ops/plugin_host.h"
#include "passes/passes.h"
#include "tests/onnx/model_builder.h"
#include "tests/support/small_models.h"

namespace tenon {
namespace {

using namespace onnx::test;
using testing::HasSubstr;

std::string library(const std::string& name) {
  return std::string(TENON_BINARY_DIR) + "/tests/plugins/" + name + ".so";
}

class Plugins : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (const char* name : {"sample", "layer_norm"}) {
      const Status status = ops::load_plugin_library(library(name));
      ASSERT_TRUE(status.ok()) << status.message();
    }
  }

  // One node of domain "test" between x [batch, 3] and y; further inputs are optional.
  static Result<ir::Model> model_of(const std::string& op, const std::vector<onnx_pb::AttributeProto>& attributes = {},
                                    const std::vector<std::string>& inputs = {"x"},
                                    const std::vector<std::string>& outputs = {"y"}) {
    ModelBuilder builder;
    ModelBuilder::import_opset(builder.model, "test", 1);
    builder.input("x", kFloat, {"batch", "3"}).floats("w", {3}, {1.5F, -2, 0.25F});
    if (std::ranges::count(inputs, "r") > 0) builder.input("r", kFloat, {"batch", "3"});
    builder.node(op, inputs, outputs, attributes).set_domain("test");
    for (const std::string& name : outputs) builder.output(name);
    return builder.import();
  }

  static std::string throwing(const std::string& where) {
    const auto model = model_of("Throws", {text_attribute("where", where)});
    if (!model.ok()) return model.status().message();
    const TemporaryPathOf path;
    try {
      (void)builder_of(*model, path.str());
      const auto executable = runtime::Executable::load(path.str(), std::make_shared<ThreadPool>(2));
      if (!executable.ok()) return executable.status().message();
      (void)run(*executable, {{"x", rows(2)}});
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kPlugin);
      return e.what();
    }
    return "";
  }

  struct TemporaryPathOf : test::TemporaryPath {
    TemporaryPathOf() : TemporaryPath("plugin.tenon") {}
  };

  static BuildReport builder_of(const ir::Model& model, const std::string& path, const BuilderConfig& config = {}) {
    ir::Model copy;
    copy.source = "test";
    copy.graph = model.graph->clone();
    return value_or_throw(builder::build(std::move(copy), "", path, config));
  }

  static ir::Tensor rows(int64_t count) {
    std::vector<float> values;
    for (int64_t i = 0; i < count * 3; ++i) values.push_back(0.5F * static_cast<float>(i) - 2);
    return ir::Tensor::from(DType::kF32, {count, 3}, values);
  }

  using Named = std::vector<std::pair<std::string, ir::Tensor>>;
  static std::vector<std::vector<double>> run(const std::shared_ptr<const runtime::Executable>& executable,
                                              const Named& inputs) {
    auto context = value_or_throw(runtime::Context::create(executable, {}));
    for (const auto& [name, tensor] : inputs) throw_if_error(context->inputs().set(name, test::view_of(tensor)));
    throw_if_error(context->run());
    std::vector<std::vector<double>> all;
    for (const engine::PlanOutput& out : executable->plan().outputs) {
      const TensorView view = value_or_throw(context->output(out.name));
      int64_t count = 1;
      for (const int64_t d : view.shape) count *= d;
      const ir::Tensor tensor(view.dtype, view.shape, nullptr, static_cast<const std::byte*>(view.data));
      all.emplace_back();
      for (int64_t i = 0; i < count; ++i) all.back().push_back(tensor.at(i));
    }
    return all;
  }

  // Through an engine file, and by the reference loops; the two must agree.
  static std::vector<std::vector<double>> compute(const ir::Model& model, const Named& inputs) {
    const TemporaryPathOf path;
    builder_of(model, path.str());
    const auto results =
        run(value_or_throw(runtime::Executable::load(path.str(), std::make_shared<ThreadPool>(2))), inputs);
    std::vector<ir::Tensor> in_order;
    for (const auto& [name, tensor] : inputs) in_order.push_back(tensor);
    const auto reference = value_or_throw(ops::interpret(*model.graph, in_order));
    for (size_t i = 0; i < reference.size(); ++i)
      for (int64_t k = 0; k < reference[i].numel(); ++k)
        EXPECT_EQ(results[i][static_cast<size_t>(k)], reference[i].at(k));
    return results;
  }
};

// ---- Operators -----------------------------------------------------------------------------------------------------

TEST_F(Plugins, AreGivenEveryKindOfAttribute) {
  onnx_pb::AttributeProto numbers, names, table;
  numbers.set_name("more");
  numbers.set_type(6);
  numbers.add_floats(0.5F);
  numbers.add_floats(0.25F);
  names.set_name("names");
  names.set_type(8);
  names.add_strings("four");
  table.set_name("table");
  table.set_type(4);
  table.mutable_t()->set_data_type(kFloat);
  table.mutable_t()->add_dims(1);
  table.mutable_t()->add_float_data(100);
  const auto model =
      model_of("Affine", {float_attribute("factor", 2), int_attribute("shift", 10), numbers,
                          ints_attribute("steps", {1, 2}), names, table, text_attribute("sign", "minus")});
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(compute(*model, {{"x", rows(2)}})[0],
            (std::vector<double>{121.75, 120.75, 119.75, 118.75, 117.75, 116.75}));
}

TEST_F(Plugins, GiveSeveralOutputsWithSizesByExpressions) {
  const auto model = model_of("Twice", {}, {"x", "", "r"}, {"y", "count"});
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->graph->outputs()[0].value->type().to_string(), "f32[2*batch,3]");
  const auto results = compute(*model, {{"x", rows(1)}, {"r", rows(1)}});
  EXPECT_EQ(results[0], (std::vector<double>{-4, -3, -2, -4, -3, -2}));
  EXPECT_EQ(results[1], std::vector<double>{3});
}

TEST_F(Plugins, PackTheirWeightsWhenTheEngineIsBuilt) {
  const auto model = model_of("Packed", {}, {"x", "w"});
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(compute(*model, {{"x", rows(1)}})[0], (std::vector<double>{-3, 3, -0.25}));
  const TemporaryPathOf path;
  builder_of(*model, path.str());
  const auto file = value_or_throw(engine::EngineFile::open(path.str()));
  EXPECT_EQ(file->plan().weights[0].layout, "plugin.host");
  EXPECT_EQ(file->plan().weights[0].bytes, 24U);
  // A factor that is computed has no packed form.
  const auto variable = model_of("Packed", {}, {"x", "x"});
  EXPECT_THROW(builder_of(*variable, path.str()), Error);
}

TEST_F(Plugins, OfConstantsAreEvaluatedWhenTheEngineIsBuilt) {
  const auto model = model_of("Affine", {float_attribute("factor", 2)}, {"w"});
  const TemporaryPathOf path;
  builder_of(*model, path.str());
  EXPECT_TRUE(value_or_throw(engine::EngineFile::open(path.str()))->plan().steps.empty());
}

TEST_F(Plugins, StayInTheTypesTheyWereAskedAboutWhenFloatsAreLowered) {
  const auto model = model_of("Affine", {float_attribute("factor", 2)});
  std::vector<passes::Decision> decisions;
  ASSERT_TRUE(passes::lower_precision(*model->graph, DType::kF16, decisions).ok());
  ASSERT_TRUE(ops::verify(*model->graph).ok());
  EXPECT_THAT(ir::print(*model->graph), HasSubstr("%y: f32[batch,3] = plugin("));
}

TEST_F(Plugins, TakeThePlaceOfAFunctionThatTheModelBrings) {
  ModelBuilder builder;
  ModelBuilder::import_opset(builder.model, "test", 1);
  auto& function = *builder.model.add_functions();
  function.set_domain("test");
  function.set_name("Affine");
  function.add_input("a");
  function.add_output("b");
  ModelBuilder::import_opset(function, "", 17);
  ModelBuilder::add_node(function, "Neg", {"a"}, {"b"});
  builder.input("x", kFloat, {"batch", "3"})
      .output("y")
      .node("Affine", {"x"}, {"y"}, {float_attribute("factor", 3)})
      .set_domain("test");
  const auto model = builder.import();
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE(model->graph->find_value("y")->is(ir::Op::k_plugin));
}

TEST_F(Plugins, CanBeWhatAPatternPutsInPlace) {
  const auto rules = passes::parse_patterns(
      "pattern p { %m = mul(%x, $c) %y = add(%m, $d) return %y } => { %z = \"test.Affine\"(%x) {factor = $c, more = "
      "numbers[0.5], shift = 1} return %z }\n"
      "pattern q { %y = \"test.Affine\"(%x) return %y } where rank(%x) == 2 => { %a = \"test.Affine\"(%x) {factor = 1} "
      "%z = relu(%a) return %z }",
      "f");
  ASSERT_TRUE(rules.ok()) << rules.status().message();
  auto graph = value_or_throw(ops::parse_graph(
      "graph @g(%x: f32[batch,3]) { %c = constant {name = \"\", value = tensor f32[] 2.0} %m = mul(%x, %c) "
      "%y = add(%m, %c) return \"y\" = %y }"));
  std::vector<passes::Decision> decisions;
  for (const auto& rule : *rules) ASSERT_TRUE(passes::apply_pattern(*graph, rule, decisions).ok());
  ASSERT_EQ(decisions.size(), 2U);
  for (const auto& d : decisions) EXPECT_TRUE(d.applied) << d.reason;
  EXPECT_TRUE(graph->find_value("y")->is(ir::Op::k_relu)) << ir::print(*graph);
  EXPECT_EQ(graph->nodes().size(), 2U) << ir::print(*graph);
}

TEST_F(Plugins, OfTheExampleNormaliseAsTenonDoes) {
  const std::string norm = "%y = layer_norm(%x, %g, %b) {axis = -1, epsilon = 0.001} return \"y\" = %y }";
  for (const int64_t width : {1, 7, 127, 129}) {
    test::Random random(static_cast<uint64_t>(width));
    auto graph = test::graph_from(
        fmt::format("graph @g(%x: f32[batch,seq,{0}]) {{ %g = constant {{name = \"g\", value = tensor f32[{0}]}} "
                    "%b = constant {{name = \"b\", value = tensor f32[{0}]}} ",
                    width) +
            norm,
        random);
    const ir::Tensor x = random.tensor(DType::kF32, {2, 3, width}, -2, 2);
    const auto expected = value_or_throw(ops::interpret(*graph, std::vector{x}))[0];
    const auto rules = value_or_throw(
        passes::read_patterns(std::string(TENON_SOURCE_DIR) + "/examples/plugin_layer_norm/layer_norm.patterns"));
    std::vector<passes::Decision> decisions;
    ASSERT_TRUE(passes::apply_pattern(*graph, rules[0], decisions).ok());
    ASSERT_TRUE(graph->find_value("y")->is(ir::Op::k_plugin)) << decisions[0].reason;
    const auto results = run(test::executable_of(*graph, {}, 2), {{"x", x}});
    for (int64_t i = 0; i < expected.numel(); ++i)
      EXPECT_NEAR(results[0][static_cast<size_t>(i)], expected.at(i), 1e-5);
  }
}

// ---- What fails, says why
// --------------------------------------------------------------------------------------------

TEST_F(Plugins, ThatThrowAreNamedWithTheirNodeAndCause) {
  for (const char* where :
       {"create", "outputs", "refuses", "serialize", "packed_bytes", "restore", "workspace", "run", "parallel_for"}) {
    const std::string message = throwing(where);
    EXPECT_THAT(message, HasSubstr("test.Throws")) << where;
    EXPECT_THAT(message, HasSubstr(std::string("thrown in ") + where));
    EXPECT_THAT(message, HasSubstr("Throws_1")) << "the node's name";
  }
  EXPECT_THAT(throwing("nothing"), HasSubstr("an exception of unknown type"));
  EXPECT_THAT(throwing("bad-dims"), HasSubstr("bad dimension \"1 +\""));
  EXPECT_THAT(throwing("bad-type"), HasSubstr("output of unknown type 99"));
  EXPECT_THAT(throwing("none"), HasSubstr("0 outputs"));
  EXPECT_THAT(throwing("refused"), HasSubstr("it refuses everything"));
  EXPECT_THAT(throwing("device-only"), HasSubstr("it runs on GPUs only"));
  EXPECT_EQ(throwing("nowhere"), "");
}

TEST_F(Plugins, WithWrongAttributesAreRefused) {
  EXPECT_THAT(model_of("Affine").status().message(), HasSubstr("plugin test.Affine 1: attribute 'factor' is missing"));
  EXPECT_THAT(model_of("Affine", {text_attribute("factor", "2")}).status().message(),
              HasSubstr("attribute 'factor' is of another kind"));
  EXPECT_THAT(model_of("Affine", {float_attribute("factor", 1)}, {"x"}, {"y", "z"}).status().message(),
              HasSubstr("has 1 outputs, the node 2"));
}

TEST(PluginLibraries, ThatAreNoneAreRefused) {
  ASSERT_TRUE(ops::load_plugin_library(library("sample")).ok());
  EXPECT_TRUE(ops::load_plugin_library(library("sample")).ok()) << "loading again changes nothing";
  const auto message = [](const std::string& path) { return ops::load_plugin_library(path).message(); };
  EXPECT_THAT(message(library("missing")), HasSubstr("missing.so: no such plugin library"));
  EXPECT_THAT(message(std::string(TENON_SOURCE_DIR) + "/README.md"), HasSubstr("README.md: it cannot be loaded"));
  EXPECT_THAT(message(library("no_entry")), HasSubstr("it is no plugin of Tenon: it has no tenon_plugin_entry()"));
  EXPECT_THAT(message(library("other_abi")),
              HasSubstr("built for version 42 of the plugin interface, this Tenon has version 1"));
  EXPECT_THAT(message(library("conflicting")),
              testing::ContainsRegex("it defines test.Affine, which .*sample.so has defined already"));
  EXPECT_THAT(message(library("other_abi")), HasSubstr("version 42")) << "a refused library is refused again";
}

// ---- Engines
// ---------------------------------------------------------------------------------------------------------

class PluginEngines : public Plugins {
 protected:
  // An engine with one plugin step whose attributes are changed before it is written.
  static Status load_changed(const std::function<void(ir::Attrs&)>& change, std::string* listed = nullptr) {
    const auto model = model_of("Affine", {float_attribute("factor", 2)});
    auto planned = value_or_throw(plan::make_plan(*model->graph));
    change(planned.plan.steps[0].attrs);
    const TemporaryPathOf path;
    value_or_throw(engine::write_engine(path.str(), planned.plan, {}, [&](int i) { return planned.make_weight(i); }));
    const auto file = engine::EngineFile::open(path.str());
    if (file.ok() && listed != nullptr) *listed = engine::plugins_of((*file)->plan())[0].name;
    return runtime::Executable::load(path.str(), std::make_shared<ThreadPool>(1)).status();
  }
};

TEST_F(PluginEngines, SayWhichPluginsTheyNeedAndHowToGiveThem) {
  std::string listed;
  const Status status = load_changed([](ir::Attrs& a) { a.set("operator", std::string("acme.Absent")); }, &listed);
  EXPECT_EQ(status.code(), ErrorCode::kPlugin);
  EXPECT_THAT(status.message(), HasSubstr("needs plugins that are not loaded: acme.Absent version 1 of library sample. "
                                          "Give their libraries with --plugins"));
  EXPECT_EQ(listed, "acme.Absent") << "reading needs no library";
  const Status version = load_changed([](ir::Attrs& a) { a.set("version", std::string("9")); });
  EXPECT_THAT(version.message(),
              testing::ContainsRegex("test.Affine version 9 of library sample \\(.*sample.so has version 1\\)"));
}

TEST_F(PluginEngines, WithDamagedManifestsAreRefused) {
  const auto refused = [](const std::string& name, const ir::AttrValue& value) {
    return load_changed([&](ir::Attrs& a) { a.set(name, value); }).message();
  };
  EXPECT_THAT(refused("state", std::string("00")), HasSubstr("the state has 1 bytes"));
  EXPECT_THAT(refused("state", std::string("xy")), HasSubstr("the state of plugin test.Affine is damaged"));
  EXPECT_THAT(refused("state", std::string(3 << 20, '0')), HasSubstr("is damaged"));
  EXPECT_THAT(refused("state", std::string("\0\0", 2)), HasSubstr("is damaged"));
  EXPECT_THAT(refused("dtypes", std::string("f33")), HasSubstr("unknown type 'f33'"));
  EXPECT_THAT(refused("dtypes", std::string("f16")), HasSubstr("expected f16[batch,3]"));
  EXPECT_THAT(refused("ranks", std::vector<int64_t>{-1}), HasSubstr("output 0 of rank -1"));
  EXPECT_THAT(refused("ranks", std::vector<int64_t>{int64_t{1} << 40}), HasSubstr("output 0 of rank"));
  EXPECT_THAT(refused("dims", ir::Shape{ir::Dim(3)}), HasSubstr("output 0 of rank 2"));
  EXPECT_THAT(refused("dims", ir::Shape{ir::Dim(3), ir::Dim(3), ir::Dim(3)}),
              HasSubstr("3 sizes for ranks that sum to 2"));
  EXPECT_EQ(load_changed([](ir::Attrs&) {}).message(), "");
}

}  // namespace
}  // namespace tenon
