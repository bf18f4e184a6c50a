// Each fault that the verifiers find, by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"
#include "ops/create.h"

namespace tenon::ir {
namespace {

class VerifierTest : public testing::Test {
 protected:
  std::unique_ptr<Graph> graph_ = ops::parse_graph(R"(graph @g(%x: f32[n,4]) {
    %exp = exp(%x)
    %sum = reduce_sum(%exp) {axes = [1]}
    return "y" = %sum
  })").value();
  Node* exp_ = graph_->find_value("exp")->producer();
  Node* sum_ = graph_->find_value("sum")->producer();

  void expect_fault(const Status& s, const char* what) {
    EXPECT_EQ(s.code(), ErrorCode::kInternal);
    EXPECT_THAT(s.message(), testing::HasSubstr(what));
  }
};

TEST_F(VerifierTest, ASoundGraphPasses) {
  EXPECT_TRUE(verify_structure(*graph_).ok());
  EXPECT_TRUE(ops::verify(*graph_).ok()) << ops::verify(*graph_).message();
}

TEST_F(VerifierTest, UseBeforeDefinition) {
  graph_->move_before(sum_, exp_);
  expect_fault(verify_structure(*graph_), "reduce_sum %sum: input 0 (%exp) is not defined before it");
}

TEST_F(VerifierTest, AValueOfAnotherGraph) {
  Graph other;
  Value* foreign = other.add_input("foreign", {DType::kF32, {4}});
  graph_->set_input(exp_, 0, foreign);
  expect_fault(verify_structure(*graph_), "input 0 (%foreign) is not defined before it");
  graph_->set_input(exp_, 0, graph_->inputs()[0].get());
}

TEST_F(VerifierTest, TwoValuesOfOneName) {
  exp_->output()->set_name("sum");
  expect_fault(verify_structure(*graph_), "two values are named %sum");
}

TEST_F(VerifierTest, AnOutputWithoutAValue) {
  graph_->add_output("z", nullptr);
  expect_fault(verify_structure(*graph_), "output \"z\" has no value");
}

TEST_F(VerifierTest, ASymbolWithoutAValue) {
  graph_->data_symbols["tokens"] = {nullptr, Dim::symbol("n")};
  expect_fault(verify_structure(*graph_), "symbol tokens has no value");
}

TEST_F(VerifierTest, MissingAttribute) {
  sum_->attrs().erase("axes");
  expect_fault(ops::verify(*graph_), "attribute 'axes' is missing");
}

TEST_F(VerifierTest, AttributeLeftToItsDefault) {
  sum_->attrs().erase("keepdims");
  expect_fault(ops::verify(*graph_), "attributes are incomplete");
}

TEST_F(VerifierTest, UnknownAttribute) {
  exp_->attrs().set("base", 10.0);
  expect_fault(ops::verify(*graph_), "unknown attribute 'base'");
}

TEST_F(VerifierTest, AttributeOfAnotherKind) {
  sum_->attrs().set("keepdims", 1.0);
  expect_fault(ops::verify(*graph_), "attribute 'keepdims' is of the wrong kind");
}

TEST_F(VerifierTest, TypeThatInferenceDoesNotGive) {
  sum_->output()->set_type({DType::kF32, {Dim::symbol("n")}});
  expect_fault(ops::verify(*graph_), "reduce_sum %sum: output 0 is typed f32[n], inferred f32[n,1]");
}

TEST_F(VerifierTest, TypesThatAnOpRefuses) {
  graph_->inputs()[0]->set_type({DType::kI32, {4}});
  expect_fault(ops::verify(*graph_), "must be floating-point");
}

TEST_F(VerifierTest, MissingInput) {
  graph_->set_input(exp_, 0, nullptr);
  expect_fault(ops::verify(*graph_), "input 'x' is missing");
}

TEST_F(VerifierTest, SurplusInputAndOutput) {
  Value* x = graph_->inputs()[0].get();
  Node* extra = graph_->add_node(Op::k_neg, {x, x}, {}, {x->type()});
  expect_fault(ops::verify(*graph_), "2 inputs given, at most 1 expected");
  graph_->erase(extra);
  graph_->add_node(Op::k_neg, {x}, {}, {x->type(), x->type()});
  expect_fault(ops::verify(*graph_), "2 outputs, 1 inferred");
}

}  // namespace
}  // namespace tenon::ir
