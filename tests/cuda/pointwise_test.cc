#include "tests/cuda/row_kernels.h"

namespace tenon::test {
namespace {

using kernels::cuda::pointwise_kernel;

TEST(CudaPointwise, AgreesWithReferenceOnEveryFunctionOfOneInput) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kRowTypes) {
    for (const Op op :
         {Op::k_neg,        Op::k_abs,        Op::k_sign, Op::k_exp,   Op::k_log,  Op::k_sqrt,    Op::k_rsqrt,
          Op::k_reciprocal, Op::k_erf,        Op::k_sin,  Op::k_cos,   Op::k_tanh, Op::k_sigmoid, Op::k_softplus,
          Op::k_relu,       Op::k_leaky_relu, Op::k_silu, Op::k_floor, Op::k_ceil, Op::k_round,   Op::k_is_nan}) {
      SCOPED_TRACE(fmt::format("{} {}", ir::op_name(op), dtype_name(dtype)));
      const bool positive = op == Op::k_log || op == Op::k_sqrt || op == Op::k_rsqrt || op == Op::k_reciprocal;
      expect_like_reference(pointwise_kernel(), {op, {random.tensor(dtype, {3, 5, 67}, positive ? 0.05 : -6, 6)}},
                            allowed_for(dtype));
    }
    for (const char* form : {"none", "tanh", "sigmoid"}) {
      expect_like_reference(pointwise_kernel(),
                            {Op::k_gelu, {random.tensor(dtype, {1030}, -6, 6)}, {{"approximate", std::string(form)}}},
                            allowed_for(dtype));
    }
  }
}

TEST(CudaPointwise, AgreesWithReferenceOnEveryFunctionOfTwoInputs) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kI32, DType::kI64}) {
    const Tensor a = random.tensor(dtype, {4, 37}, -9, 9), b = random.tensor(dtype, {4, 37}, 1, 9);
    const Tensor c = filled(dtype, {4, 37}, [&](int64_t i) { return i % 3 == 0 ? a.at(i) : b.at(i); });
    for (const Op op : {Op::k_add, Op::k_sub, Op::k_mul, Op::k_div, Op::k_min, Op::k_max, Op::k_equal, Op::k_less,
                        Op::k_less_equal, Op::k_greater, Op::k_greater_equal}) {
      if (op == Op::k_div && !is_float(dtype)) continue;
      SCOPED_TRACE(fmt::format("{} {}", ir::op_name(op), dtype_name(dtype)));
      expect_like_reference(pointwise_kernel(), {op, {a, c}}, allowed_for(dtype));
    }
    expect_like_reference(pointwise_kernel(), {Op::k_where, {random.tensor(DType::kBool, {4, 1}), a, b}},
                          allowed_for(dtype));
    if (is_float(dtype))
      expect_like_reference(pointwise_kernel(), {Op::k_pow, {b, random.tensor(dtype, {37})}}, allowed_for(dtype) * 4);
  }
  const Tensor p = random.tensor(DType::kBool, {300}), q = random.tensor(DType::kBool, {300});
  for (const Op op : {Op::k_and, Op::k_or, Op::k_xor, Op::k_equal})
    expect_like_reference(pointwise_kernel(), {op, {p, q}}, {});
  expect_like_reference(pointwise_kernel(), {Op::k_not, {p}}, {});
}

TEST(CudaPointwise, Casts) {
  Random random;
  SCOPED_TRACE(random.trace());
  const std::vector<DType> types{DType::kF16, DType::kBF16, DType::kF32, DType::kI32, DType::kI64, DType::kBool};
  for (const DType from : types) {
    for (const DType to : types) {
      SCOPED_TRACE(fmt::format("{} to {}", dtype_name(from), dtype_name(to)));
      expect_like_reference(pointwise_kernel(), {Op::k_cast, {random.tensor(from, {1031}, -300, 300)}, {{"to", to}}},
                            {});
    }
  }
  const Tensor special = floats({6}, {NAN, INFINITY, -INFINITY, 0.0f, 1e20f, -7.9f});
  for (const DType to : types) expect_like_reference(pointwise_kernel(), {Op::k_cast, {special}, {{"to", to}}}, {});
}

TEST(CudaPointwise, BroadcastsAnyAxes) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int trial = 0; trial < 40; ++trial) {
    std::vector<int64_t> a(static_cast<size_t>(random.integer(0, 4))), b(static_cast<size_t>(random.integer(0, 4)));
    const size_t rank = std::max(a.size(), b.size());
    for (size_t i = 0; i < rank; ++i) {
      const int64_t size = random.pick(std::vector<int64_t>{1, 2, 3, 5, 8, 16, 24});
      if (i < a.size()) a[a.size() - 1 - i] = random.chance(0.3) ? 1 : size;
      if (i < b.size()) b[b.size() - 1 - i] = random.chance(0.3) ? 1 : size;
    }
    SCOPED_TRACE(ir::to_string(ir::to_shape(a)) + " and " + ir::to_string(ir::to_shape(b)));
    const DType dtype = random.pick(kRowTypes);
    expect_like_reference(pointwise_kernel(), {Op::k_sub, {random.tensor(dtype, a), random.tensor(dtype, b)}},
                          allowed_for(dtype));
  }
}

