// Known contents of small integer tensors: the shape arithmetic of exporters disappears as the graph is built.
#include <gtest/gtest.h>

#include "ops/create.h"

namespace tenon::ops {
namespace {

class ShapeArithmetic : public testing::Test {
 protected:
  Dim batch_ = Dim::symbol("batch"), seq_ = Dim::symbol("seq");
  Graph graph_;

  Value* make(Op op, std::vector<Value*> inputs, Attrs attrs = {}) {
    Result<Node*> node = create(graph_, op, std::move(inputs), std::move(attrs));
    EXPECT_TRUE(node.ok()) << node.status().message();
    return node.ok() ? (*node)->output() : nullptr;
  }
  Value* dims(Shape values) { return make(Op::k_dims, {}, {{"values", std::move(values)}}); }
  Value* scalar(Dim value) { return make(Op::k_dims, {}, {{"values", Shape{std::move(value)}}, {"scalar", int64_t{1}}}); }
  Value* ints(std::vector<int64_t> values) { return constant(graph_, Tensor::ints(values)); }
  Value* bools(std::vector<uint8_t> v) { return constant(graph_, Tensor::from(DType::kBool, {static_cast<int64_t>(v.size())}, v)); }

  // "[batch, seq + 1]", or "?" when nothing is known.
  static std::string text(const Value* v) {
    if (!v->known()) return "?";
    return ir::to_string(v->known()->values);
  }
};

// x.view(x.size(0), -1, 12, 64): Shape, Gather, Unsqueeze, Concat. The importer computes -1 from what is known here.
TEST_F(ShapeArithmetic, GatheredSizesConcatenateToAReshapeTarget) {
  Value* shape = dims({batch_, seq_, 768});
  Value* size = make(Op::k_gather, {shape, scalar(0)});
  EXPECT_EQ(size->type().to_string(), "i64[]");
  Value* axis = make(Op::k_reshape, {size}, {{"shape", Shape{1}}});
  Value* target = make(Op::k_concat, {axis, ints({-1, 12, 64})}, {{"axis", int64_t{0}}});
  EXPECT_EQ(text(target), "[batch,-1,12,64]");
}

// x.shape[-1] // heads, as dynamo spells it.
TEST_F(ShapeArithmetic, HeadSizeFromDivision) {
  Value* width = make(Op::k_gather, {dims({batch_, seq_, 768}), ints({-1})});
  EXPECT_EQ(text(make(Op::k_div, {width, ints({12})})), "[64]");
  Value* rows = make(Op::k_mul, {scalar(batch_), scalar(seq_)});
  EXPECT_EQ(text(make(Op::k_div, {rows, scalar(seq_)})), "[batch]");
  EXPECT_EQ(text(make(Op::k_div, {scalar(seq_ + 1), scalar(2)})), "[floordiv(seq + 1, 2)]");
}

TEST_F(ShapeArithmetic, DivisionThatMayTruncateTowardsZeroStaysUnknown) {
  EXPECT_EQ(text(make(Op::k_div, {scalar(seq_ - 5), scalar(2)})), "?");
  EXPECT_EQ(text(make(Op::k_div, {scalar(-7), scalar(2)})), "[-3]");
  EXPECT_EQ(text(make(Op::k_div, {scalar(seq_), scalar(0)})), "?");
}

// Expand with -1: Where(Equal(target, -1), ones, target), twice seen in torch.expand.
TEST_F(ShapeArithmetic, ExpandIdiomWithMinusOne) {
  Value* target = make(Op::k_concat, {dims({batch_}), ints({-1, 1}), dims({seq_})}, {{"axis", int64_t{0}}});
  Value* minus_one = make(Op::k_equal, {target, ints({-1})});
  EXPECT_EQ(minus_one->type().to_string(), "bool[4]");
  EXPECT_EQ(text(minus_one), "[0,1,0,0]");
  Value* ones = make(Op::k_expand, {scalar(1)}, {{"shape", Shape{4}}});
  EXPECT_EQ(text(make(Op::k_where, {minus_one, ones, target})), "[batch,1,1,seq]");
}

// The branch that is never taken may be unknown.
TEST_F(ShapeArithmetic, WhereNeedsOnlyTheTakenBranch) {
  Value* unknown = graph_.add_input("u", {DType::kI64, {2}});
  EXPECT_EQ(text(make(Op::k_where, {bools({1, 1}), dims({batch_, seq_}), unknown})), "[batch,seq]");
  EXPECT_EQ(text(make(Op::k_where, {bools({1, 0}), dims({batch_, seq_}), unknown})), "?");
}

// position_ids[:, past : seq + past] over a constant buffer, and arange(seq).
TEST_F(ShapeArithmetic, SlicesAndRangesOfConstants) {
  Value* shape = dims({batch_, seq_, 12, 64});
  const Attrs last_two{{"axes", std::vector<int64_t>{0}}, {"starts", Shape{2}}, {"ends", Shape{4}}, {"steps", std::vector<int64_t>{1}}};
  EXPECT_EQ(text(make(Op::k_slice, {shape}, last_two)), "[12,64]");
  const Attrs backwards{{"axes", std::vector<int64_t>{0}}, {"starts", Shape{3}}, {"ends", Shape{-1}}, {"steps", std::vector<int64_t>{-2}}};
  EXPECT_EQ(text(make(Op::k_slice, {shape}, backwards)), "[64,seq]");
  Value* range = make(Op::k_iota, {}, {{"start", Shape{seq_}}, {"step", int64_t{2}}, {"size", Shape{3}}});
  EXPECT_EQ(text(range), "[seq,seq + 2,seq + 4]");
  EXPECT_EQ(text(make(Op::k_iota, {}, {{"size", Shape{seq_}}})), "?");
  EXPECT_EQ(text(make(Op::k_iota, {}, {{"size", Shape{2}}, {"dtype", DType::kF32}})), "?");
}

TEST_F(ShapeArithmetic, MovesElements) {
  Value* square = make(Op::k_reshape, {dims({batch_, seq_, 3, 4})}, {{"shape", Shape{2, 2}}});
  EXPECT_EQ(text(make(Op::k_transpose, {square}, {{"perm", std::vector<int64_t>{1, 0}}})), "[batch,3,seq,4]");
  EXPECT_EQ(text(make(Op::k_tile, {dims({batch_, seq_})}, {{"repeats", Shape{2}}})), "[batch,seq,batch,seq]");
  EXPECT_EQ(text(make(Op::k_expand, {dims({batch_, seq_})}, {{"shape", Shape{2, 2}}})), "[batch,seq,batch,seq]");
  Value* index = constant(graph_, Tensor::from(DType::kI64, {2, 1}, std::vector<int64_t>{1, 0}));
  EXPECT_EQ(text(make(Op::k_gather_elements, {square, index}, {{"axis", int64_t{1}}})), "[seq,3]");
  Value* tuple = constant(graph_, Tensor::from(DType::kI64, {1, 2}, std::vector<int64_t>{1, -1}));
  EXPECT_EQ(text(make(Op::k_gather_nd, {square, tuple})), "[4]");
}

TEST_F(ShapeArithmetic, Arithmetic) {
  Value *b = scalar(batch_), *s = scalar(seq_);
  EXPECT_EQ(text(make(Op::k_add, {b, s})), "[batch + seq]");
  EXPECT_EQ(text(make(Op::k_sub, {s, scalar(1)})), "[seq - 1]");
  EXPECT_EQ(text(make(Op::k_neg, {s})), "[-seq]");
  EXPECT_EQ(text(make(Op::k_abs, {make(Op::k_neg, {s})})), "[seq]");
  EXPECT_EQ(text(make(Op::k_sign, {s})), "[1]");
  EXPECT_EQ(text(make(Op::k_sign, {scalar(seq_ - 1)})), "?");
  EXPECT_EQ(text(make(Op::k_mod, {s, scalar(8)})), "[mod(seq, 8)]");
  EXPECT_EQ(text(make(Op::k_mod, {scalar(-7), scalar(3)}, {{"fmod", int64_t{1}}})), "[-1]");
  EXPECT_EQ(text(make(Op::k_mod, {scalar(-7), scalar(3)})), "[2]");
  EXPECT_EQ(text(make(Op::k_min, {s, scalar(512)})), text(make(Op::k_min, {s, scalar(512)})));
  EXPECT_EQ(text(make(Op::k_max, {s, scalar(1)})), "[seq]");
  EXPECT_EQ(text(make(Op::k_pow, {s, scalar(2)})), "[seq*seq]");
  EXPECT_EQ(text(make(Op::k_add, {dims({batch_, seq_}), ints({1})})), "[batch + 1,seq + 1]");
}

TEST_F(ShapeArithmetic, ComparisonsThatTheSymbolsDecide) {
  Value* s = scalar(seq_);
  EXPECT_EQ(text(make(Op::k_greater, {s, scalar(0)})), "[1]");
  EXPECT_EQ(text(make(Op::k_less, {s, scalar(1)})), "[0]");
  EXPECT_EQ(text(make(Op::k_greater_equal, {s, scalar(1)})), "[1]");
  EXPECT_EQ(text(make(Op::k_less_equal, {s, scalar(seq_ + 1)})), "[1]");
  EXPECT_EQ(text(make(Op::k_equal, {s, s})), "[1]");
  EXPECT_EQ(text(make(Op::k_equal, {s, scalar(-1)})), "[0]");
  EXPECT_EQ(text(make(Op::k_equal, {s, scalar(1)})), "?");
  EXPECT_EQ(text(make(Op::k_less, {s, scalar(512)})), "?");
  Value *yes = bools({1}), *no = bools({0});
  EXPECT_EQ(text(make(Op::k_and, {yes, no})), "[0]");
  EXPECT_EQ(text(make(Op::k_or, {yes, no})), "[1]");
  EXPECT_EQ(text(make(Op::k_xor, {yes, yes})), "[0]");
  EXPECT_EQ(text(make(Op::k_not, {no})), "[1]");
}

TEST_F(ShapeArithmetic, Reductions) {
  Value* shape = dims({batch_, seq_, 64});
  const Attrs all{{"axes", std::vector<int64_t>{0}}, {"keepdims", int64_t{0}}};
  EXPECT_EQ(text(make(Op::k_reduce_prod, {shape}, all)), "[64*batch*seq]");
  EXPECT_EQ(text(make(Op::k_reduce_sum, {shape}, all)), "[batch + seq + 64]");
  EXPECT_EQ(text(make(Op::k_reduce_max, {dims({seq_, seq_ + 1})}, all)), "[seq + 1]");
  EXPECT_EQ(text(make(Op::k_reduce_min, {dims({seq_, seq_ + 1})}, all)), "[seq]");
  EXPECT_EQ(text(make(Op::k_reduce_mean, {shape}, all)), "?");
  EXPECT_EQ(text(make(Op::k_cumsum, {shape}, {{"axis", int64_t{0}}})), "[batch,batch + seq,batch + seq + 64]");
}

TEST_F(ShapeArithmetic, Casts) {
  Value* s = scalar(seq_);
  EXPECT_EQ(text(make(Op::k_cast, {s}, {{"to", DType::kI32}})), "[seq]");
  EXPECT_EQ(text(make(Op::k_cast, {s}, {{"to", DType::kBool}})), "[1]");
  EXPECT_EQ(text(make(Op::k_cast, {scalar(seq_ - 1)}, {{"to", DType::kBool}})), "?");
  EXPECT_EQ(text(make(Op::k_cast, {s}, {{"to", DType::kF32}})), "?");
  EXPECT_EQ(text(make(Op::k_cast, {s}, {{"to", DType::kI8}})), "?");
  EXPECT_EQ(text(make(Op::k_cast, {scalar(300)}, {{"to", DType::kI8}})), "?");
  EXPECT_EQ(text(make(Op::k_cast, {scalar(-1)}, {{"to", DType::kU64}})), "?");
  EXPECT_EQ(text(make(Op::k_cast, {scalar(-1)}, {{"to", DType::kI8}})), "[-1]");
}

TEST_F(ShapeArithmetic, LargeTensorsAreNotTracked) {
  Value* large = make(Op::k_expand, {scalar(1)}, {{"shape", Shape{kMaxKnown + 1}}});
  EXPECT_EQ(text(large), "?");
  EXPECT_NE(text(make(Op::k_expand, {scalar(1)}, {{"shape", Shape{kMaxKnown}}})), "?");
}

TEST_F(ShapeArithmetic, KnownIndexOutOfRangeIsRefused) {
  EXPECT_FALSE(create(graph_, Op::k_gather, {dims({batch_, seq_}), ints({2})}).ok());
  EXPECT_FALSE(create(graph_, Op::k_gather, {dims({batch_, seq_}), ints({-3})}).ok());
  EXPECT_TRUE(create(graph_, Op::k_gather, {dims({batch_, seq_}), ints({-2})}).ok());
}

}  // namespace
}  // namespace tenon::ops
