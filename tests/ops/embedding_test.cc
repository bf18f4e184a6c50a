#include <cmath>

#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

Tensor ids(Random& random, std::vector<int64_t> shape, int64_t limit) {
  return random.tensor(random.chance(0.5) ? DType::kI32 : DType::kI64, std::move(shape), 0, static_cast<double>(limit - 1));
}

TEST(Embedding, SumsRowsOfItsTablesForEveryDtype) {
  Random random;
  SCOPED_TRACE(random.trace());
  ThreadPool pool(2);
  for (const DType t : kFloatTypes) {
    const int64_t batch = random.integer(1, 3), seq = random.integer(1, 6), width = random.integer(1, 9);
    const Tensor words = ids(random, {batch, seq}, 11), positions = ids(random, {1, seq}, 7), kinds = ids(random, {}, 2);
    const Tensor a = random.tensor(t, {11, width}), b = random.tensor(t, {7, width}), c = random.tensor(t, {2, width});
    const Tensor y = output_of(run_op(Op::k_embedding, {words, a, positions, b, kinds, c}, {}, &pool));
    const Tensor expected = filled(t, {batch, seq, width}, [&](int64_t i) {
      const int64_t row = i / width, column = i % width;
      return a.at(words.int_at(row) * width + column) + b.at(positions.int_at(row % seq) * width + column) +
             c.at(kinds.int_at(0) * width + column);
    });
    EXPECT_TRUE(close(y, expected));
  }
}

TEST(Embedding, NormalisesTheSum) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor i = ids(random, {5}, 9), j = ids(random, {5}, 4);
  const Tensor a = random.tensor(DType::kF32, {9, 12}), b = random.tensor(DType::kF32, {4, 12});
  const Tensor gamma = random.tensor(DType::kF32, {12}), beta = random.tensor(DType::kF32, {12});
  const Attrs norm{{"norm", int64_t{1}}, {"epsilon", 1e-3}};
  const Tensor sum = output_of(run_op(Op::k_embedding, {i, a, j, b}));
  EXPECT_TRUE(close(output_of(run_op(Op::k_embedding, {i, a, j, b, gamma, beta}, norm)),
                    output_of(run_op(Op::k_layer_norm, {sum, gamma, beta}, {{"epsilon", 1e-3}})), tolerance(DType::kF32) * 4));
}

TEST(Embedding, NamesAnIdOutOfRangeByRowAndColumn) {
  const Tensor table = floats({3, 1}, {0, 1, 2});
  const auto message = [&](const Tensor& i) {
    const auto result = run_op(Op::k_embedding, {i, table});
    EXPECT_EQ(result.status().code(), ErrorCode::kBadInput);
    return result.status().message();
  };
  EXPECT_THAT(message(Tensor::from<int64_t>(DType::kI64, {2, 2}, {0, 1, 2, 3})),
              testing::HasSubstr("ids of table 0: 3 at row 1, column 1 is out of range: ids must be 0 to 2"));
  EXPECT_THAT(message(int32s({0, -1})), testing::HasSubstr("-1 at row 1 is out of range"));
}

TEST(Embedding, InfersSymbolicShapesAndRefusesMisfits) {
  const std::string in = "%i: i64[batch,seq], %p: i64[1,seq], %t: f32[30,8], %u: f32[9,8], %g: f32[8], %w: f32[9,7]";
  EXPECT_EQ(inferred(in, "embedding(%i, %t)"), "f32[batch,seq,8]");
  EXPECT_EQ(inferred(in, "embedding(%p, %u, %i, %t, %g, %g) {norm = 1}"), "f32[batch,seq,8]");
  EXPECT_THAT(inferred(in, "embedding(%i, %t, %g)"), testing::HasSubstr("pairs of indices and table"));
  EXPECT_THAT(inferred(in, "embedding(%g, %g) {norm = 1}"), testing::HasSubstr("then gamma and beta"));
  EXPECT_THAT(inferred(in, "embedding(%i, %t, %i, %w)"), testing::HasSubstr("input 3, axis 1: sizes 8 and 7"));
  EXPECT_THAT(inferred(in, "embedding(%t, %t)"), testing::HasSubstr("must be an integer"));
  EXPECT_THAT(inferred(in, "embedding(%i, %t, _, %t)"), testing::HasSubstr("input 2 is missing"));
}

}  // namespace
}  // namespace tenon::test
