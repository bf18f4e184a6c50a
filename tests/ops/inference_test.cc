// Types that ops infer, symbolic sizes included, and what they refuse: text in, text out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"
#include "ops/create.h"

namespace tenon::ops {
namespace {

struct Case {
  const char* inputs;
  const char* node;
  const char* expected;  // the type of the result, or what the error says
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.node << " over " << c.inputs; }

Result<std::unique_ptr<Graph>> graph_of(const Case& c) {
  return parse_graph("graph @g(" + std::string(c.inputs) + ") {\n%y = " + c.node + "\nreturn \"y\" = %y\n}\n");
}

class Infers : public testing::TestWithParam<Case> {};
TEST_P(Infers, Type) {
  const auto graph = graph_of(GetParam());
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_EQ((*graph)->outputs()[0].value->type().to_string(), GetParam().expected);
  EXPECT_TRUE(verify(**graph).ok()) << verify(**graph).message();
}

class Refuses : public testing::TestWithParam<Case> {};
TEST_P(Refuses, WithReason) {
  const auto graph = graph_of(GetParam());
  ASSERT_FALSE(graph.ok()) << "typed " << (*graph)->outputs()[0].value->type().to_string();
  EXPECT_EQ(graph.status().code(), ErrorCode::kBadModel);
  EXPECT_THAT(graph.status().message(), testing::HasSubstr(GetParam().expected));
}

constexpr const char* kX = "%x: f32[batch,seq,768]";
constexpr const char* kIds = "%x: i64[batch,seq]";
constexpr const char* kTwo = "%x: f32[batch,1,seq], %z: f32[12,1]";
constexpr const char* kTable = "%x: f32[30522,768], %z: i64[batch,seq]";
constexpr const char* kBool = "%x: bool[batch,seq], %a: f32[seq], %b: f32[batch,1]";

INSTANTIATE_TEST_SUITE_P(Sources, Infers, testing::Values(
    Case{"", "constant {value = tensor i32[2] 1, 2}", "i32[2]"},
    Case{"", "dims {values = dims[batch,seq + 1]}", "i64[2]"},
    Case{"", "dims {values = dims[batch*seq], scalar = 1}", "i64[]"},
    Case{"", "iota {size = dims[seq]}", "i64[seq]"},
    Case{"", "iota {size = dims[4], dtype = f32, step = 2}", "f32[4]"}));

INSTANTIATE_TEST_SUITE_P(Shapes, Infers, testing::Values(
    Case{kX, "reshape(%x) {shape = dims[batch,seq,12,64]}", "f32[batch,seq,12,64]"},
    Case{kX, "reshape(%x) {shape = dims[768*batch*seq]}", "f32[768*batch*seq]"},
    Case{kX, "transpose(%x) {perm = [2, 0, 1]}", "f32[768,batch,seq]"},
    Case{"%x: f32[1,seq]", "expand(%x) {shape = dims[batch,12,seq]}", "f32[batch,12,seq]"},
    Case{kX, "slice(%x) {axes = [1], starts = dims[0], ends = dims[1], steps = [1]}", "f32[batch,1,768]"},
    Case{kX, "slice(%x) {axes = [1, 2], starts = dims[1,0], ends = dims[seq,768], steps = [1, 3]}", "f32[batch,seq - 1,256]"},
    Case{kX, "slice(%x) {axes = [2], starts = dims[767], ends = dims[-1], steps = [-2]}", "f32[batch,seq,384]"},
    Case{kX, "slice(%x) {axes = [1], starts = dims[seq - 1], ends = dims[-1], steps = [-1]}", "f32[batch,seq,768]"},
    Case{kX, "slice(%x) {axes = [1], starts = dims[0], ends = dims[min(512, seq)], steps = [1]}", "f32[batch,min(512, seq),768]"},
    Case{"%x: f32[8]", "slice(%x) {axes = [0], starts = dims[6], ends = dims[2], steps = [1]}", "f32[0]"},
    Case{"%x: f32[batch,seq], %z: f32[batch,1]", "concat(%x, %z) {axis = -1}", "f32[batch,seq + 1]"},
    Case{kX, "tile(%x) {repeats = dims[1,n,1]}", "f32[batch,n*seq,768]"},
    Case{kX, "pad(%x) {before = dims[0,1,0], after = dims[0,n,-8]}", "f32[batch,n + seq + 1,760]"},
    Case{kX, "trilu(%x) {upper = 0}", "f32[batch,seq,768]"},
    Case{kIds, "cumsum(%x) {axis = 1}", "i64[batch,seq]"}));

INSTANTIATE_TEST_SUITE_P(Gathers, Infers, testing::Values(
    Case{kTable, "gather(%x, %z)", "f32[batch,seq,768]"},
    Case{"%x: f32[batch,seq,768], %z: i64[]", "gather(%x, %z) {axis = 1}", "f32[batch,768]"},
    Case{"%x: f32[batch,seq], %z: i32[batch,3]", "gather_elements(%x, %z) {axis = 1}", "f32[batch,3]"},
    Case{"%x: f32[batch,seq,768], %z: i64[batch,n,1]", "gather_nd(%x, %z) {batch_dims = 1}", "f32[batch,n,768]"},
    Case{"%x: f32[batch,seq,768], %z: i64[n,2]", "gather_nd(%x, %z)", "f32[n,768]"},
    Case{"%x: f32[seq,768], %z: i64[n,1], %u: f32[n,768]", "scatter_nd(%x, %z, %u)", "f32[seq,768]"}));

INSTANTIATE_TEST_SUITE_P(Elementwise, Infers, testing::Values(
    Case{kIds, "cast(%x) {to = f16}", "f16[batch,seq]"},
    Case{kX, "gelu(%x) {approximate = \"tanh\"}", "f32[batch,seq,768]"},
    Case{kX, "is_nan(%x)", "bool[batch,seq,768]"},
    Case{kIds, "neg(%x)", "i64[batch,seq]"},
    Case{kTwo, "add(%x, %z)", "f32[batch,12,seq]"},
    Case{kTwo, "less_equal(%x, %z)", "bool[batch,12,seq]"},
    Case{kIds, "equal(%x, %x)", "bool[batch,seq]"},
    Case{kBool, "where(%x, %a, %b)", "f32[batch,seq]"},
    Case{"%x: bool[seq], %z: bool[batch,1]", "and(%x, %z)", "bool[batch,seq]"}));

INSTANTIATE_TEST_SUITE_P(Reductions, Infers, testing::Values(
    Case{kX, "reduce_mean(%x) {axes = [2]}", "f32[batch,seq,1]"},
    Case{kX, "reduce_sum(%x) {axes = [0, 2], keepdims = 0}", "f32[seq]"},
    Case{kX, "reduce_l2(%x) {axes = [0, 1, 2], keepdims = 0}", "f32[]"},
    Case{kX, "arg_max(%x) {axis = -1}", "i64[batch,seq,1]"},
    Case{kX, "arg_max(%x) {axis = 1, keepdims = 0}", "i64[batch,768]"},
    Case{kX, "softmax(%x)", "f32[batch,seq,768]"},
    Case{kX, "log_softmax(%x) {axis = 0}", "f32[batch,seq,768]"}));

INSTANTIATE_TEST_SUITE_P(
    Shapes, Refuses,
    testing::Values(
        Case{"", "dims {values = dims[1,2], scalar = 1}", "a scalar takes one value"},
        Case{"", "iota {size = dims[1,2]}", "one entry"}, Case{"", "iota {size = dims[-3]}", "negative"},
        Case{kX, "reshape(%x) {shape = dims[batch,seq,12,65]}", "different numbers of elements"},
        Case{kX, "reshape(%x) {shape = dims[batch,seq,-768]}", "negative"},
        Case{kX, "transpose(%x) {perm = [0, 1]}", "not a permutation"},
        Case{kX, "transpose(%x) {perm = [0, 1, 1]}", "not a permutation"},
        Case{kX, "transpose(%x) {perm = [0, 1, 3]}", "not a permutation"},
        Case{kX, "expand(%x) {shape = dims[seq,768]}", "cannot expand rank 3 to rank 2"},
        Case{"%x: f32[3]", "expand(%x) {shape = dims[4]}", "do not agree"},
        Case{kX, "slice(%x) {axes = [3], starts = dims[0], ends = dims[1], steps = [1]}", "axis 3 is out of range"},
        Case{kX, "slice(%x) {axes = [1], starts = dims[0], ends = dims[1], steps = [0]}", "step 0"},
        Case{kX, "slice(%x) {axes = [1], starts = dims[0,0], ends = dims[1], steps = [1]}", "differ in length"},
        Case{kX, "slice(%x) {axes = [2, 2], starts = dims[0,0], ends = dims[1,1], steps = [1, 1]}", "sliced twice"},
        Case{kX, "slice(%x) {axes = [2], starts = dims[0], ends = dims[769], steps = [1]}", "leaves axis 2"},
        Case{kX, "slice(%x) {axes = [2], starts = dims[768], ends = dims[0], steps = [-1]}", "leaves axis 2"},
        Case{kX, "slice(%x) {axes = [2], starts = dims[-1], ends = dims[5], steps = [1]}", "leaves axis 2"},
        Case{"%x: f32[4,2], %z: f32[4,2,1]", "concat(%x, %z) {axis = 0}", "ranks 2 and 3"},
        Case{"%x: f32[4,2], %z: f32[4,3]", "concat(%x, %z) {axis = 0}", "do not agree"},
        Case{"%x: f32[4,2], %z: i64[4,2]", "concat(%x, %z) {axis = 0}", "different types"},
        Case{kX, "concat(%x) {axis = 3}", "axis 3 is out of range"},
        Case{kX, "tile(%x) {repeats = dims[1]}", "1 repeats for rank 3"},
        Case{kX, "pad(%x) {before = dims[0,0,0], after = dims[0,0,-769]}", "negative"},
        Case{kX, "pad(%x) {before = dims[0,0,0], after = dims[0,0,0], mode = \"mirror\"}", "unknown padding mode"},
        Case{"%x: f32[4]", "trilu(%x)", "takes matrices"}, Case{"%x: bool[4]", "cumsum(%x) {axis = 0}", "numeric"}));

INSTANTIATE_TEST_SUITE_P(Gathers, Refuses, testing::Values(
    Case{"%x: f32[4], %z: f32[2]", "gather(%x, %z)", "integer type"},
    Case{"%x: f32[], %z: i64[2]", "gather(%x, %z)", "axis 0 is out of range"},
    Case{"%x: f32[4,2], %z: i64[2]", "gather_elements(%x, %z)", "ranks 2 and 1"},
    Case{"%x: f32[4,2], %z: i64[2,3]", "gather_elements(%x, %z)", "size 3 along axis 1, data only 2"},
    Case{"%x: f32[4,2], %z: i64[2,n]", "gather_nd(%x, %z)", "constant last axis"},
    Case{"%x: f32[4,2], %z: i64[2,3]", "gather_nd(%x, %z)", "tuples of 3"},
    Case{"%x: f32[4,2], %z: i64[2,1], %u: f32[2,3]", "scatter_nd(%x, %z, %u)", "do not agree"},
    Case{"%x: f32[4,2], %z: i64[2,1], %u: f16[2,2]", "scatter_nd(%x, %z, %u)", "data is f32, updates are f16"}));

INSTANTIATE_TEST_SUITE_P(Elementwise, Refuses, testing::Values(
    Case{kIds, "exp(%x)", "must be floating-point"},
    Case{kIds, "not(%x)", "must be bool"},
    Case{kIds, "is_nan(%x)", "must be floating-point"},
    Case{"%x: bool[2]", "neg(%x)", "must be a numeric type"},
    Case{kX, "gelu(%x) {approximate = \"fast\"}", "unknown approximation"},
    Case{"%x: f32[2], %z: f16[2]", "add(%x, %z)", "different types, f32 and f16"},
    Case{"%x: f32[2,3], %z: f32[2,4]", "mul(%x, %z)", "sizes 3 and 4 do not agree"},
    Case{"%x: bool[2]", "add(%x, %x)", "numeric"},
    Case{"%x: bool[2]", "less(%x, %x)", "numeric"},
    Case{"%x: i64[2]", "xor(%x, %x)", "must be bool"},
    Case{"%x: i64[2], %a: f32[2], %b: f32[2]", "where(%x, %a, %b)", "must be bool"},
    Case{"%x: bool[2], %a: f32[2], %b: f64[2]", "where(%x, %a, %b)", "different types"}));

INSTANTIATE_TEST_SUITE_P(Reductions, Refuses, testing::Values(
    Case{kX, "reduce_sum(%x) {axes = [3]}", "axis 3 is out of range"},
    Case{kX, "reduce_sum(%x) {axes = [1, 0]}", "not sorted"},
    Case{kX, "reduce_sum(%x) {axes = [1, 1]}", "not sorted"},
    Case{"%x: bool[2]", "reduce_max(%x) {axes = [0]}", "numeric"},
    Case{"%x: f32[0]", "arg_max(%x) {axis = 0}", "no elements"},
    Case{kIds, "softmax(%x)", "floating-point"},
    Case{"%x: f32[]", "softmax(%x)", "axis -1 is out of range"}));

INSTANTIATE_TEST_SUITE_P(Calls, Refuses, testing::Values(
    Case{kX, "softmax(%x, %x)", "2 inputs given, at most 1"},
    Case{kX, "add(%x)", "input 'b' is missing"},
    Case{kX, "add(%x, _)", "input 'b' is missing"},
    Case{kX, "softmax(%x) {axes = 1}", "unknown attribute 'axes'"},
    Case{kX, "softmax(%x) {axis = 1.0}", "wrong kind"},
    Case{kX, "transpose(%x)", "'perm' is missing"}));

TEST(Inference, RanksBeyondTheTextFormAreRefused) {
  Graph graph;
  Value* x = graph.add_input("x", {DType::kF32, {}});
  EXPECT_TRUE(create(graph, Op::k_expand, {x}, {{"shape", Shape(64, Dim(1))}}).ok());
  EXPECT_FALSE(create(graph, Op::k_expand, {x}, {{"shape", Shape(65, Dim(1))}}).ok());
}

TEST(Inference, DifferentSymbolsThatBroadcastAreAssumedEqualAndSettled) {
  Graph g;
  Value* a = g.add_input("a", {DType::kF32, {Dim::symbol("batch"), Dim::symbol("seq")}});
  Value* b = g.add_input("b", {DType::kF32, {Dim::symbol("batch_1"), Dim::symbol("seq")}});
  Node* sum = *create(g, Op::k_add, {a, b});
  Node* square = *create(g, Op::k_mul, {b, b});
  g.add_output("y", square->output());
  ASSERT_EQ(g.assumed_equal.size(), 1u);
  ASSERT_TRUE(apply_assumptions(g).ok());
  EXPECT_EQ(b->type().to_string(), "f32[batch,seq]");
  EXPECT_EQ(square->output()->type().to_string(), "f32[batch,seq]");
  EXPECT_EQ(sum->output()->type().to_string(), "f32[batch,seq]");
}

}  // namespace
}  // namespace tenon::ops
