#include <cmath>

#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

// A dense attention problem; masks and biases are per original position.
struct Case {
  int64_t batch = 1, seq = 1, heads = 1, kv_heads = 1, dim = 1;
  double scale = 1;
  bool causal = false;
  int64_t window = 0;
  std::vector<int64_t> columns{0, 0, 0};
  Tensor q, k, v;                // [batch, seq, width]
  Given bias;                    // [batch or 1, heads or 1, seq or 1, seq or 1]
  std::vector<uint8_t> visible;  // [batch * seq]: which keys there are

  Attrs attrs() const {
    return {{"heads", heads}, {"kv_heads", kv_heads == heads ? 0 : kv_heads}, {"head_dim", dim}, {"columns", columns},
            {"scale", scale}, {"causal", int64_t{causal}}, {"window", window}};
  }
  double bias_at(int64_t b, int64_t h, int64_t i, int64_t j) const {
    if (!bias) return 0;
    const auto& s = bias->shape();
    const auto at = [&](size_t axis, int64_t index) { return s[axis] == 1 ? 0 : index; };
    return bias->at(((at(0, b) * s[1] + at(1, h)) * s[2] + at(2, i)) * s[3] + at(3, j));
  }
  // The definition, one output element at a time.
  double expected(int64_t b, int64_t i, int64_t h, int64_t d) const {
    const auto element = [&](const Tensor& x, size_t which, int64_t s, int64_t head, int64_t column) {
      return x.at((b * seq + s) * x.shape()[2] + columns[which] + head * dim + column);
    };
    const int64_t kv = h / (heads / kv_heads);
    double sum = 0, value = 0;
    for (int64_t j = 0; j < seq; ++j) {
      if (!visible[static_cast<size_t>(b * seq + j)] || (causal && j > i) || (window > 0 && std::abs(i - j) > window)) continue;
      double score = 0;
      for (int64_t c = 0; c < dim; ++c) score += element(q, 0, i, h, c) * element(k, 1, j, kv, c);
      const double e = std::exp(score * scale + bias_at(b, h, i, j));
      sum += e;
      value += e * element(v, 2, j, kv, d);
    }
    return sum == 0 ? 0 : value / sum;
  }
};

Case random_case(Random& random, DType t) {
  Case c;
  c.batch = random.integer(1, 3);
  c.seq = random.integer(1, 9);
  c.kv_heads = random.integer(1, 3);
  c.heads = c.kv_heads * random.integer(1, 2);
  c.dim = random.integer(1, 9);
  c.scale = random.real(0.1, 1);
  c.causal = random.chance(0.3);
  c.window = random.chance(0.3) ? random.integer(1, 3) : 0;
  const int64_t q_width = c.heads * c.dim, kv_width = c.kv_heads * c.dim;
  if (random.chance(0.5)) {  // q, k and v are column ranges of one tensor
    c.columns = {0, q_width, q_width + kv_width};
    c.q = c.k = c.v = random.tensor(t, {c.batch, c.seq, q_width + 2 * kv_width}, -1, 1);
  } else {
    c.q = random.tensor(t, {c.batch, c.seq, q_width}, -1, 1);
    c.k = random.tensor(t, {c.batch, c.seq, kv_width}, -1, 1);
    c.v = random.tensor(t, {c.batch, c.seq, kv_width}, -1, 1);
  }
  if (random.chance(0.5)) {
    const auto one_or = [&](int64_t n) { return random.chance(0.5) ? 1 : n; };
    c.bias = random.tensor(DType::kF32, {one_or(c.batch), one_or(c.heads), one_or(c.seq), one_or(c.seq)});
  }
  c.visible.assign(static_cast<size_t>(c.batch * c.seq), 1);
  return c;
}

Tensor expected_dense(const Case& c) {
  const int64_t width = c.heads * c.dim;
  return filled(c.q.dtype(), {c.batch, c.seq, width}, [&](int64_t i) {
    return c.expected(i / width / c.seq, i / width % c.seq, i % width / c.dim, i % c.dim);
  });
}

TEST(Attention, DenseMatchesItsDefinition) {
  Random random;
  SCOPED_TRACE(random.trace());
  ThreadPool pool(2);
  for (int round = 0; round < 60; ++round) {
    const DType t = random.pick(kFloatTypes);
    const Case c = random_case(random, t);
    const Tensor y = output_of(run_op(Op::k_attention, {c.q, c.k, c.v, {}, {}, {}, {}, {}, c.bias}, c.attrs(), &pool));
    EXPECT_TRUE(close(y, expected_dense(c), tolerance(t) * 4)) << "round " << round;
  }
}

