#include "ops/pointwise_program.h"

#include <cmath>

#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

using testing::HasSubstr;

Attrs program(const std::string& text, DType dtype = DType::kF32) { return {{"program", text}, {"dtype", dtype}}; }

Tensor run(const std::string& text, const std::vector<Given>& inputs, DType dtype = DType::kF32) {
  return output_of(run_op(Op::k_pointwise, inputs, program(text, dtype)));
}

// One instruction of a program against the op of the same name.
void expect_like_op(const std::string& call, Op op, const std::vector<Given>& inputs, DType dtype, Attrs attrs = {}) {
  EXPECT_TRUE(close(run("t0=" + call, inputs, dtype), output_of(run_op(op, inputs, std::move(attrs))))) << call;
}

TEST(Pointwise, UnaryFunctionsAreTheOpsOfTheirName) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType t : {DType::kF32, DType::kF64}) {
    const Tensor x = random.tensor(t, {700}, 0.1, 2), y = random.tensor(t, {3, 300}, -3, 3);
    for (const Op op : {Op::k_log, Op::k_sqrt, Op::k_rsqrt, Op::k_reciprocal}) {
      expect_like_op(std::string(ir::op_name(op)) + "(x0)", op, {x}, t);
    }
    for (const Op op : {Op::k_neg, Op::k_abs, Op::k_sign, Op::k_exp, Op::k_erf, Op::k_sin, Op::k_cos, Op::k_tanh, Op::k_sigmoid, Op::k_softplus,
                        Op::k_relu, Op::k_gelu, Op::k_silu, Op::k_floor, Op::k_ceil, Op::k_round}) {
      expect_like_op(std::string(ir::op_name(op)) + "(x0)", op, {y}, t);
    }
    expect_like_op("gelu_tanh(x0)", Op::k_gelu, {y}, t, {{"approximate", std::string("tanh")}});
    expect_like_op("gelu_sigmoid(x0)", Op::k_gelu, {y}, t, {{"approximate", std::string("sigmoid")}});
    expect_like_op("leaky_relu(x0, 0.25)", Op::k_leaky_relu, {y}, t, {{"alpha", 0.25}});
    expect_like_op("is_nan(x0)", Op::k_is_nan, {y}, DType::kBool);
  }
}

TEST(Pointwise, BinaryFunctionsAreTheOpsOfTheirName) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType t : {DType::kF32, DType::kI32, DType::kI64, DType::kI8}) {
    const Tensor a = random.tensor(t, {2, 1, 5}, 1, 5), b = random.tensor(t, {3, 1}, 1, 5);
    for (const Op op : {Op::k_add, Op::k_sub, Op::k_mul, Op::k_div, Op::k_pow, Op::k_min, Op::k_max}) {
      expect_like_op(std::string(ir::op_name(op)) + "(x0, x1)", op, {a, b}, t);
    }
    for (const Op op : {Op::k_equal, Op::k_less, Op::k_less_equal, Op::k_greater, Op::k_greater_equal}) {
      expect_like_op(std::string(ir::op_name(op)) + "(x0, x1)", op, {a, b}, DType::kBool);
    }
    expect_like_op("mod(x0, x1)", Op::k_mod, {a, b}, t, {{"fmod", int64_t{is_float(t)}}});
  }
  const Tensor a = random.tensor(DType::kBool, {2, 3}), b = random.tensor(DType::kBool, {3});
  for (const Op op : {Op::k_and, Op::k_or, Op::k_xor, Op::k_equal}) {
    expect_like_op(std::string(ir::op_name(op)) + "(x0, x1)", op, {a, b}, DType::kBool);
  }
  expect_like_op("not(x0)", Op::k_not, {a}, DType::kBool);
}

TEST(Pointwise, CastsAreTheCastOp) {
  Random random;
  SCOPED_TRACE(random.trace());
  const std::vector<DType> types{DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8, DType::kU8, DType::kI32, DType::kI64, DType::kBool};
  for (const DType from : types) {
    const Tensor x = random.tensor(from, {40}, 0, 5);
    for (const DType to : types) expect_like_op("cast_" + std::string(dtype_name(to)) + "(x0)", Op::k_cast, {x}, to, {{"to", to}});
  }
}

TEST(Pointwise, RunsAChain) {
  const Tensor x = floats({2, 2}, {0, 1, 2, -3}), y = floats({2}, {1, -1});
  EXPECT_TRUE(close(run("t0 = add(x0, x1); t1 = mul(t0, 0.5); t2 = relu(t1); t3 = sub(1, t2);", {x, y}), floats({2, 2}, {0.5, 1, -0.5, 1})));
}

