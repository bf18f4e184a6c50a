// print and parse are inverse, and parse trusts nothing.
#include "ir/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ops/create.h"
#include "tests/support/random.h"

namespace tenon::ir {
namespace {

using testing::HasSubstr;

constexpr const char* kSample = R"(graph @main(%input_ids: i64[batch,seq], %mask: i64[batch,seq]) {
  %w: f32[4,4] = constant {name = "encoder.w", value = tensor f32[4,4]}
  %half: f32[] = constant {name = "", value = tensor f32[] 0.5}
  %ids: f32[batch,seq] = cast(%input_ids) {to = f32} from "/Cast"
  %shape: i64[2] = dims {scalar = 0, values = dims[batch,floordiv(seq, 2) + seq]}
  %y: f32[batch,seq] = mul(%ids, %half)
  symbol tokens = %shape <= batch*seq
  return "y" = %y, "ids" = %ids
}
)";

std::unique_ptr<Graph> parsed(std::string_view text) {
  auto graph = parse(text, "t.ir");
  EXPECT_TRUE(graph.ok()) << graph.status().message() << "\n" << text;
  return graph.ok() ? std::move(graph).value() : nullptr;
}

TEST(Text, ASampleOfEverythingRoundTrips) {
  const auto graph = parsed(kSample);
  ASSERT_NE(graph, nullptr);
  EXPECT_EQ(print(*graph), kSample);
  EXPECT_TRUE(verify_structure(*graph).ok());
  EXPECT_EQ(graph->outputs()[1].name, "ids");
  EXPECT_EQ(graph->data_symbols.at("tokens").bound.to_string(), "batch*seq");
  EXPECT_FALSE(graph->find_value("w")->constant()->has_data());
  EXPECT_EQ(graph->find_value("half")->constant()->at(0), 0.5);
  EXPECT_EQ(graph->find_value("ids")->producer()->origin(), "/Cast");
}

TEST(Text, CommentsSpacesAndLeftOutTypes) {
  const auto graph = parsed("// a comment\ngraph @g (%x: f32[ n , 2 ]){ // here\n%y=exp(%x)// and here\n\n%z = gelu ( %y )\nreturn\"out\"=%z}\n// end");
  ASSERT_NE(graph, nullptr);
  ASSERT_TRUE(ops::infer_types(*graph).ok());
  EXPECT_EQ(graph->find_value("z")->type().to_string(), "f32[n,2]");
  EXPECT_EQ(graph->find_value("z")->producer()->attrs().text("approximate"), "none");
}

TEST(Text, NamesMayHoldColonsSlashesAndDashes) {
  const char* text = "graph @\"my model\"(%a:0: f32[n], %b:: f32[n]) {\n  %/x//y-1: f32[n] = add(%a:0, %b:)\n  return \"o\\\"\\\\\\n\" = %/x//y-1\n}\n";
  const auto graph = parsed(text);
  ASSERT_NE(graph, nullptr);
  EXPECT_EQ(graph->inputs()[0]->name(), "a:0");
  EXPECT_EQ(graph->inputs()[1]->name(), "b:");
  EXPECT_EQ(graph->outputs()[0].name, "o\"\\\n");
  EXPECT_EQ(graph->name, "my model");
  EXPECT_EQ(print(*graph), text);
}

TEST(Text, NamesOfNodesToComeDoNotCollideWithParsedOnes) {
  const auto graph = parsed("graph @g(%x: f32[n]) {\n%a: f32[n] = exp(%x)\n%exp: f32[n] = exp(%a)\nreturn \"y\" = %exp\n}");
  ASSERT_NE(graph, nullptr);
  graph->add_node(Op::k_exp, {graph->find_value("a")}, {}, {graph->find_value("a")->type()});
  EXPECT_EQ(graph->unique_name("a"), "a_1");
  EXPECT_TRUE(verify_structure(*graph).ok());
}

TEST(Text, AbsentInputsAndSeveralResults) {
  const char* text = "graph @g(%x: f32[n]) {\n  %a: f32[n], %b: i32[n] = pointwise(%x, _, %x) {dtype = f32}\n  return\n}\n";
  const auto graph = parsed(text);
  ASSERT_NE(graph, nullptr);
  EXPECT_EQ(graph->nodes().front()->input(1), nullptr);
  EXPECT_EQ(graph->nodes().front()->num_outputs(), 2);
  EXPECT_EQ(print(*graph), text);
}

