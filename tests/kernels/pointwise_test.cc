#include "tests/kernels/run_kernel.h"

namespace tenon::test {
namespace {

using kernels::cpu::pointwise_kernel;

TEST(PointwiseKernel, AgreesWithReferenceOnEveryFunctionOfOneInput) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Op op :
       {Op::k_neg, Op::k_abs, Op::k_sign, Op::k_exp, Op::k_sqrt, Op::k_rsqrt, Op::k_reciprocal, Op::k_erf, Op::k_tanh,
        Op::k_sigmoid, Op::k_relu, Op::k_leaky_relu, Op::k_silu, Op::k_floor, Op::k_ceil, Op::k_round, Op::k_is_nan}) {
    SCOPED_TRACE(ir::op_name(op));
    const bool positive = op == Op::k_sqrt || op == Op::k_rsqrt || op == Op::k_reciprocal;
    expect_like_reference(pointwise_kernel(), {op, {random.tensor(DType::kF32, {3, 5, 67}, positive ? 0.01 : -6, 6)}},
                          kAllowed);
  }
  for (const char* form : {"none", "tanh", "sigmoid"})
    expect_like_reference(
        pointwise_kernel(),
        {Op::k_gelu, {random.tensor(DType::kF32, {1030}, -6, 6)}, {{"approximate", std::string(form)}}}, kAllowed);
}

TEST(PointwiseKernel, AgreesWithReferenceOnEveryFunctionOfTwoInputs) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor a = random.tensor(DType::kF32, {4, 37}), b = random.tensor(DType::kF32, {4, 37});
  const Tensor c = filled(DType::kF32, {4, 37}, [&](int64_t i) { return i % 3 == 0 ? a.at(i) : b.at(i); });
  for (const Op op : {Op::k_add, Op::k_sub, Op::k_mul, Op::k_div, Op::k_min, Op::k_max, Op::k_equal, Op::k_less,
                      Op::k_less_equal, Op::k_greater, Op::k_greater_equal}) {
    SCOPED_TRACE(ir::op_name(op));
    expect_like_reference(pointwise_kernel(), {op, {a, c}}, kAllowed);
  }
  const Tensor p = random.tensor(DType::kBool, {300}), q = random.tensor(DType::kBool, {300});
  for (const Op op : {Op::k_and, Op::k_or, Op::k_xor})
    expect_like_reference(pointwise_kernel(), {op, {p, q}}, kAllowed);
  expect_like_reference(pointwise_kernel(), {Op::k_not, {p}}, kAllowed);
  expect_like_reference(pointwise_kernel(), {Op::k_where, {random.tensor(DType::kBool, {4, 1}), a, b}}, kAllowed);
}

TEST(PointwiseKernel, BroadcastsAnyAxes) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int trial = 0; trial < 40; ++trial) {
    std::vector<int64_t> a(static_cast<size_t>(random.integer(0, 4))), b(static_cast<size_t>(random.integer(0, 4)));
    const size_t rank = std::max(a.size(), b.size());
    for (size_t i = 0; i < rank; ++i) {
      const int64_t size = random.integer(1, 9);
      if (i < a.size()) a[a.size() - 1 - i] = random.chance(0.3) ? 1 : size;
      if (i < b.size()) b[b.size() - 1 - i] = random.chance(0.3) ? 1 : size;
    }
    SCOPED_TRACE(ir::to_string(ir::to_shape(a)) + " and " + ir::to_string(ir::to_shape(b)));
    expect_like_reference(pointwise_kernel(),
                          {Op::k_sub, {random.tensor(DType::kF32, a), random.tensor(DType::kF32, b)}}, kAllowed);
  }
}