// The additive mask that exporters build.
TEST(Pointwise, MixesDtypesThroughCasts) {
  const Tensor mask = Tensor::from<int64_t>(DType::kI64, {3}, {1, 0, 1});
  EXPECT_TRUE(close(run("t0=cast_f32(x0);t1=sub(1,t0);t2=mul(t1,-3.4028234663852886e38)", {mask}), floats({3}, {0, -3.4028235e38f, 0})));
  EXPECT_TRUE(close(run("t0=equal(x0,0);t1=where(t0,-inf,0)", {mask}), floats({3}, {0, -INFINITY, 0})));
}

TEST(Pointwise, HalfTypesAreRoundedOnceAtTheEnd) {
  const Tensor x = Tensor::from<F16>(DType::kF16, {1}, {F16(2048.f)});
  EXPECT_EQ(run("t0=add(x0,1);t1=sub(t0,2048)", {x}, DType::kF16).at(0), 1);
  EXPECT_EQ(run("t0=add(x0,1);t1=cast_f16(t0);t2=sub(t1,2048)", {x}, DType::kF16).at(0), 0);
}

TEST(Pointwise, IntegersWrap) {
  const Tensor x = Tensor::from<int8_t>(DType::kI8, {2}, {127, -128});
  EXPECT_THAT(integers_of(run("t0=add(x0,1);t1=neg(t0)", {x}, DType::kI8)), testing::ElementsAre(-128, 127));
}

TEST(Pointwise, TakesScalarsAndEmptyTensors) {
  EXPECT_TRUE(close(run("t0=add(x0,x1)", {floats({}, {2}), floats({}, {3})}), floats({}, {5})));
  EXPECT_EQ(run("t0=add(x0,x1)", {floats({0, 3}, {}), floats({}, {3})}).numel(), 0);
}

Attrs of_columns(const std::string& text, std::vector<int64_t> columns, int64_t width) {
  Attrs attrs = program(text);
  attrs.set("columns", std::move(columns));
  attrs.set("width", width);
  return attrs;
}

TEST(Pointwise, ReadsColumnsOfWiderInputs) {
  const Tensor x = floats({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}), row = floats({2}, {10, 20});
  EXPECT_TRUE(close(output_of(run_op(Op::k_pointwise, {x, x, row}, of_columns("t0=mul(x0,x1);t1=add(t0,x2)", {2, 1, -1}, 2))),
                    floats({2, 2}, {16, 32, 52, 76})));
  EXPECT_TRUE(close(output_of(run_op(Op::k_pointwise, {floats({1, 4}, {1, 2, 3, 4}), floats({3, 2}, {0, 0, 1, 1, 2, 2})},
                                     of_columns("t0=add(x0,x1)", {1, -1}, 2))),
                    floats({3, 2}, {2, 3, 3, 4, 4, 5})));
}

