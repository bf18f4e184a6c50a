#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Integers = std::vector<int64_t>;

Tensor mask_of(std::vector<int64_t> shape, const std::vector<int64_t>& values, DType dtype = DType::kI64) {
  return filled(dtype, std::move(shape), [&](int64_t i) { return values[static_cast<size_t>(i)]; });
}

int64_t count(const Tensor& mask, const Integers& keep = {}) {
  return output_of(run_op(Op::k_count_tokens, {mask}, {{"keep_positions", keep}})).int_at(0);
}

std::vector<Tensor> pack(const Tensor& mask, const Integers& keep, int64_t tokens) {
  auto result = run_op(Op::k_pack_tokens, {mask}, {{"keep_positions", keep}, {"tokens", Shape{tokens}}});
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? *result : std::vector<Tensor>(6);
}

// Right padding, left padding with a hole, nothing at all.
const std::vector<int64_t> kMask{1, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0};

TEST(CountTokens, CountsMaskedAndKeptPositionsOnce) {
  for (const DType t : {DType::kI64, DType::kI32, DType::kBool, DType::kF32, DType::kF16}) {
    const Tensor mask = mask_of({3, 4}, kMask, t);
    EXPECT_EQ(count(mask), 5);
    EXPECT_EQ(count(mask, {0}), 7);
    EXPECT_EQ(count(mask, {0, -4, 0}), 7);
    EXPECT_EQ(count(mask, {-1, 0}), 9);
  }
}

TEST(PackTokens, PutsKeptButMaskedRowsBeforeTheMasksOwn) {
  const auto p = pack(mask_of({3, 4}, kMask), {-1, 0}, 9);
  EXPECT_THAT(integers_of(p[0]), ElementsAre(0, 4, 7, 9));                    // row_offsets
  EXPECT_THAT(integers_of(p[1]), ElementsAre(1, 5, 9));                       // key_begin
  EXPECT_THAT(integers_of(p[2]), ElementsAre(4, 7, 9));                       // key_end
  EXPECT_THAT(integers_of(p[3]), ElementsAre(3, 0, 1, 2, 4, 5, 7, 8, 11));    // gather
  EXPECT_THAT(integers_of(p[4]), ElementsAre(3, 0, 1, 2, 0, 1, 3, 0, 3));     // positions
  EXPECT_THAT(integers_of(p[5]), ElementsAre(0, 1, 6, 4, 8, 7));              // kept_rows
  EXPECT_EQ(p[5].shape(), (Integers{3, 2}));
}

TEST(PackTokens, FillsSurplusRowsWithZeros) {
  const auto p = pack(mask_of({3, 4}, kMask), {}, 8);
  EXPECT_THAT(integers_of(p[0]), ElementsAre(0, 3, 5, 5));
  EXPECT_THAT(integers_of(p[3]), ElementsAre(0, 1, 2, 5, 7, 0, 0, 0));
  EXPECT_THAT(integers_of(p[4]), ElementsAre(0, 1, 2, 1, 3, 0, 0, 0));
  EXPECT_EQ(p[5].shape(), (Integers{3, 0}));
}

TEST(PackTokens, TooLittleRoomIsAnInternalError) {
  const auto result = run_op(Op::k_pack_tokens, {mask_of({3, 4}, kMask)}, {{"tokens", Shape{4}}});
  EXPECT_EQ(result.status().code(), ErrorCode::kInternal);
  EXPECT_THAT(result.status().message(), HasSubstr("5 rows, but room was made for 4"));
}

TEST(Masks, OtherValuesThanZeroAndOneAreNamedByRowAndColumn) {
  const auto message = [](const Tensor& mask) {
    const auto result = run_op(Op::k_count_tokens, {mask});
    EXPECT_EQ(result.status().code(), ErrorCode::kBadInput);
    return result.status().message();
  };
  EXPECT_THAT(message(mask_of({2, 2}, {1, 1, 1, 2})), HasSubstr("the attention mask is 2 at row 1, column 1"));
  EXPECT_THAT(message(floats({1, 3}, {1, 0.5f, 0})), HasSubstr("0.5 at row 0, column 1"));
  EXPECT_THAT(message(floats({1, 1}, {NAN})), HasSubstr("nan at row 0, column 0"));
  EXPECT_THAT(message(Tensor::from<uint8_t>(DType::kBool, {1, 2}, {1, 3})), HasSubstr("3 at row 0, column 1"));
}

TEST(Masks, KeptPositionsBeyondTheSequenceAreRefused) {
  const auto result = run_op(Op::k_count_tokens, {mask_of({1, 2}, {1, 1})}, {{"keep_positions", Integers{2}}});
  EXPECT_EQ(result.status().code(), ErrorCode::kBadInput);
  EXPECT_THAT(result.status().message(), HasSubstr("reads position 2, but sequences are 2 long"));
}