TEST(Attention, QueriesAndKeysMayDifferInLength) {
  Random random;
  SCOPED_TRACE(random.trace());
  Case c = random_case(random, DType::kF32);
  c.causal = false;
  c.window = 0;
  c.bias.reset();
  const int64_t width = c.q.shape()[2];
  const Tensor first_rows = filled(DType::kF32, {c.batch, 1, width}, [&](int64_t i) { return c.q.at(i / width * c.seq * width + i % width); });
  const Tensor y = output_of(run_op(Op::k_attention, {first_rows, c.k, c.v}, c.attrs()));
  const int64_t out = c.heads * c.dim;
  const Tensor expected = filled(DType::kF32, {c.batch, 1, out}, [&](int64_t i) { return c.expected(i / out, 0, i % out / c.dim, i % c.dim); });
  EXPECT_TRUE(close(y, expected, tolerance(DType::kF32) * 4));
}

// Rows [batch * seq, width] picked by index.
Tensor rows_of(const Tensor& x, const Tensor& gather) {
  const int64_t width = x.shape()[2];
  return filled(x.dtype(), {gather.numel(), width}, [&](int64_t i) { return x.at(gather.int_at(i / width) * width + i % width); });
}

// Any mask: left padding, holes, empty sequences, and the first and last positions kept as queries. Each packed row must be the
// dense row over the visible keys.
TEST(Attention, PackedRowsMatchDenseRowsOverVisibleKeys) {
  Random random;
  SCOPED_TRACE(random.trace());
  ThreadPool pool(2);
  for (int round = 0; round < 60; ++round) {
    const DType t = random.pick(kFloatTypes);
    Case c = random_case(random, t);
    const double density = random.pick<double>({0.0, 0.3, 0.8, 1.0});
    for (uint8_t& v : c.visible) v = random.chance(density);
    const Tensor mask = Tensor::from(DType::kU8, {c.batch, c.seq}, c.visible);
    const std::vector<int64_t> keep = random.chance(0.5) ? std::vector<int64_t>{0, -1} : std::vector<int64_t>{};
    const Tensor count = output_of(run_op(Op::k_count_tokens, {mask}, {{"keep_positions", keep}}));
    const auto packing = run_op(Op::k_pack_tokens, {mask}, {{"keep_positions", keep}, {"tokens", Shape{count.int_at(0)}}});
    ASSERT_TRUE(packing.ok()) << packing.status().message();
    const std::vector<Tensor>& p = *packing;
    const Tensor &offsets = p[0], &begin = p[1], &end = p[2], &gather = p[3], &positions = p[4];
    const Tensor y = output_of(run_op(Op::k_attention, {rows_of(c.q, gather), rows_of(c.k, gather), rows_of(c.v, gather), offsets, begin,
                                                        end, positions, positions, c.bias}, c.attrs(), &pool));
    const int64_t width = c.heads * c.dim;
    const Tensor expected = filled(t, {gather.numel(), width}, [&](int64_t i) {
      const int64_t row = gather.int_at(i / width);
      return c.expected(row / c.seq, row % c.seq, i % width / c.dim, i % c.dim);
    });
    EXPECT_TRUE(close(y, expected, tolerance(t) * 4)) << "round " << round;
  }
}

const Attrs kOneHead{{"heads", int64_t{1}}, {"head_dim", int64_t{1}}, {"scale", 1.0}};

TEST(Attention, OverHiddenKeysIsZeroNeverNan) {
  const Tensor x = floats({1, 2, 1}, {1, 2});
  const float inf = INFINITY;
  const Tensor bias = floats({1, 1, 2, 2}, {-inf, -inf, 0, -inf});
  EXPECT_TRUE(close(output_of(run_op(Op::k_attention, {x, x, x, {}, {}, {}, {}, {}, bias}, kOneHead)), floats({1, 2, 1}, {0, 1})));
}

TEST(Attention, OverUniformlyLargeBiasIsTheMean) {
  const Tensor x = floats({1, 2, 1}, {0, 2});
  const Tensor bias = floats({1, 1, 1, 2}, {-3.4028235e38f, -3.4028235e38f});
  EXPECT_TRUE(close(output_of(run_op(Op::k_attention, {x, x, x, {}, {}, {}, {}, {}, bias}, kOneHead)), floats({1, 2, 1}, {1, 1})));
}

TEST(Attention, NanStaysNan) {
  const Tensor q = floats({1, 1, 1}, {NAN}), k = floats({1, 2, 1}, {1, 2});
  EXPECT_TRUE(close(output_of(run_op(Op::k_attention, {q, k, k}, kOneHead)), floats({1, 1, 1}, {NAN})));
}

