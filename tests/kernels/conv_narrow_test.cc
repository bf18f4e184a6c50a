#include "kernels/cpu/narrow_gemm.h"
#include "tests/kernels/conv_step.h"

namespace tenon::test {
namespace {

using kernels::cpu::conv_bf16_kernel;
using kernels::cpu::conv_int8_quads_kernel;
using kernels::cpu::conv_int8_kernel;
using kernels::cpu::conv_kernel;

const std::vector<ConvCase> kNarrowConvCases{
    {{7, 9}, 2, 17, 33, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}},
    {{8, 8}, 1, 64, 50, 1, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}},
    {{7, 7}, 1, 129, 127, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {{12, 5}, 3, 20, 16, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1, 0, 1}},
    {{11, 13}, 1, 3, 7, 1, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}},
    {{1, 1}, 1, 1, 1, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}},
    {{40}, 2, 30, 31, 1, {3}, {2}, {1}, {1, 1}},
    {{4, 5, 6}, 1, 5, 18, 1, {2, 3, 2}, {1, 2, 1}, {1, 1, 2}, {1, 1, 0, 0, 1, 2}},
    {{2, 2}, 1, 16, 9, 1, {3, 3}, {1, 1}, {1, 1}, {4, 4, 4, 4}},
    {{30, 41}, 1, 8, 16, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},  // several chunks of rows
};

// The step with images of this type and factors of 8 bits.
Step in_int8(Step step, DType images, const std::string& factors = "int8") {
  if (images == DType::kBF16) step = in_bf16(std::move(step), 1);
  step.attrs.set("factors", factors);
  return step;
}

TEST(NarrowConvKernel, AgreesWithReferenceInEveryGeometry) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (size_t i = 0; i < kNarrowConvCases.size(); ++i) {
    SCOPED_TRACE(i);
    const bool of_sum = random.chance(0.5), residual = of_sum || random.chance(0.5);
    const Step step =
        step_of(random, kNarrowConvCases[i], random.pick(std::vector<std::string>{"", "relu", "hard_swish"}),
                random.chance(0.5), residual, of_sum);
    expect_like_reference(conv_bf16_kernel(), in_bf16(step), tolerance(DType::kBF16) * 2);
    expect_like_reference(conv_int8_kernel(), in_int8(step, DType::kF32), for_sum_of(step));
    expect_like_reference(conv_int8_quads_kernel(), in_int8(step, DType::kF32, "int8_quads"), for_sum_of(step));
    expect_like_reference(conv_int8_kernel(), in_int8(step, DType::kBF16), tolerance(DType::kBF16) * 2);
  }
}

// Steps of all images: those beyond the edges are zeros, whatever their number is.
TEST(NarrowConvKernel, RoundsByGivenSteps) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (size_t i = 0; i < kNarrowConvCases.size(); ++i) {
    SCOPED_TRACE(i);
    Step step = step_of(random, kNarrowConvCases[i], "relu", random.chance(0.5), false, false);
    step.attrs.set("x_step", random.real(0.002, 0.01));
    step.attrs.set("x_zero", random.integer(0, 255));
    expect_like_reference(conv_int8_kernel(), in_int8(step, DType::kF32), for_sum_of(step));
    expect_like_reference(conv_int8_quads_kernel(), in_int8(step, DType::kF32, "int8_quads"), for_sum_of(step));
    expect_like_reference(conv_int8_kernel(), in_int8(step, DType::kBF16), tolerance(DType::kBF16) * 2);
  }
}

// Rounding to 8 bits errs by half a step of each factor at most.
TEST(NarrowConvKernel, EightBitsAreNearTheProduct) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Step step = step_of(random, kNarrowConvCases[2], "", true, false, false);
  const Tensor exact = (*run_op(step.op, step.inputs, step.attrs))[0];
  const Tensor rounded = (*run_kernel(conv_int8_kernel(), in_int8(step, DType::kF32), available_isas().front(), 2))[0];
  double error = 0, size = 0;
  for (int64_t i = 0; i < exact.numel(); ++i) {
    error += std::pow(exact.at(i) - rounded.at(i), 2);
    size += std::pow(exact.at(i), 2);
  }
  EXPECT_LT(std::sqrt(error / size), 0.01);
  EXPECT_GT(error, 0);
}