TEST(Masks, InferSymbolicShapes) {
  EXPECT_EQ(inferred("%m: i64[batch,seq]", "count_tokens(%m)"), "i64[]");
  EXPECT_THAT(inferred("%m: i64[batch]", "count_tokens(%m)"), HasSubstr("rank 1, 2 expected"));
  EXPECT_THAT(inferred("%m: i64[batch,seq]", "pack_tokens(%m) {tokens = dims[]}"), HasSubstr("one expected"));
  const auto graph = ops::parse_graph(
      "graph @g(%m: i64[batch,seq]) {\n"
      "  %n = count_tokens(%m) {keep_positions = [0]}\n"
      "  %o, %b, %e, %g, %p, %k = pack_tokens(%m) {keep_positions = [0], tokens = dims[tokens]}\n"
      "  symbol tokens = %n <= batch*seq\n"
      "  return \"o\" = %o, \"b\" = %b, \"e\" = %e, \"g\" = %g, \"p\" = %p, \"k\" = %k\n}\n");
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  std::vector<std::string> types;
  for (const auto& out : (*graph)->outputs()) types.push_back(out.value->type().to_string());
  EXPECT_THAT(types, ElementsAre("i32[batch + 1]", "i32[batch]", "i32[batch]", "i32[tokens]", "i32[tokens]", "i32[batch,1]"));
}

// Packing and unpacking are inverse at visible positions, zero elsewhere, for any mask.
TEST(UnpackTokens, RestoresVisiblePositions) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 20; ++round) {
    const int64_t batch = random.integer(1, 4), seq = random.integer(1, 6);
    const DType t = random.pick<DType>({DType::kF32, DType::kF16, DType::kI64, DType::kU8});
    const Tensor mask = random.tensor(DType::kBool, {batch, seq}), x = random.tensor(t, {batch, seq, 2, 3}, 0, 9);
    const Integers keep{0};
    const int64_t surplus = random.integer(0, 2);
    const auto p = pack(mask, keep, count(mask, keep) + surplus);
    const Tensor rows = filled(t, {p[3].numel(), 2, 3}, [&](int64_t i) { return x.at(p[3].int_at(i / 6) * 6 + i % 6); });
    const Tensor y = output_of(run_op(Op::k_unpack_tokens, {rows, p[3], p[0], p[1]}, {{"shape", Shape{batch, seq}}}));
    EXPECT_TRUE(close(y, filled(t, x.shape(), [&](int64_t i) { return mask.at(i / 6) * x.at(i); })));
  }
}

TEST(UnpackTokens, RefusesRowsAndPositionsThatAreNotThere) {
  const Tensor x = floats({2, 1}, {1, 2});
  const auto message = [&](const Tensor& gather, const Tensor& offsets, const Tensor& begin) {
    return run_op(Op::k_unpack_tokens, {x, gather, offsets, begin}, {{"shape", Shape{1, 4}}}).status().message();
  };
  EXPECT_THAT(message(int32s({0, 4}), int32s({0, 2}), int32s({0})), HasSubstr("row 1 belongs to position 4 of 4"));
  EXPECT_THAT(message(int32s({0, 1}), int32s({0, 3}), int32s({0})), HasSubstr("sequence 0: rows 0 to 3"));
  EXPECT_THAT(message(int32s({0, 1}), int32s({0, 2}), int32s({-1})), HasSubstr("sequence 0: rows -1 to 2"));
}

TEST(UnpackTokens, TakesOneColumnAndConverts) {
  const Tensor x = filled(DType::kF16, {3, 2}, [](int64_t i) { return 0.5 * static_cast<double>(i); });
  const Tensor gather = int32s({3, 0, 2}), offsets = int32s({0, 3}), begin = int32s({1});  // row 0 is hidden
  const auto unpacked = [&](Attrs attrs) {
    attrs.set("shape", Shape{1, 4});
    return output_of(run_op(Op::k_unpack_tokens, {x, gather, offsets, begin}, attrs));
  };
  EXPECT_TRUE(close(unpacked({{"column", int64_t{1}}, {"to", std::string("f32")}}), floats({1, 4}, {1.5, 0, 2.5, 0})));
  EXPECT_TRUE(close(unpacked({{"to", std::string("f32")}}), floats({1, 4, 2}, {1, 1.5, 0, 0, 2, 2.5, 0, 0})));
}