TEST(CudaPointwise, RunsPrograms) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto run = [&](const char* program, DType dtype, std::vector<Given> inputs, double factor = 1) {
    SCOPED_TRACE(program);
    expect_like_reference(pointwise_kernel(),
                          {Op::k_pointwise, std::move(inputs), {{"program", std::string(program)}, {"dtype", dtype}}},
                          allowed_for(dtype) * factor);
  };
  for (const DType t : kRowTypes) {
    const Tensor x = random.tensor(t, {7, 129}), row = random.tensor(t, {129}), one = random.tensor(t, {}),
                 wide = random.tensor(t, {16, 64});
    const Tensor flags = random.tensor(DType::kBool, {7, 1});
    run("t0=add(x0,x1);t1=tanh(t0);t2=mul(t1,0.5)", t, {x, row});
    run("t0=mul(x0,x2);t1=gelu(t0);t2=sub(1,t1);t3=where(x1,t2,-inf)", t, {x, flags, one}, 2);
    run("t0=cast_bool(x0);t1=and(t0,x1)", DType::kBool, {x, flags});
    run("t0=leaky_relu(x0,0.2);t1=gelu_tanh(t0);t2=gelu_sigmoid(t1);t3=max(t2,x0)", t, {x}, 2);
    run("t0=cast_f32(x0);t1=erf(t0);t2=cast_f16(t1)", DType::kF16, {wide});
  }
  const Tensor ids = random.tensor(DType::kI64, {5, 33}, 0, 3);
  run("t0=equal(x0,1);t1=not(t0);t2=cast_i64(t1);t3=mul(t2,x0);t4=add(t3,-4000000000)", DType::kI64, {ids});
}

TEST(CudaPointwise, ReadsColumnsOfWiderInputs) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kRowTypes) {
    for (const auto& [width, first] : {std::pair<int64_t, int64_t>{1, 3}, {7, 7}, {64, 64}, {600, 8}, {32, 3}}) {
      const Tensor x = random.tensor(dtype, {5, 2, width + first + 8}), row = random.tensor(dtype, {2, 1});
      Attrs attrs{{"program", std::string("t0=gelu(x0);t1=mul(t0,x1);t2=add(t1,x2)")},
                  {"dtype", dtype},
                  {"columns", std::vector<int64_t>{first, 0, -1}},
                  {"width", width}};
      expect_like_reference(pointwise_kernel(), {Op::k_pointwise, {x, x, row}, attrs}, allowed_for(dtype) * 2);
    }
  }
}

TEST(CudaPointwise, ReadsHalvesThatChangePlaces) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kRowTypes) {
    for (const auto& [width, half] : {std::pair<int64_t, int64_t>{2, 1}, {80, 40}, {1536, 32}, {1200, 300}}) {
      for (const int64_t first : {0, 3, 8}) {
        const Tensor x = random.tensor(dtype, {9, width + first + 5}), table = random.tensor(dtype, {9, width});
        Attrs attrs{{"program", std::string("t0=mul(x0,x1);t1=add(t0,x2)")},
                    {"dtype", dtype},
                    {"columns", std::vector<int64_t>{first, -1, first}},
                    {"halves", std::vector<int64_t>{half, 0, 0}},
                    {"width", width}};
        expect_like_reference(pointwise_kernel(), {Op::k_pointwise, {x, table, x}, attrs}, allowed_for(dtype) * 2);
      }
    }
  }
}

TEST(CudaPointwise, ANanStaysOne) {
  const Tensor x = floats({5}, {NAN, INFINITY, -INFINITY, 0.0f, -0.0f}), y = floats({5}, {1, 2, NAN, NAN, 3});
  for (const Op op :
       {Op::k_exp, Op::k_tanh, Op::k_erf, Op::k_sigmoid, Op::k_relu, Op::k_gelu, Op::k_sign, Op::k_abs, Op::k_is_nan})
    expect_like_reference(pointwise_kernel(), {op, {x}}, allowed_for(DType::kF32));
  for (const Op op : {Op::k_min, Op::k_max, Op::k_add, Op::k_equal, Op::k_less})
    expect_like_reference(pointwise_kernel(), {op, {x, y}}, allowed_for(DType::kF32));
}

TEST(CudaPointwise, DeclinesWithAReason) {
  Random random;
  const Tensor i = random.tensor(DType::kI64, {4}, 1, 5), d = random.tensor(DType::kF64, {4});
  EXPECT_EQ(declined(pointwise_kernel(), {Op::k_div, {i, i}}), "div of integers may fail");
  EXPECT_EQ(declined(pointwise_kernel(), {Op::k_add, {d, d}}), "input 0 is f64");
  EXPECT_EQ(declined(pointwise_kernel(), {Op::k_softmax, {d}}), "not an elementwise op");
}

}  // namespace
}  // namespace tenon::test
