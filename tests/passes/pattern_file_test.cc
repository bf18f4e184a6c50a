// Pattern files: what they may say, where they apply, and that none of them can do harm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"
#include "onnx/import.h"
#include "ops/interpret.h"
#include "passes/pipeline.h"
#include "tests/support/golden.h"

namespace tenon {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string parse_error(const std::string& text) {
  const auto rules = passes::parse_patterns(text, "my.patterns");
  EXPECT_TRUE(rules.ok() || rules.status().code() == ErrorCode::kInvalidArgument);
  return rules.ok() ? "" : rules.status().message();
}

struct Applied {
  std::string graph, declined;
  int count = 0;
};

// The rules of `text` on a graph in text; both are sound before and after.
Applied apply_rules_of(const std::string& text, const std::string& graph_text) {
  auto graph = ops::parse_graph(graph_text);
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  const auto rules = passes::parse_patterns(text, "my.patterns");
  EXPECT_TRUE(rules.ok()) << rules.status().message();
  std::vector<passes::Decision> decisions;
  for (const passes::PatternRule& rule : *rules) {
    const Status status = passes::apply_pattern(**graph, rule, decisions);
    EXPECT_TRUE(status.ok()) << status.message();
  }
  const Status verified = ops::verify(**graph);
  EXPECT_TRUE(verified.ok()) << verified.message() << ir::print(**graph);
  Applied result;
  result.graph = ir::print(**graph);
  for (const auto& d : decisions) {
    result.count += d.applied;
    if (!d.applied) result.declined += d.reason + "\n";
  }
  return result;
}

// ---- What is refused -----------------------------------------------------------------------------------------------

TEST(PatternErrors, NameFileLineColumnAndCause) {
  const std::string node = "pattern p {\n  %y = relu(%x)\n  return %y\n}\n";
  const std::pair<std::string, std::string> cases[] = {
      {"", "my.patterns:1:1: expected \"pattern\""},
      {"// nothing\n", "my.patterns:2:1: expected \"pattern\""},
      {"pattern {", "1:9: expected a name for the pattern"},
      {"pattern p {\n  %y = rleu(%x)\n", "my.patterns:2:8: unknown operator \"rleu\""},
      {"pattern p {\n  %y = relu()\n", "2:12: input 'x' of relu is missing"},
      {"pattern p {\n  %y = relu(%x, %x, %x)\n", "relu takes at most 1 inputs"},
      {"pattern p { %y = relu(%x) %y = relu(%x) return %y }", "%y is defined twice"},
      {"pattern p { %y = relu(%x) return %z }", "%z is not defined"},
      {"pattern p { %y = relu(%x) return %x }", "the pattern returns what none of its nodes makes"},
      {"pattern p { %a = relu(%x) %y = relu(%x) return %y }", "%a is no part of what the pattern returns"},
      {"pattern p { %y = softmax(%x) {axes = 1} return %y }", "softmax has no attribute \"axes\""},
      {"pattern p { %y = softmax(%x) {axis = \"last\"} return %y }",
       "attribute \"axis\" of softmax is of another kind"},
      {"pattern p { %y = softmax(%x) {axis = 1, axis = 1} return %y }", "attribute axis is given twice"},
      {"pattern p { %y = \"LayerNorm\"(%x) {eps = 1} return %y }", "a plugin's attributes are its own"},
      {node, "expected \"=>\""},
      {node + "where rank(%y)\n=> {", "6:1: expected ==, !=, <, <=, >, >= or \"like\""},
      {node + "where rank(%z) == 2", "%z is not in the pattern"},
      {node + "where $a == 2", "$a is not bound by the pattern"},
      {node + "where name(%y) like 3", "expected '\"'"},
      {node + "=> { return %y }", "the replacement reads what it replaces, %y"},
      {node + "=> { %z = neg(%y) return %z }", "the replacement reads what it replaces, %y"},
      {node + "=> { %z = neg(%q) return %z }", "%q is not defined"},
      {node + "=> { %z = softmax(%x) {axis = $a} return %z }", "$a is not bound"},
      {node + "=> { %z = constant {value = tensor f32[1000000]} return %z }", "a tensor without data"},
      {node + "=> { return %x }\n" + node + "=> { return %x }", "there are two patterns \"p\""},
      {node + "where " + std::string(100, '(') + "1", "nested too deeply"},
      {std::string(2 << 20, ' '), "larger than 1 MiB"},
  };
  for (const auto& [text, expected] : cases) EXPECT_THAT(parse_error(text), HasSubstr(expected)) << text.substr(0, 200);
}

TEST(PatternErrors, TooManyOfAnything) {
  std::string nodes = "pattern p {\n";
  for (int i = 0; i < 100; ++i) nodes += fmt::format("%v{} = relu(%v{})\n", i + 1, i);
  EXPECT_THAT(parse_error(nodes), HasSubstr("too many nodes"));
  std::string rules;
  for (int i = 0; i < 300; ++i)
    rules += fmt::format("pattern p{} {{ %y = relu(%x) return %y }} => {{ return %x }}\n", i);
  EXPECT_THAT(parse_error(rules), HasSubstr("too many patterns"));
}

TEST(PatternErrors, OfNamesThatThePipelineKnows) {
  auto graph = ops::parse_graph("graph @g(%x: f32[2]) { %y = relu(%x) return \"y\" = %y }");
  ASSERT_TRUE(graph.ok());
  const auto run = [&](const std::string& text) {
    passes::PipelineOptions options;
    options.patterns = *passes::parse_patterns(text, "f");
    const auto report = passes::run_pipeline(**graph, options);
    return report.ok() ? "" : report.status().message();
  };
  const std::string rest = " { %y = relu(%x) return %y } => { %z = abs(%x) return %z }";
  EXPECT_THAT(run("pattern fuse-gelu" + rest), HasSubstr("f:1: \"fuse-gelu\" is a pass of Tenon's own"));
  EXPECT_THAT(run("pattern p before fuse-glue" + rest), HasSubstr("there is no pass 'fuse-glue'"));
  EXPECT_EQ(run("pattern p" + rest), "");
}

// ---- Where rules apply ---------------------------------------------------------------------------------------------

constexpr const char* kSquare =
    "graph @g(%x: f32[batch,4], %r: f32[batch,4]) {\n"
    "  %a = mul(%x, %x)\n  %b = mul(%x, %r)\n  %c = add(%r, %a)\n  %d = add(%c, %b)\n  return \"d\" = %d\n}\n";

TEST(Patterns, MatchOperandsInEitherOrder) {
  const Applied a = apply_rules_of(
      "pattern p { %s = mul(%u, %u) %y = add(%s, %v) return %y } => { %z = sub(%v, %u) return %z }", kSquare);
  EXPECT_EQ(a.count, 1);
  EXPECT_THAT(a.graph, HasSubstr("%c: f32[batch,4] = sub(%r, %x)"));
}

TEST(Patterns, GoBackWhereAnOrderFailsLater) {
  // %v of the product is its first operand for the outer add only if the product's own order is changed again.
  const Applied a =
      apply_rules_of("pattern p { %s = mul(%u, %v) %y = add(%s, %v) return %y } => { %z = sub(%u, %v) return %z }",
                     "graph @g(%a: f32[2], %b: f32[2]) { %m = mul(%a, %b) %y = add(%m, %a) return \"y\" = %y }");
  EXPECT_EQ(a.count, 1);
  EXPECT_THAT(a.graph, HasSubstr("sub(%b, %a)"));
}

TEST(Patterns, BindAttributesAndNumbers) {
  const std::string graph =
      "graph @g(%x: f32[2,8]) {\n  %c = constant {name = \"\", value = tensor f32[] 0.125}\n  %m = mul(%c, %x)\n"
      "  %y = softmax(%m) {axis = 1}\n  return \"y\" = %y\n}\n";
  const Applied a = apply_rules_of(
      "pattern p { %m = mul(%x, $c) %y = softmax(%m) {axis = $axis} return %y }\n"
      "where $c * 16 == 2, $axis == rank(%x) - 1, dim(%x, -1) == 8, dtype(%x) == f32\n"
      "=> { %n = mul(%x, 0.5) %z = softmax(%n) {axis = $axis - 2} return %z }",
      graph);
  EXPECT_EQ(a.count, 1) << a.declined;
  EXPECT_THAT(a.graph, HasSubstr("{axis = -1}"));
  EXPECT_THAT(a.graph, HasSubstr("tensor f32[] 0.5"));
}

TEST(Patterns, DeclineInWords) {
  const auto declined = [&](const std::string& rest) {
    return apply_rules_of("pattern p { %y = add(%u, %v) return %y }\n" + rest, kSquare).declined;
  };
  EXPECT_THAT(declined("where rank(%u) == 3, rank(%v) == 2 => { return %u }"), HasSubstr("not so: rank(%u) == 3"));
  EXPECT_THAT(declined("where single_use(%y) => { return %u }"), HasSubstr("not so: single_use(%y)"));
  EXPECT_THAT(declined("where constant(%u) => { return %u }"), HasSubstr("not so: constant(%u)"));
  EXPECT_THAT(declined("where name(%y) like \"?x*\" => { return %u }"), HasSubstr("not so: name(%y) like \"?x*\""));
  EXPECT_THAT(declined("where dim(%y, 5) == 1 => { return %u }"), HasSubstr("has no axis 5"));
  EXPECT_THAT(declined("where dim(%y, 0) < 5 => { return %u }"), HasSubstr("not so: dim(%y, 0) < 5"));
  EXPECT_THAT(declined("=> { %z = softmax(%u) {axis = shape(%u)} return %z }"),
              HasSubstr("attribute axis of softmax cannot be"));
  EXPECT_THAT(declined("=> { %z = softmax(%u) {axis = 7} return %z }"), HasSubstr("axis 7 is out of range"));
  EXPECT_THAT(declined("=> { %z = reshape(%u) {shape = dims[4, batch]} return %z }"),
              HasSubstr("the replacement is f32[4,batch] where the pattern is f32[batch,4]"));
  EXPECT_THAT(declined("=> { %z = reshape(%u) {shape = dims[foo]} return %z }"),
              HasSubstr("the model has no size \"foo\""));
  EXPECT_THAT(declined("=> { %z = \"Unknown\"(%u) return %z }"), HasSubstr("there is no plugin operator Unknown"));
}

TEST(Patterns, DeclinedRulesLeaveTheGraphAsItWas) {
  const std::string before = ir::print(**ops::parse_graph(kSquare));
  EXPECT_EQ(
      apply_rules_of(
          "pattern p { %y = add(%u, %v) return %y } => { %a = neg(%u) %z = softmax(%a) {axis = 7} return %z }", kSquare)
          .graph,
      before);
}

TEST(Patterns, ThatMatchWhatTheyMakeComeToAnEnd) {
  const Applied a = apply_rules_of(
      "pattern p { %y = add(%u, %v) return %y } => { %s = add(%u, %v) %z = add(%s, %v) return %z }", kSquare);
  EXPECT_EQ(a.count, 2);  // the two sums that were there
}

TEST(Patterns, SeeWhatTheyMadeAsAPart) {
  const Applied a =
      apply_rules_of("pattern p { %s = add(%u, %v) %y = add(%s, %w) return %y } => { %z = add(%s, %v) return %z }",
                     "graph @g(%x: f32[2]) { %a = add(%x, %x) %b = add(%a, %x) %c = add(%b, %x) return \"c\" = %c }");
  EXPECT_EQ(a.count, 2);
}

TEST(Patterns, ThatMultiplyTheGraphAreStopped) {
  std::string text;
  for (int i = 0; i < 64; ++i) {
    text += fmt::format("pattern p{} {{ %y = add(%u, %v) return %y }} => {{ %a = add(%u, %v) ", i);
    for (int k = 0; k < 30; ++k)
      text += fmt::format("%b{} = add(%{}, %v) ", k, k == 0 ? "a" : "b" + std::to_string(k - 1));
    text += "return %b29 }\n";
  }
  auto graph = ops::parse_graph(kSquare);
  const auto rules = passes::parse_patterns(text, "my.patterns");
  ASSERT_TRUE(rules.ok()) << rules.status().message();
  std::vector<passes::Decision> decisions;
  Status status;
  for (size_t i = 0; status.ok() && i < rules->size(); ++i)
    status = passes::apply_pattern(**graph, (*rules)[i], decisions);
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("makes more than"));
}