TEST(Text, LargeConstantsStayElsewhere) {
  Graph graph;
  const Value* small = ops::constant(graph, Tensor::ints({1, 2, 3}));
  EXPECT_THAT(print(*small->producer()), HasSubstr("tensor i64[3] 1, 2, 3"));
  EXPECT_THAT(print(*small->producer(), 2), HasSubstr("tensor i64[3]}"));
}

// ---- Random graphs ---------------------------------------------------------------------------------------------------

class RandomGraph {
 public:
  explicit RandomGraph(test::Random& random) : random_(random) {}

  std::unique_ptr<Graph> make() {
    auto graph = std::make_unique<Graph>();
    if (random_.chance(0.3)) graph->name = text();
    std::vector<Value*> values = {nullptr};
    for (int64_t i = random_.integer(0, 3); i > 0; --i) values.push_back(graph->add_input(text(), type()));
    for (int64_t i = random_.integer(0, 12); i > 0; --i) {
      std::vector<Value*> inputs;
      for (int64_t k = random_.integer(0, 4); k > 0; --k) inputs.push_back(random_.pick(values));
      std::vector<TensorType> types;
      for (int64_t k = random_.integer(1, 3); k > 0; --k) types.push_back(type());
      Attrs attrs;
      for (int64_t k = random_.integer(0, 4); k > 0; --k) attrs.set(std::string("a") + std::to_string(k), attr());
      Node* node = graph->add_node(static_cast<Op>(random_.integer(0, kOpCount - 1)), std::move(inputs), std::move(attrs), std::move(types));
      if (random_.chance(0.4)) node->set_origin(text());
      for (int k = 0; k < node->num_outputs(); ++k) {
        if (random_.chance(0.5)) node->output(k)->set_name(graph->unique_name(text()));
        values.push_back(node->output(k));
      }
    }
    for (Value* v : values) {
      if (v == nullptr || !random_.chance(0.3)) continue;
      graph->add_output(text(), v);
      if (random_.chance(0.2)) graph->data_symbols["s" + std::to_string(graph->data_symbols.size())] = {v, dim(2)};
    }
    return graph;
  }

  AttrValue attr() {
    switch (random_.integer(0, 6)) {
      case 0: return random_.integer(INT64_MIN, INT64_MAX);
      case 1: return random_.pick(std::vector<double>{0.0, -0.0, 1.5, 1e-300, -1e300, 3.0, 0.1, INFINITY, -INFINITY});
      case 2: return text();
      case 3: return dtype();
      case 4: return std::vector<int64_t>(static_cast<size_t>(random_.integer(0, 4)), random_.integer(-9, 9));
      case 5: return type().shape;
      default: {
        std::vector<int64_t> shape(static_cast<size_t>(random_.integer(0, 3)));
        for (int64_t& d : shape) d = random_.integer(0, 3);
        if (random_.chance(0.2)) return Tensor(dtype(), {4, 5});
        return random_.tensor(dtype(), shape, -100, 100);
      }
    }
  }

 private:
  DType dtype() { return static_cast<DType>(random_.integer(0, static_cast<int64_t>(DType::kBool))); }
  Dim dim(int depth) {
    const Dim leaf = random_.chance(0.5) ? Dim(random_.integer(0, 9)) : Dim::symbol(random_.pick(std::vector<std::string>{"batch", "seq", "n.1", "tokens"}));
    if (depth == 0) return leaf;
    const Dim a = dim(depth - 1);
    switch (random_.integer(0, 4)) {
      case 0: return a + leaf;
      case 1: return a * leaf;
      case 2: return Dim::floordiv(a, 2);
      case 3: return Dim::min(a, leaf);
      default: return leaf;
    }
  }
  TensorType type() {
    TensorType t{dtype(), {}};
    for (int64_t i = random_.integer(0, 4); i > 0; --i) t.shape.push_back(dim(2));
    return t;
  }
  std::string text() {
    std::string s;
    for (int64_t i = random_.integer(1, 6); i > 0; --i) s += random_.pick(std::vector<char>{'a', 'Z', '0', '/', ':', '.', '_', '-', ' ', '"', '\\', '\n', '%', ',', '}', '\x80'});
    return s;
  }
  test::Random& random_;
};