TEST(Attention, RowsOfNoSequenceAreZero) {
  const Tensor x = floats({3, 1}, {1, 2, 3});
  const Tensor offsets = int32s({0, 1}), begin = int32s({0}), end = int32s({2});
  const Tensor y = output_of(run_op(Op::k_attention, {x, x, x, offsets, begin, end}, kOneHead));
  EXPECT_NE(y.at(0), 0);
  EXPECT_EQ(y.at(1), 0);
  EXPECT_EQ(y.at(2), 0);
}

TEST(Attention, RefusesRowsAndPositionsThatAreNotThere) {
  const Tensor x = floats({2, 1}, {1, 2}), bias = floats({1, 1, 2, 2}, {0, 0, 0, 0});
  const Tensor zero = int32s({0}), two = int32s({2}), offsets = int32s({0, 2}), positions = int32s({0, 1});
  const auto message = [&](const std::vector<Given>& in) { return run_op(Op::k_attention, in, kOneHead).status().message(); };
  EXPECT_THAT(message({x, x, x, int32s({0, 3}), zero, two}), testing::HasSubstr("sequence 0: query rows 0 to 3 of 2"));
  EXPECT_THAT(message({x, x, x, offsets, int32s({-1}), two}), testing::HasSubstr("key rows -1 to 2 of 2"));
  EXPECT_THAT(message({x, x, x, offsets, two, zero}), testing::HasSubstr("key rows 2 to 0"));
  EXPECT_THAT(message({x, x, x, offsets, zero, two, int32s({0, 2}), positions, bias}),
              testing::HasSubstr("row 1 is at position 2, but the bias has 2"));
}

TEST(Attention, InfersSymbolicShapes) {
  const std::string attrs = " {heads = 2, head_dim = 4, scale = 0.5}";
  EXPECT_EQ(inferred("%q: f32[b,s,8], %k: f32[b,t,8], %v: f32[b,t,8]", "attention(%q, %k, %v)" + attrs), "f32[b,s,8]");
  EXPECT_EQ(inferred("%x: f16[t,24], %o: i32[b + 1], %i: i32[b], %j: i32[b]",
                     "attention(%x, %x, %x, %o, %i, %j) {heads = 2, head_dim = 4, scale = 0.5, columns = [0, 8, 16]}"),
            "f16[t,8]");
}

TEST(Attention, RefusesContradictions) {
  const std::string attrs = " {heads = 2, head_dim = 4, scale = 0.5}", in = "%q: f32[b,s,8], %k: f32[b,t,8], %p: f32[n,8], %i: i32[b]";
  EXPECT_THAT(inferred(in, "attention(%q, %k, %k) {heads = 3, head_dim = 4, scale = 1.0}"), testing::HasSubstr("input 0 is 8 wide"));
  EXPECT_THAT(inferred(in, "attention(%q, %k, %k) {heads = 2, kv_heads = 3, head_dim = 4, scale = 1.0}"), testing::HasSubstr("2 heads over 3"));
  EXPECT_THAT(inferred(in, "attention(%q, %k, %k) {heads = 0, head_dim = 4, scale = 1.0}"), testing::HasSubstr("0 heads"));
  EXPECT_THAT(inferred(in, "attention(%q, %k, %k, %i)" + attrs), testing::HasSubstr("come together"));
  EXPECT_THAT(inferred(in, "attention(%q, %k, %k, _, _, _, %i)" + attrs), testing::HasSubstr("rows are not packed"));
  EXPECT_THAT(inferred("%x: f32[t,8], %o: i32[b + 1], %i: i32[b]",
                       "attention(%x, %x, %x, %o, %i, %i) {heads = 2, head_dim = 4, scale = 0.5, causal = 1}"),
              testing::HasSubstr("need positions"));
}

TEST(Attention, CountsItsOperations) {
  const std::vector<int64_t> q{2, 3, 8}, k{2, 5, 8};
  const std::vector<ops::TensorArg> in{{DType::kF32, q}, {DType::kF32, k}, {DType::kF32, k}}, out{{DType::kF32, q}};
  const Attrs attrs{{"heads", int64_t{2}}, {"kv_heads", int64_t{0}}, {"head_dim", int64_t{4}}};
  EXPECT_EQ(ops::op_def(Op::k_attention).flops(attrs, in, out), 2.0 * 3 * 5 * 2 * (4 * 4 + 5));
}

}  // namespace
}  // namespace tenon::test