TEST(Pointwise, ReadsHalvesThatChangePlaces) {
  const Tensor x = floats({2, 5}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  Attrs attrs = of_columns("t0=neg(x0)", {1}, 4);
  attrs.set("halves", std::vector<int64_t>{2});
  EXPECT_TRUE(close(output_of(run_op(Op::k_pointwise, {x}, attrs)), floats({2, 4}, {-3, -4, -1, -2, -8, -9, -6, -7})));
  attrs.set("halves", std::vector<int64_t>{1});
  EXPECT_TRUE(close(output_of(run_op(Op::k_pointwise, {x}, attrs)), floats({2, 4}, {-2, -1, -4, -3, -7, -6, -9, -8})));
  for (const int64_t wrong : {int64_t{4}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    attrs.set("halves", std::vector<int64_t>{wrong});
    EXPECT_THAT(run_op(Op::k_pointwise, {x}, attrs).status().message(), HasSubstr("not of pairs"));
  }
}

TEST(Pointwise, RefusesColumnsThatAreNotThere) {
  const Tensor x = floats({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  for (const int64_t first : {int64_t{3}, int64_t{5}, std::numeric_limits<int64_t>::max()})
    EXPECT_THAT(run_op(Op::k_pointwise, {x}, of_columns("t0=neg(x0)", {first}, 2)).status().message(), HasSubstr("2 columns from"));
  EXPECT_THAT(inferred("%x: f32[n,m]", "pointwise(%x) {program = \"t0=neg(x0)\", dtype = f32, columns = [0], width = 2}"),
              HasSubstr("2 columns from 0"));
}

TEST(Pointwise, DivisionByZeroIsAnErrorForIntegers) {
  const Tensor x = Tensor::from<int64_t>(DType::kI64, {2}, {1, 0});
  const auto result = run_op(Op::k_pointwise, {x}, program("t0=div(1,x0)", DType::kI64));
  EXPECT_EQ(result.status().code(), ErrorCode::kBadInput);
  EXPECT_THAT(result.status().message(), HasSubstr("division by zero in 'div'"));
}

std::string refusal(const std::string& text, const std::vector<DType>& inputs = {DType::kF32, DType::kI64, DType::kBool},
                    DType result = DType::kF32) {
  const auto parsed = ops::parse_pointwise(text, inputs, result);
  EXPECT_EQ(parsed.status().code(), ErrorCode::kBadModel) << text;
  return parsed.status().message();
}

TEST(PointwiseProgram, RefusesHostileText) {
  EXPECT_THAT(refusal(""), HasSubstr("empty"));
  EXPECT_THAT(refusal(";;"), HasSubstr("t0 = … expected"));
  EXPECT_THAT(refusal("t1=neg(x0)"), HasSubstr("instruction 't1=neg(x0)': t0 = … expected"));
  EXPECT_THAT(refusal("t0=neg x0"), HasSubstr("not an elementwise function"));
  EXPECT_THAT(refusal("t0=neg(x0"), HasSubstr("')' expected"));
  EXPECT_THAT(refusal("t0=neg(x0))"), HasSubstr("'x0)' is not defined here"));
  EXPECT_THAT(refusal("t0=neg(x3)"), HasSubstr("'x3' is not defined here"));
  EXPECT_THAT(refusal("t0=neg(t0)"), HasSubstr("'t0' is not defined here"));
  EXPECT_THAT(refusal("t0=neg(x-1)"), HasSubstr("'x-1' is not defined here"));
  EXPECT_THAT(refusal("t0=neg(x99999999999999999999)"), HasSubstr("is not defined here"));
  EXPECT_THAT(refusal("t0=add(x0,1e)"), HasSubstr("'1e' is no operand"));
  EXPECT_THAT(refusal("t0=add(x0,)"), HasSubstr("2 operands expected"));
  EXPECT_THAT(refusal("t0=add(x0)"), HasSubstr("2 operands expected"));
  EXPECT_THAT(refusal("t0=where(x2,x0,x0,x0)"), HasSubstr("3 operands expected"));
  EXPECT_THAT(refusal("t0=matmul(x0,x0)"), HasSubstr("'matmul' is not an elementwise function"));
  EXPECT_THAT(refusal("t0=cast_f99(x0)"), HasSubstr("'cast_f99'"));
  std::string many;
  for (int i = 0; i < 2000; ++i) many += fmt::format("t{}=neg(x0);", i);
  EXPECT_THAT(refusal(many), HasSubstr("more than 1024 instructions"));
}

TEST(PointwiseProgram, RefusesDtypesThatDoNotFit) {
  EXPECT_THAT(refusal("t0=add(x0,x1)"), HasSubstr("operands are f32 and i64"));
  EXPECT_THAT(refusal("t0=add(1,2)"), HasSubstr("all operands are literals"));
  EXPECT_THAT(refusal("t0=add(x1,1)"), HasSubstr("the program computes i64, f32 expected"));
  EXPECT_THAT(refusal("t0=exp(x1)"), HasSubstr("not defined for i64"));
  EXPECT_THAT(refusal("t0=is_nan(x1)"), HasSubstr("not defined for i64"));
  EXPECT_THAT(refusal("t0=neg(x2)"), HasSubstr("not defined for bool"));
  EXPECT_THAT(refusal("t0=not(x0)"), HasSubstr("bool expected"));
  EXPECT_THAT(refusal("t0=where(x0,x0,x0)"), HasSubstr("the condition must be bool"));
  EXPECT_THAT(refusal("t0=leaky_relu(x0,x0)"), HasSubstr("a literal expected"));
}

// Whatever the text, parsing ends in a program or an error.
TEST(PointwiseProgram, SurvivesRandomText) {
  Random random;
  SCOPED_TRACE(random.trace());
  const std::vector<std::string> pieces{"t0", "t1", "=", "add", "(", ")", ",", ";", "x0", "x1", "1", "-", "inf", "where", "gelu", " ", "cast_f32", "\n", "é"};
  const std::vector<DType> inputs{DType::kF32, DType::kBool};
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    for (int64_t n = random.integer(0, 12); n > 0; --n) text += random.pick(pieces);
    (void)ops::parse_pointwise(text, inputs, DType::kF32);
  }
}

TEST(Pointwise, InfersSymbolicShapes) {
  EXPECT_EQ(inferred("%x: f32[b,1,s], %z: f32[h,1]", "pointwise(%x, %z) {program = \"t0=add(x0,x1)\", dtype = f32}"), "f32[b,h,s]");
  EXPECT_EQ(inferred("%x: i64[b,s]", "pointwise(%x) {program = \"t0=cast_f16(x0)\", dtype = f16}"), "f16[b,s]");
  EXPECT_THAT(inferred("%x: f32[b]", "pointwise(%x) {program = \"t0=add(x0,x1)\", dtype = f32}"), HasSubstr("'x1' is not defined"));
}

}  // namespace
}  // namespace tenon::test