TEST(NarrowConvKernel, AnImageIsTheSameAloneInAnyBatchAndOverItsResidual) {
  Random random;
  SCOPED_TRACE(random.trace());
  const ConvCase c{{9, 7}, 4, 40, 70, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}};
  const Step plain = step_of(random, c, "relu", true, true, true);
  const std::pair<const CpuKernel&, Step> both[] = {{conv_bf16_kernel(), in_bf16(plain)},
                                                    {conv_int8_kernel(), in_int8(plain, DType::kBF16)}};
  for (const auto& [kernel, whole] : both) {
    ASSERT_TRUE(kernel.in_place((*build(whole))->problem, 3));
    for (const Isa isa : available_isas()) {
      SCOPED_TRACE(fmt::format("{} {}", kernel.id(), isa_name(isa)));
      const Tensor all = (*run_kernel(kernel, whole, isa, 2))[0];
      EXPECT_TRUE((*run_kernel(kernel, whole, isa, 2, "", 3))[0].same_bytes(all));
      for (int64_t image = 0; image < c.batch; ++image) {
        Step part = whole;
        part.inputs[0] = rows_of(*whole.inputs[0], image, image + 1);
        part.inputs[3] = rows_of(*whole.inputs[3], image, image + 1);
        EXPECT_TRUE((*run_kernel(kernel, part, isa, 1))[0].same_bytes(rows_of(all, image, image + 1))) << image;
      }
    }
  }
}

TEST(NarrowConvKernel, DeclinesWithAReason) {
  Random random;
  Step step = step_of(random, kNarrowConvCases[0], "", false, false, false);
  EXPECT_EQ(declined(conv_bf16_kernel(), step), "input 0 is f32, bf16 is needed");
  EXPECT_EQ(declined(conv_int8_kernel(), step), "factors of int8 are not asked for");
  const Step int8 = in_int8(step, DType::kF32);
  EXPECT_EQ(declined(conv_kernel(), int8), "factors of 8 bits are asked for");
  EXPECT_EQ(declined(conv_bf16_kernel(), int8), "factors of int8 are asked for");
  EXPECT_EQ(declined(conv_int8_quads_kernel(), int8), "factors of int8 are asked for");
  EXPECT_EQ(declined(conv_int8_kernel(), int8), "");
  ConvCase grouped = kNarrowConvCases[1];
  grouped.groups = 2;
  EXPECT_EQ(declined(conv_bf16_kernel(), in_bf16(step_of(random, grouped, "", false, false, false))),
            "filters are in groups");
  step.attrs.set("factors", std::string("int4"));
  EXPECT_THAT(declined(conv_int8_kernel(), step), testing::HasSubstr("unknown factors 'int4'"));
}

// Grouped convolutions have no kernel of 8 bits; the plain loop takes each group's rows by themselves.
TEST(NarrowConvKernel, ThePlainLoopRoundsGroupByGroup) {
  Random random;
  SCOPED_TRACE(random.trace());
  const ConvCase c{{5, 6}, 2, 8, 6, 2, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}};
  const Step step = in_int8(step_of(random, c, "", false, false, false), DType::kF32);
  const Tensor both = (*run_op(step.op, step.inputs, step.attrs))[0];
  for (int64_t group = 0; group < 2; ++group) {
    const auto half = [&](const Tensor& t, int64_t count) {
      return filled(DType::kF32, {t.numel() / (2 * count), count},
                    [&](int64_t i) { return t.at(i / count * 2 * count + group * count + i % count); });
    };
    Step own = step;
    own.attrs.set("group", int64_t{1});
    const Tensor x = half(*step.inputs[0], 4);
    own.inputs[0] = filled(DType::kF32, {2, 5, 6, 4}, [&](int64_t i) { return x.at(i); });
    own.inputs[1] = rows_of(*step.inputs[1], 3 * group, 3 * group + 3);
    const Tensor alone = (*run_op(own.op, own.inputs, own.attrs))[0], part = half(both, 3);
    for (int64_t i = 0; i < part.numel(); ++i) ASSERT_EQ(part.at(i), alone.at(i)) << i;
  }
}

