#include "ops/interpret.h"

#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

using testing::HasSubstr;

std::unique_ptr<ir::Graph> parsed(const std::string& text) {
  auto graph = ops::parse_graph(text);
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  return graph.ok() ? std::move(graph).value() : std::make_unique<ir::Graph>();
}

TEST(Interpret, RunsAGraphAndReturnsOutputsInOrder) {
  const auto graph = parsed(
      "graph @g(%x: f32[n,2], %y: f32[n,2]) {\n"
      "  %s = add(%x, %y)\n"
      "  %p = mul(%s, %s)\n"
      "  return \"p\" = %p, \"s\" = %s, \"again\" = %s, \"x\" = %x\n}\n");
  const Tensor x = floats({1, 2}, {1, 2}), y = floats({1, 2}, {3, 4});
  const auto result = ops::interpret(*graph, std::vector<Tensor>{x, y});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_TRUE(close((*result)[0], floats({1, 2}, {16, 36})));
  EXPECT_TRUE(close((*result)[1], floats({1, 2}, {4, 6})));
  EXPECT_TRUE((*result)[2].same_bytes((*result)[1]));
  EXPECT_TRUE((*result)[3].same_bytes(x));
}

TEST(Interpret, ShowsEachNodeWithItsOutputs) {
  const auto graph = parsed("graph @g(%x: f32[n]) {\n  %a = neg(%x)\n  %b = abs(%a)\n  return \"b\" = %b\n}\n");
  std::vector<std::string> seen;
  ops::InterpretOptions options;
  options.observe = [&](const ir::Node& node, std::span<const Tensor> outputs) {
    seen.push_back(fmt::format("{} {}", ir::op_name(node.op()), outputs[0].at(0)));
  };
  ASSERT_TRUE(ops::interpret(*graph, std::vector<Tensor>{floats({1}, {3})}, options).ok());
  EXPECT_THAT(seen, testing::ElementsAre("neg -3", "abs 3"));
}