TEST(PointwiseKernel, RunsPrograms) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto run = [&](const char* program, DType dtype, std::vector<Given> inputs) {
    SCOPED_TRACE(program);
    expect_like_reference(pointwise_kernel(),
                          {Op::k_pointwise, std::move(inputs), {{"program", std::string(program)}, {"dtype", dtype}}},
                          kAllowed * 4);
  };
  const Tensor x = random.tensor(DType::kF32, {7, 129}), row = random.tensor(DType::kF32, {129}),
               one = random.tensor(DType::kF32, {});
  const Tensor flags = random.tensor(DType::kBool, {7, 1});
  run("t0=add(x0,x1);t1=tanh(t0);t2=mul(t1,0.5)", DType::kF32, {x, row});
  run("t0=mul(x0,x2);t1=gelu(t0);t2=sub(1,t1);t3=where(x1,t2,-inf)", DType::kF32, {x, flags, one});
  run("t0=less(x0,x1);t1=not(t0);t2=cast_f32(t1);t3=mul(t2,-10000)", DType::kF32, {x, row});
  run("t0=cast_bool(x0);t1=and(t0,x1)", DType::kBool, {x, flags});
  run("t0=leaky_relu(x0,0.2);t1=gelu_tanh(t0);t2=gelu_sigmoid(t1);t3=max(t2,x0)", DType::kF32, {x});
}

// Functions without a vector form run element by element, beside others that have one.
TEST(PointwiseKernel, ReadsColumnsOfWiderInputs) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t width : {1, 7, 512, 600}) {
    const Tensor x = random.tensor(DType::kF32, {3, 2, width * 2 + 5}), row = random.tensor(DType::kF32, {2, 1});
    Attrs attrs{{"program", std::string("t0=gelu(x0);t1=mul(t0,x1);t2=add(t1,x2)")},
                {"dtype", DType::kF32},
                {"columns", std::vector<int64_t>{width + 3, 0, -1}},
                {"width", width}};
    expect_like_reference(pointwise_kernel(), {Op::k_pointwise, {x, x, row}, attrs}, kAllowed);
  }
}

// As rotary embeddings need them; blocks that do not fit the kernel's.
TEST(PointwiseKernel, ReadsHalvesThatChangePlaces) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const auto& [width, half] : {std::pair<int64_t, int64_t>{2, 1}, {80, 40}, {1536, 32}, {1200, 300}}) {
    for (const int64_t first : {0, 3}) {
      const Tensor x = random.tensor(DType::kF32, {9, width + first}), table = random.tensor(DType::kF32, {9, width});
      Attrs attrs{{"program", std::string("t0=mul(x0,x1);t1=add(t0,x2)")},
                  {"dtype", DType::kF32},
                  {"columns", std::vector<int64_t>{first, -1, first}},
                  {"halves", std::vector<int64_t>{half, 0, 0}},
                  {"width", width}};
      expect_like_reference(pointwise_kernel(), {Op::k_pointwise, {x, table, x}, attrs}, kAllowed);
    }
  }
}

TEST(PointwiseKernel, DoesNotOverwriteWhatIsReadAtOtherPlaces) {
  Random random;
  const Tensor x = random.tensor(DType::kF32, {3, 8});
  Attrs attrs{{"program", std::string("t0=add(x0,x1)")},
              {"dtype", DType::kF32},
              {"columns", std::vector<int64_t>{0, 0}},
              {"width", int64_t{8}}};
  EXPECT_TRUE(pointwise_kernel().in_place((*build({Op::k_pointwise, {x, x}, attrs}))->problem, 0));
  attrs.set("halves", std::vector<int64_t>{0, 4});
  EXPECT_FALSE(pointwise_kernel().in_place((*build({Op::k_pointwise, {x, x}, attrs}))->problem, 0));
}

