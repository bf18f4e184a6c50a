#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

using testing::HasSubstr;

// Two heads of two columns; three rows of queries and keys in one matrix [q k], the first of which is hidden as a key.
struct Packed {
  Tensor rows = floats({3, 8}, {1, 2, 3, 4, 5, 6, 7, 8, -1, 0, 1, 2, 3, 2, 1, 0, 2, 2, 2, 2, 1, 1, 1, 1});
  Tensor q_table = floats({2, 4}, {1, 0, 0, 1, 2, 1, 1, 2}), k_table = floats({1, 4}, {1, -1, 1, -1});
  Tensor q_index = Tensor::from(DType::kI32, {4, 4}, std::vector<int32_t>{0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0});
  Tensor k_index = Tensor::from(DType::kI32, {4, 4}, std::vector<int32_t>(16, 0));
  Tensor positions = int32s({0, 1, 3});
  Attrs attrs{{"heads", int64_t{2}}, {"head_dim", int64_t{2}}, {"columns", std::vector<int64_t>{0, 4}}, {"scale", 0.5}};

  Result<std::vector<Tensor>> run() const {
    return run_op(Op::k_disentangled_bias,
                  {rows, rows, q_table, q_index, k_table, k_index, int32s({0, 3}), int32s({1}), int32s({3}), positions, positions}, attrs);
  }
};

TEST(DisentangledBias, AddsTheProductsThatPlacesPick) {
  const Tensor y = output_of(Packed().run());
  ASSERT_EQ(y.shape(), (std::vector<int64_t>{1, 2, 4, 4}));
  const auto at = [&](int64_t head, int64_t i, int64_t j) { return y.at((head * 4 + i) * 4 + j); };
  // 0.5 (q . q_table row + k . k_table row): of row 1, at place 1, and row 2, at place 3.
  EXPECT_EQ(at(0, 1, 1), 0.5 * (-1 * 1 + 0 * 0 + 3 * 1 - 2 * 1));
  EXPECT_EQ(at(0, 1, 3), 0.5 * (-1 * 2 + 0 * 1 + 1 * 1 - 1 * 1));
  EXPECT_EQ(at(1, 0, 1), 0.5 * (3 * 1 + 4 * 2 + 1 * 1 - 0 * 1));
  EXPECT_EQ(at(1, 3, 3), 0.5 * (2 * 0 + 2 * 1 + 1 * 1 - 1 * 1));
}

TEST(DisentangledBias, EitherTableMayBeMissing) {
  const Tensor x = floats({1, 2, 1}, {2, 3}), table = floats({1, 1}, {5});
  const Tensor index = Tensor::from(DType::kI32, {2, 2}, std::vector<int32_t>(4, 0));
  const Attrs attrs{{"heads", int64_t{1}}, {"head_dim", int64_t{1}}, {"scale", 1.0}};
  EXPECT_TRUE(close(output_of(run_op(Op::k_disentangled_bias, {x, x, table, index}, attrs)), floats({1, 1, 2, 2}, {10, 10, 15, 15})));
  EXPECT_TRUE(close(output_of(run_op(Op::k_disentangled_bias, {x, x, {}, {}, table, index}, attrs)), floats({1, 1, 2, 2}, {10, 15, 10, 15})));
}

TEST(DisentangledBias, NamesWhatIsNotThere) {
  Packed p;
  p.positions = int32s({0, 1, 4});
  EXPECT_THAT(p.run().status().message(), HasSubstr("row 2 is at position 4 of 4"));
  p = {};
  p.q_index = filled(DType::kI32, {4, 4}, [](int64_t i) { return i == 6 ? 2 : 0; });
  EXPECT_THAT(p.run().status().message(), HasSubstr("positions 1 and 2 pick row 2 of a table of 2"));
}

TEST(DisentangledBias, InfersItsShape) {
  const std::string rows = "%q: f32[b,s,8], %k: f32[b,s,8], %t: f32[9,8], %i: i32[s,s]";
  EXPECT_EQ(inferred(rows, "disentangled_bias(%q, %k, %t, %i) {heads = 2, head_dim = 4, scale = 1.0}"), "f32[b,2,s,s]");
  EXPECT_THAT(inferred(rows, "disentangled_bias(%q, %k) {heads = 2, head_dim = 4, scale = 1.0}"), HasSubstr("no table"));
  EXPECT_THAT(inferred(rows, "disentangled_bias(%q, %k, %t) {heads = 2, head_dim = 4, scale = 1.0}"), HasSubstr("come together"));
  EXPECT_THAT(inferred(rows, "disentangled_bias(%q, %k, %t, %i) {heads = 2, head_dim = 3, scale = 1.0}"), HasSubstr("input 2"));
  EXPECT_THAT(inferred(rows, "disentangled_bias(%q, %k, %t, %i) {heads = 3, head_dim = 4, scale = 1.0}"), HasSubstr("columns 0 to 12"));
}

}  // namespace
}  // namespace tenon::test