TEST(UnpackTokens, TakesColumnsApart) {
  const Tensor x = filled(DType::kF16, {3, 4}, [](int64_t i) { return 0.5 * static_cast<double>(i); });
  const auto y = run_op(Op::k_unpack_tokens, {x, int32s({3, 0, 2}), int32s({0, 3}), int32s({1})},
                        {{"shape", Shape{1, 4}}, {"column", int64_t{1}}, {"columns", int64_t{2}}, {"to", std::string("f32")}});
  ASSERT_TRUE(y.ok()) << y.status().message();
  ASSERT_EQ(y->size(), 2u);
  EXPECT_TRUE(close((*y)[0], floats({1, 4}, {2.5, 0, 4.5, 0})));
  EXPECT_TRUE(close((*y)[1], floats({1, 4}, {3, 0, 5, 0})));
}

TEST(UnpackTokens, InfersSymbolicShapes) {
  const std::string in = "%x: f32[tokens,8], %g: i32[tokens], %o: i32[batch + 1], %b: i32[batch]";
  EXPECT_EQ(inferred(in, "unpack_tokens(%x, %g, %o, %b) {shape = dims[batch,seq]}"), "f32[batch,seq,8]");
  EXPECT_THAT(inferred(in, "unpack_tokens(%x, %g, %o, %b) {shape = dims[batch]}"), HasSubstr("[batch, seq] expected"));
  const auto with = [&](const std::string& attrs) {
    return inferred(in, "unpack_tokens(%x, %g, %o, %b) {shape = dims[batch,seq], " + attrs + "}");
  };
  EXPECT_EQ(with("column = 7, to = \"f16\""), "f16[batch,seq]");
  EXPECT_THAT(with("column = 8"), HasSubstr("no column 8"));
  EXPECT_THAT(with("column = 6, columns = 3"), HasSubstr("no column 8"));
  for (const char* wrong : {"columns = 2", "column = 0, columns = 0", "column = 0, columns = 9"})
    EXPECT_THAT(with(wrong), HasSubstr("attribute 'columns' is")) << wrong;
  EXPECT_THAT(with("to = \"i32\""), HasSubstr("'i32' is not a floating-point type"));
}

TEST(SegmentReduce, ReducesTheRowsOfEachSequence) {
  const Tensor x = floats({5, 2}, {1, -1, 2, -2, 4, -8, 100, 100, 3, 5});
  const Tensor begin = int32s({0, 3, 4}), end = int32s({3, 3, 5});  // three rows, none, one
  const auto reduced = [&](const std::string& kind) {
    return output_of(run_op(Op::k_segment_reduce, {x, begin, end}, {{"kind", kind}}));
  };
  EXPECT_TRUE(close(reduced("sum"), floats({3, 2}, {7, -11, 0, 0, 3, 5})));
  EXPECT_TRUE(close(reduced("mean"), floats({3, 2}, {7 / 3.f, -11 / 3.f, 0, 0, 3, 5})));
  EXPECT_TRUE(close(reduced("max"), floats({3, 2}, {4, -1, 0, 0, 3, 5})));
}

TEST(SegmentReduce, MatchesItsDefinitionForEveryDtype) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType t : kFloatTypes) {
    const int64_t rows = random.integer(1, 20);
    const Tensor x = random.tensor(t, {rows, 3});
    const Tensor y = output_of(run_op(Op::k_segment_reduce, {x, int32s({0}), int32s({static_cast<int32_t>(rows)})}, {{"kind", std::string("mean")}}));
    EXPECT_TRUE(close(y, filled(t, {1, 3}, [&](int64_t j) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r) sum += x.at(r * 3 + j);
      return sum / static_cast<double>(rows);
    })));
  }
}

TEST(SegmentReduce, KeepsNanAndRefusesWhatDoesNotFit) {
  const Tensor x = floats({3, 1}, {1, NAN, 2});
  const Attrs max{{"kind", std::string("max")}};
  EXPECT_TRUE(close(output_of(run_op(Op::k_segment_reduce, {x, int32s({0}), int32s({3})}, max)), floats({1, 1}, {NAN})));
  EXPECT_THAT(run_op(Op::k_segment_reduce, {x, int32s({2}), int32s({4})}, max).status().message(), HasSubstr("rows 2 to 4"));
  EXPECT_THAT(run_op(Op::k_segment_reduce, {x, int32s({2}), int32s({1})}, max).status().message(), HasSubstr("rows 2 to 1"));
  EXPECT_EQ(inferred("%x: f32[t,8], %b: i32[n]", "segment_reduce(%x, %b, %b) {kind = \"mean\"}"), "f32[n,8]");
  EXPECT_THAT(inferred("%x: f32[t,8], %b: i32[n]", "segment_reduce(%x, %b, %b) {kind = \"min\"}"), HasSubstr("'min'"));
}

}  // namespace
}  // namespace tenon::test