// Sizes from data: rows are packed by a mask and come back to their places.
TEST(Interpret, BindsDataSymbolsAsSoonAsTheyAreComputed) {
  const auto graph = parsed(
      "graph @g(%m: i64[batch,seq], %x: f32[batch,seq,2]) {\n"
      "  %n = count_tokens(%m)\n"
      "  %o, %b, %e, %g, %p, %k = pack_tokens(%m) {tokens = dims[tokens]}\n"
      "  %f = reshape(%x) {shape = dims[batch*seq,2]}\n"
      "  %r = gather(%f, %g)\n"
      "  %h = neg(%r)\n"
      "  %y = unpack_tokens(%h, %g, %o, %b) {shape = dims[batch,seq]}\n"
      "  symbol tokens = %n <= batch*seq\n"
      "  return \"rows\" = %h, \"y\" = %y\n}\n");
  const Tensor mask = Tensor::from<int64_t>(DType::kI64, {2, 2}, {0, 1, 1, 0});
  const Tensor x = floats({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  const auto result = ops::interpret(*graph, std::vector<Tensor>{mask, x});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_TRUE(close((*result)[0], floats({2, 2}, {-3, -4, -5, -6})));
  EXPECT_TRUE(close((*result)[1], floats({2, 2, 2}, {0, 0, -3, -4, -5, -6, 0, 0})));
}

TEST(Interpret, NamesTheInputThatDoesNotFit) {
  const auto graph = parsed("graph @g(%x: f32[n,2], %y: f32[n,2]) {\n  %s = add(%x, %y)\n  return \"s\" = %s\n}\n");
  const Tensor x = floats({1, 2}, {1, 2});
  const auto message = [&](std::vector<Tensor> inputs) {
    const auto result = ops::interpret(*graph, inputs);
    EXPECT_EQ(result.status().code(), ErrorCode::kBadInput);
    return result.status().message();
  };
  EXPECT_THAT(message({x}), HasSubstr("1 inputs given, 2 expected"));
  EXPECT_THAT(message({x, Tensor::ints({1, 2})}), HasSubstr("input 'y' is i64, f32 expected"));
  EXPECT_THAT(message({x, floats({2}, {1, 2})}), HasSubstr("input 'y' has rank 1, [n,2] expected"));
  EXPECT_THAT(message({x, floats({2, 2}, {1, 2, 3, 4})}), HasSubstr("input 'y': axis 0 is 2, but n = 1 expected"));
  EXPECT_THAT(message({floats({1, 1}, {1}), x}), HasSubstr("input 'x': axis 1 is 1, but 2 expected"));
  EXPECT_THAT(message({x, Tensor(DType::kF32, {1, 2})}), HasSubstr("input 'y' has no data"));
}

TEST(Interpret, ChecksSizesThatInferenceAssumedToBeEqual) {
  const auto graph = std::make_unique<ir::Graph>();
  ir::Value* x = graph->add_input("x", {DType::kF32, {ir::Dim::symbol("n")}});
  ir::Value* y = graph->add_input("y", {DType::kF32, {ir::Dim::symbol("m")}});
  graph->add_output("s", (*ops::create(*graph, Op::k_add, {x, y}))->output());
  EXPECT_TRUE(ops::interpret(*graph, std::vector<Tensor>{floats({1}, {1}), floats({1}, {1})}).ok());
  const auto result = ops::interpret(*graph, std::vector<Tensor>{floats({2}, {1, 1}), floats({3}, {1, 1, 1})});
  EXPECT_THAT(result.status().message(), HasSubstr("n = 2 and m = 3 must be equal"));
}

TEST(Interpret, NamesTheNodeAtFault) {
  const auto graph = parsed("graph @g(%i: i64[n], %t: f32[3,2]) {\n  %e = embedding(%i, %t)  from \"/embed\"\n  return \"e\" = %e\n}\n");
  const auto result = ops::interpret(*graph, std::vector<Tensor>{Tensor::ints({3}), floats({3, 2}, {1, 2, 3, 4, 5, 6})});
  EXPECT_THAT(result.status().message(), HasSubstr("/embed"));
  EXPECT_THAT(result.status().message(), HasSubstr("3 at row 0"));
}

ops::Symbols bound(const std::vector<Shape>& declared, const std::vector<std::vector<int64_t>>& given) {
  std::vector<ops::GivenShape> shapes;
  for (size_t i = 0; i < declared.size(); ++i) shapes.push_back({"x", &declared[i], given[i]});
  const auto symbols = ops::bind_symbols(shapes);
  EXPECT_TRUE(symbols.ok()) << symbols.status().message();
  return symbols.ok() ? *symbols : ops::Symbols();
}

TEST(BindSymbols, SolvesCompositeSizes) {
  const ir::Dim a = ir::Dim::symbol("a"), b = ir::Dim::symbol("b");
  EXPECT_EQ(bound({{a * 2 + 1, b}}, {{9, 5}}), (ops::Symbols{{"a", 4}, {"b", 5}}));
  EXPECT_EQ(bound({{a * b}, {b}}, {{12}, {3}}), (ops::Symbols{{"a", 4}, {"b", 3}}));
  EXPECT_EQ(bound({{ir::Dim::floordiv(a, 2), a + b}, {a}}, {{3, 9}, {7}}), (ops::Symbols{{"a", 7}, {"b", 2}}));
  EXPECT_EQ(bound({{a * a}}, {{9}}), ops::Symbols());  // not linear: left open
}

TEST(BindSymbols, RefusesSizesThatCannotBe) {
  const Shape odd{ir::Dim::symbol("a") * 2 + 1}, twice{ir::Dim::symbol("a"), ir::Dim::symbol("a") * 2};
  const std::vector<int64_t> contradiction{3, 7};
  EXPECT_THAT(ops::bind_symbols(std::vector<ops::GivenShape>{{"x", &twice, contradiction}}).status().message(),
              HasSubstr("input 'x': axis 1 is 7, but 2*a = 6 expected"));
}

TEST(EvaluateConstant, EvaluatesExpressionsOverConstants) {
  const auto graph = parsed(
      "graph @g(%x: f32[n,2]) {\n"
      "  %a = constant {value = tensor f32[2,3] 1, 2, 3, 4, 5, 6}\n"
      "  %t = transpose(%a) {perm = [1, 0]}\n"
      "  %c = concat(%t, %t) {axis = 0}\n"
      "  %d = add(%c, %c)\n"
      "  %y = matmul(%d, %a)\n"
      "  %z = matmul(%x, %a)\n"
      "  return \"y\" = %y, \"z\" = %z\n}\n");
  const ir::Value& constant = *graph->find_value("d");
  EXPECT_TRUE(ops::is_constant_expression(constant));
  const auto value = ops::evaluate_constant(constant);
  ASSERT_TRUE(value.ok()) << value.status().message();
  EXPECT_TRUE(close(*value, floats({6, 2}, {2, 8, 4, 10, 6, 12, 2, 8, 4, 10, 6, 12})));
  EXPECT_FALSE(ops::is_constant_expression(*graph->find_value("z")));
  EXPECT_FALSE(ops::is_constant_expression(*graph->find_value("x")));
  EXPECT_EQ(ops::evaluate_constant(*graph->find_value("z")).status().code(), ErrorCode::kInternal);
}

TEST(EvaluateConstant, SharesTheMemoryOfConstantsAndReshapes) {
  const auto graph = parsed(
      "graph @g() {\n"
      "  %a = constant {value = tensor f32[2,3] 1, 2, 3, 4, 5, 6}\n"
      "  %r = reshape(%a) {shape = dims[6]}\n"
      "  return \"r\" = %r\n}\n");
  const auto value = ops::evaluate_constant(*graph->find_value("r"));
  ASSERT_TRUE(value.ok()) << value.status().message();
  EXPECT_EQ(value->data(), graph->find_value("a")->constant()->data());
  EXPECT_EQ(value->shape(), (std::vector<int64_t>{6}));
}

TEST(EvaluateConstant, SymbolicSizesAreNotConstant) {
  const auto graph = parsed(
      "graph @g(%x: f32[n]) {\n"
      "  %d = dims {values = dims[n]}\n"
      "  %c = dims {values = dims[3,4]}\n"
      "  return \"d\" = %d, \"c\" = %c\n}\n");
  EXPECT_FALSE(ops::is_constant_expression(*graph->find_value("d")));
  const auto value = ops::evaluate_constant(*graph->find_value("c"));
  ASSERT_TRUE(value.ok()) << value.status().message();
  EXPECT_THAT(integers_of(*value), testing::ElementsAre(3, 4));
}

TEST(EvaluateConstant, ConstantsWithoutDataAreNamed) {
  const auto graph = parsed("graph @g() {\n  %w = constant {name = \"encoder.weight\", value = tensor f32[40,40]}\n  return \"w\" = %w\n}\n");
  EXPECT_THAT(ops::evaluate_constant(*graph->find_value("w")).status().message(), HasSubstr("'encoder.weight' has no data"));
}

TEST(EvaluateConstant, AlignsConstantsOfMappedFiles) {
  ir::Graph graph;
  auto bytes = std::make_shared<std::vector<std::byte>>(9);
  const float value = 2.5f;
  std::memcpy(bytes->data() + 1, &value, sizeof value);
  const std::byte* data = bytes->data() + 1;
  ir::Value* c = ops::constant(graph, Tensor(DType::kF32, {1}, bytes, data), "w");
  const auto negated = ops::evaluate_constant(*(*ops::create(graph, Op::k_neg, {c}))->output());
  ASSERT_TRUE(negated.ok()) << negated.status().message();
  EXPECT_EQ(negated->at(0), -2.5);
}

TEST(EvaluateConstant, DeepChainsDoNotOverflowTheStack) {
  ir::Graph graph;
  ir::Value* v = ops::constant(graph, Tensor::scalar(DType::kF32, 0));
  ir::Value* one = ops::constant(graph, Tensor::scalar(DType::kF32, 1));
  for (int i = 0; i < 20000; ++i) v = (*ops::create(graph, Op::k_add, {v, one}))->output();
  const auto value = ops::evaluate_constant(*v);
  ASSERT_TRUE(value.ok()) << value.status().message();
  EXPECT_EQ(value->at(0), 20000);
}

}  // namespace
}  // namespace tenon::test
