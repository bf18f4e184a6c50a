#include "tests/kernels/run_kernel.h"

namespace tenon::test {
namespace {

using kernels::cpu::count_tokens_kernel;
using kernels::cpu::pack_tokens_kernel;
using kernels::cpu::segment_reduce_kernel;
using kernels::cpu::unpack_tokens_kernel;

Tensor random_mask(Random& random, DType dtype, int64_t batch, int64_t seq) {
  return filled(dtype, {batch, seq},
                [&](int64_t i) { return i / seq % 4 == 3 ? 0.0 : static_cast<double>(random.integer(0, 1)); });
}

// Prefixes of ones, as tokenizers make them; some sequences end with them instead.
Tensor random_padding(Random& random, DType dtype, int64_t batch, int64_t seq) {
  std::vector<int64_t> lengths;
  for (int64_t b = 0; b < batch; ++b) lengths.push_back(random.integer(0, seq));
  lengths[0] = seq;
  return filled(dtype, {batch, seq}, [&](int64_t i) {
    const int64_t b = i / seq, s = b % 3 == 2 ? seq - 1 - i % seq : i % seq;
    return s < lengths[static_cast<size_t>(b)] ? 1.0 : 0.0;
  });
}

Attrs keep(const std::vector<int64_t>& positions) { return {{"keep_positions", positions}}; }

TEST(TokenKernels, CountAndPackAgreeWithReferenceForAnyMask) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : {DType::kBool, DType::kU8, DType::kI32, DType::kI64, DType::kF32}) {
    for (const std::vector<int64_t>& kept : {std::vector<int64_t>{}, {0}, {-1, 0, 3}, {2, 2}}) {
      const int64_t batch = random.integer(1, 9), seq = random.integer(4, 80), padding = random.integer(0, 1);
      SCOPED_TRACE(fmt::format("{} [{}, {}], {} kept", dtype_name(dtype), batch, seq, kept.size()));
      const Tensor mask = padding != 0 ? random_padding(random, dtype, batch, seq) : random_mask(random, dtype, batch, seq);
      expect_like_reference(count_tokens_kernel(), {Op::k_count_tokens, {mask}, keep(kept)}, {});
      const int64_t tokens = output_of(run_op(Op::k_count_tokens, {mask}, keep(kept))).int_at(0);
      for (const int64_t surplus : {0, 3}) {
        Attrs attrs = keep(kept);
        attrs.set("tokens", Shape{ir::Dim(tokens + surplus)});
        expect_like_reference(pack_tokens_kernel(), {Op::k_pack_tokens, {mask}, attrs}, {});
      }
    }
  }
}

TEST(TokenKernels, RefuseOtherMasksAndPositions) {
  Attrs attrs = keep({5});
  attrs.set("tokens", Shape{ir::Dim(20)});
  const Tensor two = filled(DType::kI64, {2, 3}, [](int64_t i) { return i == 4 ? 2.0 : 1.0; });
  const Tensor ones = filled(DType::kI64, {2, 3}, [](int64_t) { return 1.0; });
  for (const int64_t wrong : {0, 7, 8, 16, 33}) {
    const Tensor mask = filled(DType::kI64, {2, 17}, [&](int64_t i) { return i == wrong ? -1.0 : 1.0; });
    expect_same_error(count_tokens_kernel(), {Op::k_count_tokens, {mask}});
  }
  expect_same_error(count_tokens_kernel(), {Op::k_count_tokens, {two}});
  expect_same_error(count_tokens_kernel(), {Op::k_count_tokens, {ones}, keep({5})});
  expect_same_error(pack_tokens_kernel(), {Op::k_pack_tokens, {ones}, attrs});
  attrs = keep({});
  attrs.set("tokens", Shape{ir::Dim(5)});
  expect_same_error(pack_tokens_kernel(), {Op::k_pack_tokens, {ones}, attrs});
}

TEST(TokenKernels, UnpackAgreesWithReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor mask = random_mask(random, DType::kI64, 6, 30);
  Attrs attrs = keep({0});
  const int64_t tokens = output_of(run_op(Op::k_count_tokens, {mask}, attrs)).int_at(0);
  attrs.set("tokens", Shape{ir::Dim(tokens)});
  const auto packing = *run_op(Op::k_pack_tokens, {mask}, attrs);
  for (const auto& [dtype, shape] : {std::pair<DType, std::vector<int64_t>>{DType::kF32, {tokens, 768}},
                                     {DType::kI64, {tokens}},
                                     {DType::kU8, {tokens, 3, 2}}}) {
    Step step{Op::k_unpack_tokens,
              {random.tensor(dtype, shape), packing[3], packing[0], packing[1]},
              {{"shape", Shape{ir::Dim(6), ir::Dim(30)}}}};
    expect_like_reference(unpack_tokens_kernel(), step, {});
    step.inputs[1] = filled(DType::kI32, {tokens}, [](int64_t) { return 180.0; });
    expect_same_error(unpack_tokens_kernel(), step);
  }
  const Step column{Op::k_unpack_tokens,
                    {random.tensor(DType::kF32, {tokens, 2}), packing[3], packing[0], packing[1]},
                    {{"shape", Shape{ir::Dim(6), ir::Dim(30)}}, {"column", int64_t{1}}}};
  EXPECT_EQ(unpack_tokens_kernel().supports((*build(column))->problem).reason, "moves whole rows as they are");
}

TEST(TokenKernels, SegmentsReduceLikeTheReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const char* kind : {"sum", "mean", "max"}) {
    SCOPED_TRACE(kind);
    Step step{Op::k_segment_reduce,
              {random.tensor(DType::kF32, {90, 37}), int32s({0, 10, 10, 40}), int32s({9, 10, 40, 90})},
              {{"kind", std::string(kind)}}};
    expect_like_reference(segment_reduce_kernel(), step, tolerance(DType::kF32) * 16);
    step.inputs[2] = int32s({9, 10, 40, 91});
    expect_same_error(segment_reduce_kernel(), step);
  }
}

}  // namespace
}  // namespace tenon::test
