// Edits of a graph: uses follow, order holds, clones are independent.
#include "ir/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"

namespace tenon::ir {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class GraphTest : public testing::Test {
 protected:
  Graph graph_;
  Value* x_ = graph_.add_input("x", {DType::kF32, {Dim::symbol("n")}});

  Node* unary(Op op, Value* x, Node* before = nullptr) { return graph_.add_node(op, {x}, {}, {x->type()}, before); }
  Node* binary(Op op, Value* a, Value* b) { return graph_.add_node(op, {a, b}, {}, {a->type()}); }
  std::vector<std::string> order() const {
    std::vector<std::string> names;
    for (const auto& node : graph_.nodes()) names.emplace_back(op_name(node->op()));
    return names;
  }
};

TEST_F(GraphTest, UsesAreCountedPerInput) {
  Node* square = binary(Op::k_mul, x_, x_);
  EXPECT_THAT(x_->uses(), ElementsAre(Use{square, 0}, Use{square, 1}));
  EXPECT_FALSE(x_->has_one_use());
  graph_.set_input(square, 1, unary(Op::k_exp, x_, square)->output());
  EXPECT_EQ(x_->uses().size(), 2u);
  EXPECT_TRUE(square->input(1)->has_one_use());
  EXPECT_EQ(square->input(2), nullptr);
}

TEST_F(GraphTest, AnOutputIsAUse) {
  Node* exp = unary(Op::k_exp, x_);
  unary(Op::k_neg, exp->output());
  EXPECT_TRUE(exp->output()->has_one_use());
  graph_.add_output("y", exp->output());
  EXPECT_TRUE(exp->output()->is_output());
  EXPECT_FALSE(exp->output()->has_one_use());
}

TEST_F(GraphTest, ReplacingReachesNodesOutputsAndSymbols) {
  Node* exp = unary(Op::k_exp, x_);
  Node* twice = binary(Op::k_add, exp->output(), exp->output());
  graph_.add_output("y", exp->output());
  graph_.data_symbols["tokens"] = {exp->output(), Dim::symbol("n")};
  graph_.replace_all_uses(exp->output(), x_);
  EXPECT_TRUE(exp->output()->uses().empty());
  EXPECT_EQ(twice->input(0), x_);
  EXPECT_EQ(twice->input(1), x_);
  EXPECT_EQ(graph_.outputs()[0].value, x_);
  EXPECT_EQ(graph_.data_symbols["tokens"].value, x_);
  graph_.erase(exp);
  EXPECT_THAT(order(), ElementsAre("add"));
  EXPECT_TRUE(verify_structure(graph_).ok());
}

TEST_F(GraphTest, ReplacingByItselfChangesNothing) {
  Node* exp = unary(Op::k_exp, x_);
  graph_.replace_all_uses(x_, x_);
  EXPECT_THAT(x_->uses(), ElementsAre(Use{exp, 0}));
}

TEST_F(GraphTest, ErasingAUsedNodeIsABug) {
  Node* exp = unary(Op::k_exp, x_);
  graph_.add_output("y", exp->output());
  EXPECT_DEATH(graph_.erase(exp), "internal error: erasing exp");
}

TEST_F(GraphTest, NodesGoBeforeOthersWhereAsked) {
  Node* exp = unary(Op::k_exp, x_);
  Node* neg = unary(Op::k_neg, x_);
  unary(Op::k_abs, x_, neg);
  EXPECT_THAT(order(), ElementsAre("exp", "abs", "neg"));
  EXPECT_EQ(graph_.next(exp)->op(), Op::k_abs);
  EXPECT_EQ(graph_.next(neg), nullptr);
  graph_.move_before(neg, exp);
  EXPECT_THAT(order(), ElementsAre("neg", "exp", "abs"));
  graph_.move_before(neg, nullptr);
  EXPECT_THAT(order(), ElementsAre("exp", "abs", "neg"));
}

TEST_F(GraphTest, SortKeepsTheOrderWhereItCan) {
  Node* exp = unary(Op::k_exp, x_);
  Node* neg = unary(Op::k_neg, x_);
  Node* sum = binary(Op::k_add, exp->output(), neg->output());
  graph_.move_before(sum, exp);
  EXPECT_FALSE(verify_structure(graph_).ok());
  ASSERT_TRUE(graph_.sort().ok());
  EXPECT_THAT(order(), ElementsAre("exp", "neg", "add"));
  EXPECT_TRUE(verify_structure(graph_).ok());
}

TEST_F(GraphTest, SortRefusesACycleAndNamesANodeOfIt) {
  Node* exp = unary(Op::k_exp, x_);
  Node* neg = unary(Op::k_neg, exp->output());
  neg->set_origin("/encoder/Neg");
  graph_.set_input(exp, 0, neg->output());
  const Status s = graph_.sort();
  EXPECT_EQ(s.code(), ErrorCode::kBadModel);
  EXPECT_THAT(s.message(), HasSubstr("cycle through exp"));
  graph_.set_input(exp, 0, exp->output());
  EXPECT_FALSE(graph_.sort().ok());
}

TEST_F(GraphTest, NamesAreUniqueAndPrintable) {
  EXPECT_EQ(graph_.unique_name("x"), "x_1");
  EXPECT_EQ(graph_.unique_name("x"), "x_2");
  EXPECT_EQ(graph_.unique_name("a b\"c"), "a_b_c");
  EXPECT_EQ(graph_.unique_name("/layer.0/Add:0"), "/layer.0/Add:0");
  EXPECT_EQ(graph_.unique_name(""), "v");
  EXPECT_EQ(graph_.unique_name("x_1"), "x_1_1");
  EXPECT_EQ(unary(Op::k_exp, x_)->output()->name(), "exp");
  EXPECT_EQ(unary(Op::k_exp, x_)->output()->name(), "exp_1");
}

TEST_F(GraphTest, FindsValuesByName) {
  Node* exp = unary(Op::k_exp, x_);
  EXPECT_EQ(graph_.find_value("x"), x_);
  EXPECT_EQ(graph_.find_value("exp"), exp->output());
  EXPECT_EQ(graph_.find_value("missing"), nullptr);
}

TEST_F(GraphTest, ACloneIsEqualAndIndependent) {
  Node* exp = unary(Op::k_exp, x_);
  exp->set_origin("Exp_0");
  exp->output()->set_known(KnownDims{{1}, {Dim::symbol("n")}});
  graph_.add_output("y", binary(Op::k_add, exp->output(), x_)->output());
  graph_.data_symbols["tokens"] = {exp->output(), Dim::symbol("n")};
  graph_.assumed_equal.emplace_back(Dim::symbol("n"), Dim::symbol("m"));
  const auto copy = graph_.clone();
  EXPECT_EQ(print(*copy), print(graph_));
  EXPECT_EQ(fingerprint(*copy), fingerprint(graph_));
  EXPECT_TRUE(verify_structure(*copy).ok());
  EXPECT_EQ(copy->assumed_equal.size(), 1u);
  EXPECT_NE(copy->data_symbols["tokens"].value, exp->output());
  EXPECT_TRUE(copy->find_value("exp")->known().has_value());
  EXPECT_EQ(copy->unique_name("exp"), "exp_1");
  copy->replace_all_uses(copy->find_value("exp"), copy->inputs()[0].get());
  EXPECT_NE(fingerprint(*copy), fingerprint(graph_));
  EXPECT_EQ(exp->output()->uses().size(), 1u);
}

TEST(Attrs, SortedByNameAndReplacedInPlace) {
  Attrs attrs{{"b", int64_t{1}}, {"a", 0.5}};
  attrs.set("b", std::string("text"));
  ASSERT_EQ(attrs.all().size(), 2u);
  EXPECT_EQ(attrs.all()[0].first, "a");
  EXPECT_EQ(attrs.text("b"), "text");
  attrs.erase("a");
  EXPECT_EQ(attrs.find("a"), nullptr);
}

TEST(Attrs, CompareByKindAndContent) {
  EXPECT_FALSE(same_attr(int64_t{1}, 1.0));
  EXPECT_TRUE(same_attr(Shape{Dim::symbol("n")}, Shape{Dim::symbol("n")}));
  EXPECT_TRUE(same_attr(Tensor::ints({1, 2}), Tensor::ints({1, 2})));
  EXPECT_FALSE(same_attr(Tensor::ints({1, 2}), Tensor::ints({1, 3})));
  EXPECT_FALSE(same_attr(Tensor::ints({1}), Tensor(DType::kI64, {1})));
}

TEST(Attrs, AMissingAttributeIsABug) { EXPECT_DEATH((void)Attrs().integer("axis"), "attribute 'axis' is missing"); }

}  // namespace
}  // namespace tenon::ir