// Products of bf16 as AVX512-BF16 has them, for machines that lack it.
void dot_bf16(const kernels::cpu::DotTile& t) {
  using kernels::cpu::kPanel;
  for (int r = 0; r < t.rows; ++r) {
    const auto* a = reinterpret_cast<const BF16*>(t.a + r * t.a_stride);
    for (int column = 0; column < t.panels * kPanel; ++column) {
      const auto* b = reinterpret_cast<const BF16*>(t.b + column / kPanel * t.b_panel_stride);
      float sum = 0;
      for (int64_t k = 0; k < 2 * t.groups; ++k)
        sum += static_cast<float>(a[k]) * static_cast<float>(b[(k / 2 * kPanel + column % kPanel) * 2 + k % 2]);
      static_cast<float*>(t.c)[r * t.c_stride + column] = sum;
    }
  }
}

// Rows of another tensor.
struct CopiedRows final : kernels::cpu::RowSource {
  const Tensor& from;
  explicit CopiedRows(const Tensor& rows) : from(rows) {}
  void write(int64_t row, std::byte* out) const override {
    const size_t bytes = from.bytes() / static_cast<size_t>(from.shape()[0]);
    std::memcpy(out, from.data() + static_cast<size_t>(row) * bytes, bytes);
  }
};

TEST(NarrowGemm, RowsOfASourceAreMultipliedLikeRowsInMemory) {
  using kernels::cpu::Factors;
  Random random;
  SCOPED_TRACE(random.trace());
  constexpr int64_t kColumns = 50;
  kernels::cpu::VectorCode code = kernels::cpu::vector_code(available_isas().front());
  if (code.bf16.tile == nullptr) code.bf16 = {.tile = dot_bf16, .rows = 4, .panels = 2};
  for (const auto& [factors, rows, k] : {std::tuple{Factors::kBf16, 37, 64},
                                         {Factors::kBf16, 1100, 45},
                                         {Factors::kInt8, 37, 64},
                                         {Factors::kInt8, 1100, 45},
                                         {Factors::kInt8Quads, 37, 64},
                                         {Factors::kInt8Quads, 1100, 45}}) {
    SCOPED_TRACE(fmt::format("{} rows of {}, {} bytes", rows, k, kernels::cpu::bytes_of(factors)));
    const Tensor wide = random.tensor(DType::kF32, {rows, k}, -1, 1), w = random.tensor(DType::kF32, {k, kColumns});
    const Tensor x = filled(DType::kBF16, {rows, k}, [&](int64_t i) { return wide.at(i); });
    std::vector<std::byte> packed(static_cast<size_t>(kernels::cpu::packed_bytes(factors, k, kColumns)) + 64);
    std::byte* panels = packed.data() + (64 - reinterpret_cast<uintptr_t>(packed.data()) % 64) % 64;
    kernels::cpu::pack_narrow(factors, w.as<float>(), k, kColumns, panels);
    const CopiedRows source(x);
    const auto multiply = [&](const kernels::cpu::RowSource* from, int threads) {
      std::byte* y = nullptr;
      Tensor out = *Tensor::allocate(DType::kBF16, {rows, kColumns}, &y);
      ThreadPool pool(threads);
      const size_t bytes = kernels::cpu::narrow_gemm_workspace(code, factors, true, rows, k, threads, from != nullptr);
      const std::unique_ptr<void, FreeDeleter> workspace(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
      kernels::cpu::narrow_gemm(code,
                                {.factors = factors,
                                 .x = from == nullptr ? x.data() : nullptr,
                                 .source = from,
                                 .w = panels,
                                 .y = y,
                                 .rows = rows,
                                 .k = k,
                                 .columns = kColumns,
                                 .epilogue = {.bf16 = true}},
                                workspace.get(), &pool);
      return out;
    };
    const Tensor expected = multiply(nullptr, 1);
    for (const int threads : {1, 2, 3}) EXPECT_TRUE(multiply(&source, threads).same_bytes(expected)) << threads;
  }
}

}  // namespace
}  // namespace tenon::test