TEST(Text, RandomGraphsRoundTrip) {
  test::Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 300; ++round) {
    const auto graph = RandomGraph(random).make();
    const std::string text = print(*graph, 1000);
    const auto back = parse(text);
    ASSERT_TRUE(back.ok()) << back.status().message() << "\n" << text;
    ASSERT_EQ(print(**back, 1000), text);
    EXPECT_TRUE(verify_structure(**back).ok());
    auto other = (*back)->nodes().begin();
    for (const auto& node : graph->nodes()) EXPECT_TRUE(node->attrs() == (*other++)->attrs()) << print(*node);
  }
}

// ---- Bad texts -------------------------------------------------------------------------------------------------------

struct Bad {
  const char* text;
  const char* message;
};
void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.text; }

class BadText : public testing::TestWithParam<Bad> {};
TEST_P(BadText, IsRefusedByLineAndColumn) {
  const auto graph = parse(GetParam().text, "t.ir");
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.status().code(), ErrorCode::kBadModel);
  EXPECT_THAT(graph.status().message(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(Text, BadText, testing::Values(
    Bad{"", "t.ir:1:1: expected \"graph\""},
    Bad{"graph g() {}", "t.ir:1:7: expected '@'"},
    Bad{"graph @g(%x) {\nreturn\n}", "t.ir:1:12: expected ':'"},
    Bad{"graph @g(%x: f33[1]) {\nreturn\n}", "unknown type \"f33\""},
    Bad{"graph @g(%x: f32) {\nreturn\n}", "expected '['"},
    Bad{"graph @g(%x: f32[n) {\nreturn\n}", "expected ']'"},
    Bad{"graph @g(%x: f32[n +]) {\nreturn\n}", "bad dimension"},
    Bad{"graph @g(%x: f32[n], %x: f32[n]) {\nreturn\n}", "t.ir:1:22: %x is defined twice"},
    Bad{"graph @g() {", "expected a node, \"symbol\" or \"return\""},
    Bad{"graph @g() {\nreturn", "expected '}'"},
    Bad{"graph @g() {\nreturn \"y\" = %y\n}", "t.ir:2:14: %y is not defined"},
    Bad{"graph @g() {\nreturn\n} more", "t.ir:3:3: unexpected text after the graph"},
    Bad{"graph @g() {\n  %y = frobnicate()\nreturn\n}", "t.ir:2:8: unknown operator \"frobnicate\""},
    Bad{"graph @g() {\n%y = exp(%x)\nreturn\n}", "t.ir:2:10: %x is not defined"},
    Bad{"graph @g() {\n%y = exp(%y)\nreturn\n}", "%y is not defined"},
    Bad{"graph @g(%x: f32[]) {\n%y = exp(%x)\n%y = exp(%x)\nreturn\n}", "t.ir:3:1: %y is defined twice"},
    Bad{"graph @g() {\n%y, %y = dims\nreturn\n}", "%y is defined twice"},
    Bad{"graph @g() {\n% = dims\nreturn\n}", "expected a name after '%'"},
    Bad{"graph @g() {\n%y = dims {a = 1, a = 2}\nreturn\n}", "attribute a is given twice"},
    Bad{"graph @g() {\n%y = dims {a 1}\nreturn\n}", "expected '='"},
    Bad{"graph @g() {\n%y = dims {a = }\nreturn\n}", "expected an attribute value"},
    Bad{"graph @g() {\n%y = dims {a = \"x}\nreturn\n}", "unterminated string"},
    Bad{"graph @g() {\n%y = dims {a = [1, 2.5]}\nreturn\n}", "expected an integer"},
    Bad{"graph @g() {\n%y = dims {a = 99999999999999999999}\nreturn\n}", "number out of range"},
    Bad{"graph @g() {\n%y = dims {a = 1e999}\nreturn\n}", "number out of range"},
    Bad{"graph @g() {\n%y = dims {a = 1x}\nreturn\n}", "expected a number"},
    Bad{"graph @g() {\n%y = dims {a = -}\nreturn\n}", "expected a number"},
    Bad{"graph @g() {\n%y = dims {a = dims[1,]}\nreturn\n}", "bad dimension"},
    Bad{"graph @g() {\n%y = constant {a = tensor f32[n]}\nreturn\n}", "constant, sensible sizes"},
    Bad{"graph @g() {\n%y = constant {a = tensor f32[-1]}\nreturn\n}", "constant, sensible sizes"},
    Bad{"graph @g() {\n%y = constant {a = tensor f32[4000000000,4000000000]}\nreturn\n}", "constant, sensible sizes"},
    Bad{"graph @g() {\n%y = constant {a = tensor f32[4000000000] 1.0, 2.0}\nreturn\n}", "expected ','"},
    Bad{"graph @g() {\n%y = constant {a = tensor i8[1] 300}\nreturn\n}", "number out of range for i8"},
    Bad{"graph @g() {\n%y = constant {a = tensor bool[1] 2}\nreturn\n}", "number out of range for bool"},
    Bad{"graph @g() {\n%y = constant {a = tensor i8[1] 0.5}\nreturn\n}", "expected an integer"},
    Bad{"graph @g() {\nsymbol t = %c <= n\nreturn\n}", "%c is not defined"},
    Bad{"graph @g(%c: i64[]) {\nsymbol t = %c < n\nreturn\n}", "expected \"<=\""},
    Bad{"graph @g(%c: i64[]) {\nsymbol t = %c <= n\nsymbol t = %c <= n\nreturn\n}", "symbol t is defined twice"}));

TEST(Text, HugeConstantWithoutDataTakesNoMemory) {
  const auto graph = ops::parse_graph("graph @g() {\n%y = constant {name = \"w\", value = tensor f32[1000000,1000000]}\nreturn \"y\" = %y\n}");
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_EQ((*graph)->outputs()[0].value->type().to_string(), "f32[1000000,1000000]");
}

TEST(Text, HostileSizesAreRefusedQuickly) {
  std::string rank = "graph @g(%x: f32[1";
  for (int i = 0; i < 100000; ++i) rank += ",1";
  EXPECT_THAT(parse(rank + "]) {\nreturn\n}").status().message(), HasSubstr("too many dimensions"));
  std::string attrs = "graph @g() {\n%y = dims {a = 1";
  for (int i = 0; i < 100000; ++i) attrs += ", a" + std::to_string(i) + " = 1";
  EXPECT_THAT(parse(attrs + "}\nreturn\n}").status().message(), HasSubstr("too many attributes"));
  EXPECT_FALSE(parse("graph @g(%x: f32[" + std::string(1000000, '(') + "]) {\nreturn\n}").ok());
  EXPECT_FALSE(parse(std::string(1000000, '%')).ok());
  EXPECT_FALSE(parse(std::string("graph\0@g", 8)).ok());
}

// Each damaged text is refused, or read as a graph that prints and reads the same.
TEST(Text, DamagedTextsNeverCrash) {
  test::Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 3000; ++round) {
    std::string text = kSample;
    for (int64_t edits = random.integer(1, 4); edits > 0; --edits) {
      const auto at = static_cast<size_t>(random.integer(0, std::ssize(text) - 1));
      const auto n = static_cast<size_t>(random.integer(0, 5));
      switch (random.integer(0, 3)) {
        case 0: text.erase(at, n); break;
        case 1: text[at] = static_cast<char>(random.integer(0, 255)); break;
        case 2: text.insert(at, text.substr(static_cast<size_t>(random.integer(0, std::ssize(text) - 1)), n)); break;
        default: text.resize(at); break;
      }
      if (text.empty()) break;
    }
    const auto graph = ops::parse_graph(text);
    if (!graph.ok()) continue;
    EXPECT_TRUE(ops::verify(**graph).ok()) << text;
    const auto again = parse(print(**graph));
    ASSERT_TRUE(again.ok()) << again.status().message() << "\n" << text;
    EXPECT_EQ(print(**again), print(**graph));
  }
}

}  // namespace
}  // namespace tenon::ir