TEST(Patterns, WithTooManyWaysToMatchAreGivenUp) {
  // A ladder of commutative sums over one value has 2^n orders, none of which ends in the operand that the pattern asks
  // for.
  std::string pattern = "pattern p { %s0 = add(%x, %x) ", graph = "graph @g(%x: f32[2]) { %s0 = add(%x, %x) ";
  for (int i = 1; i < 30; ++i) {
    const std::string sum = fmt::format("%s{} = add(%s{}, %s{}) ", i, i - 1, i - 1);
    pattern += i < 29 ? sum : "%s29 = add(%s28, %other) ";
    graph += sum;
  }
  pattern += "%y = sub(%s29, %x) return %y } => { return %x }";
  graph += "%y = sub(%s29, %s29) return \"y\" = %y }";
  EXPECT_EQ(apply_rules_of(pattern, graph).count, 0);
}

// ---- The examples, on real exports ---------------------------------------------------------------------------------

struct Example {
  std::string file, pattern, built_in;  // the pass that would do the same
  int applied;
};

class PatternExample : public testing::TestWithParam<Example> {};

TEST_P(PatternExample, FusesAnExportAndKeepsItsResults) {
  const Example& example = GetParam();
  for (const auto& golden : test::golden_cases("onnx")) {
    if (golden.name != "bert-enc-ts17-mask-types-eager-dyn") continue;
    for (const bool disabled : {false, true}) {
      auto model = onnx::import_file(golden.path);
      ASSERT_TRUE(model.ok()) << model.status().message();
      passes::PipelineOptions options;
      options.verify = true;
      auto rules = passes::read_patterns(std::string(TENON_SOURCE_DIR) + "/examples/patterns/" + example.file);
      ASSERT_TRUE(rules.ok()) << rules.status().message();
      options.patterns = std::move(*rules);
      if (disabled) options.disabled.insert(example.pattern);
      const auto report = passes::run_pipeline(*model->graph, options);
      ASSERT_TRUE(report.ok()) << report.status().message();
      int applied = 0, by_tenon = 0;
      for (const auto& d : report->decisions) {
        applied += d.applied && d.pass == example.pattern;
        by_tenon += d.applied && d.pass == example.built_in;
      }
      EXPECT_EQ(applied, disabled ? 0 : example.applied);
      if (!example.built_in.empty()) {
        EXPECT_EQ(by_tenon == 0, !disabled) << "what the pattern leaves, the pass takes";
      }
      for (int shape = 0; shape < golden.shapes; ++shape) {
        std::vector<ir::Tensor> inputs;
        for (const auto& in : model->graph->inputs()) inputs.push_back(*golden.find(shape, "in", in->name()));
        const auto outputs = ops::interpret(*model->graph, inputs);
        ASSERT_TRUE(outputs.ok()) << outputs.status().message();
        for (size_t i = 0; i < golden.outputs.size(); ++i) {
          const ir::Tensor* expected = golden.find(shape, "out", golden.outputs[i].name);
          EXPECT_LE(
              test::worst_difference((*outputs)[i], *expected, golden.valid(shape), golden.outputs[i].rows == "tokens"),
              golden.tolerance);
        }
      }
    }
    return;
  }
  FAIL() << "the export is not in the corpus";
}

INSTANTIATE_TEST_SUITE_P(Seeds, PatternExample,
                         testing::Values(Example{"add_layer_norm.patterns", "fuse-add-layer-norm", "", 4},
                                         Example{"add_gelu.patterns", "fuse-add-gelu", "", 2},
                                         Example{"attention_mask.patterns", "fuse-attention-mask", "fuse-attention",
                                                 2}),
                         [](const auto& at) { return at.param.file.substr(0, at.param.file.find('.')); });

}  // namespace
}  // namespace tenon