TEST(PointwiseKernel, RunsEveryFunctionOfFloats) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x = random.tensor(DType::kF32, {3, 1025}, 0.1, 0.9), row = random.tensor(DType::kF32, {1025}, 0.1, 0.9);
  for (const Op op : {Op::k_log, Op::k_sin, Op::k_cos, Op::k_tan, Op::k_asin, Op::k_acos, Op::k_atan, Op::k_sinh,
                      Op::k_cosh, Op::k_asinh, Op::k_atanh, Op::k_softplus})
    expect_like_reference(pointwise_kernel(), {op, {x}}, kAllowed);
  expect_like_reference(pointwise_kernel(), {Op::k_pow, {x, row}}, kAllowed);
  expect_like_reference(
      pointwise_kernel(),
      {Op::k_pointwise,
       {x, row},
       {{"program", std::string("t0=softplus(x0);t1=tanh(t0);t2=mul(t1,x0);t3=pow(t2,x1);t4=mod(t3,0.3)")},
        {"dtype", DType::kF32}}},
      kAllowed * 4);
}

TEST(PointwiseKernel, ANanStaysOne) {
  const Tensor x = floats({5}, {NAN, INFINITY, -INFINITY, 0.0f, -0.0f}), y = floats({5}, {1, 2, NAN, NAN, 3});
  for (const Op op :
       {Op::k_exp, Op::k_tanh, Op::k_erf, Op::k_sigmoid, Op::k_relu, Op::k_gelu, Op::k_sign, Op::k_abs, Op::k_is_nan})
    expect_like_reference(pointwise_kernel(), {op, {x}}, kAllowed);
  for (const Op op : {Op::k_min, Op::k_max, Op::k_add, Op::k_equal, Op::k_less})
    expect_like_reference(pointwise_kernel(), {op, {x, y}}, kAllowed);
}

TEST(PointwiseKernel, DeclinesWithAReason) {
  Random random;
  const Tensor x = random.tensor(DType::kF32, {4}), i = random.tensor(DType::kI64, {4});
  EXPECT_EQ(declined(pointwise_kernel(), {Op::k_add, {i, i}}), "input 0 is i64");
  EXPECT_EQ(declined(pointwise_kernel(), {Op::k_mod, {x, x}, {{"fmod", int64_t{1}}}}),
            "mod carries an attribute that programs do not");
  EXPECT_EQ(declined(pointwise_kernel(), {Op::k_softmax, {x}}), "not an elementwise op");
  EXPECT_EQ(declined(pointwise_kernel(),
                     {Op::k_pointwise,
                      {x},
                      {{"program", std::string("t0=cast_i64(x0);t1=cast_f32(t0)")}, {"dtype", DType::kF32}}}),
            "cast works on i64");
}

TEST(CastKernel, RoundsToNearestEvenAndWidensExactly) {
  Random random;
  SCOPED_TRACE(random.trace());
  // Ties, the largest number (to infinity), numbers near the smallest, and values that are not finite.
  const std::vector<float> special{1.00390625f, 1.01171875f, -1.00390625f, 3.4028235e38f, 1e-40f,
                                   -1e-45f,     INFINITY,    -INFINITY,    NAN,           -0.0f};
  for (const int64_t count : {1, 7, 127, 129, 50'000}) {
    const Tensor x = filled(DType::kF32, {count}, [&](int64_t i) {
      return i < static_cast<int64_t>(special.size()) ? static_cast<double>(special[static_cast<size_t>(i)])
                                                      : random.real(-1e3, 1e3);
    });
    const Attrs down{{"to", DType::kBF16}}, up{{"to", DType::kF32}};
    expect_like_reference(kernels::cpu::cast_kernel(), {Op::k_cast, {x}, down}, {});
    expect_like_reference(kernels::cpu::cast_kernel(), {Op::k_cast, {(*run_op(Op::k_cast, {x}, down))[0]}, up}, {});
  }
}

TEST(CastKernel, DeclinesOtherTypes) {
  Random random;
  EXPECT_EQ(
      declined(kernels::cpu::cast_kernel(), {Op::k_cast, {random.tensor(DType::kF16, {3})}, {{"to", DType::kF32}}}),
      "from f16 to f32");
}

}  // namespace
}  // namespace tenon::test
