// Configs of the CPU kernels: whatever one says, the bits are those of the others.
#include "kernels/cpu/blocking.h"

#include "tests/kernels/run_kernel.h"

namespace tenon::test {
namespace {

using kernels::Config;
using kernels::cpu::attention_bf16_kernel;
using kernels::cpu::attention_kernel;
using kernels::cpu::Blocking;
using kernels::cpu::linear_bf16_kernel;
using kernels::cpu::linear_int8_kernel;
using kernels::cpu::linear_kernel;

TEST(Blocking, TextIsReadBack) {
  for (const Blocking& b : {Blocking{}, Blocking{.rows = 64}, Blocking{.depth = 768, .split = Blocking::Split::kRows},
                            Blocking{.rows = 32, .depth = 384, .split = Blocking::Split::kColumns}})
    EXPECT_EQ(Blocking::parse(b.text()), b) << b.text();
  EXPECT_EQ(Blocking{}.text(), "auto");
  EXPECT_EQ((Blocking{.rows = 32, .depth = 384, .split = Blocking::Split::kColumns}).text(),
            "rows=32,depth=384,split=columns");
  EXPECT_EQ(Blocking::parse(""), Blocking{});
  for (const char* bad : {"rows", "rows=", "rows=0", "rows=-8", "rows=8x", "rows=99999999999999999999", "split=both",
                          "tile=8", "rows=8,,depth=8", "autos"})
    EXPECT_EQ(Blocking::parse(bad), std::nullopt) << bad;
}

Step linear(Random& random, int64_t rows, int64_t k, int64_t n, const std::string& factors) {
  Step step{Op::k_linear,
            {random.tensor(DType::kF32, {rows, k}, -1, 1), random.tensor(DType::kF32, {k, n}, -1, 1),
             random.tensor(DType::kF32, {n}), random.tensor(DType::kF32, {rows, n})},
            {{"activation", std::string("gelu")}},
            {1, 2}};
  if (!factors.empty()) step.attrs.set("factors", factors);
  return step;
}

// Rows of [q | k | v] of two texts, the second with so many rows more than the first.
Step attention(Random& random, int64_t rows, int64_t more) {
  const int64_t heads = 2, dim = 32, width = heads * dim;
  const auto first = static_cast<int32_t>((rows - more) / 2);
  const std::vector<int32_t> offsets{0, first, static_cast<int32_t>(rows)};
  const Tensor merged = random.tensor(DType::kF32, {rows, 3 * width});
  return {
      Op::k_attention,
      {merged, merged, merged, int32s(offsets), int32s({offsets[0], offsets[1]}), int32s({offsets[1], offsets[2]})},
      {{"heads", heads}, {"head_dim", dim}, {"columns", std::vector<int64_t>{0, width, 2 * width}}, {"scale", 0.2}}};
}

void expect_same_bits(const CpuKernel& kernel, const Step& step) {
  const auto built = value_or_throw(build(step));
  const std::vector<Config> configs = kernel.configs(built->problem);
  ASSERT_GT(configs.size(), 3u);
  for (const Isa isa : available_isas()) {
    const std::vector<Tensor> expected = value_or_throw(run_kernel(kernel, step, isa, 1));
    for (const Config& config : configs) {
      EXPECT_EQ(config.numerics, configs[0].numerics);
      for (const int threads : {1, 2, 3}) {
        const auto actual = run_kernel(kernel, step, isa, threads, config.text);
        ASSERT_TRUE(actual.ok()) << actual.status().message();
        EXPECT_TRUE(actual->at(0).same_bytes(expected[0]))
            << kernel.id() << " " << config.text << ", " << isa_name(isa) << ", " << threads << " threads";
      }
    }
  }
}

TEST(Blocking, NoConfigOfALinearChangesABit) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t rows : {1, 129, 300}) {
    expect_same_bits(linear_kernel(), linear(random, rows, 801, 50, ""));
    expect_same_bits(linear_int8_kernel(), linear(random, rows, 67, 50, "int8"));
    expect_same_bits(linear_bf16_kernel(), linear(random, rows, 67, 50, "bf16"));
    expect_same_bits(linear_bf16_kernel(), in_bf16(linear(random, rows, 67, 50, "")));
  }
}

TEST(Blocking, NoConfigOfAnAttentionChangesABit) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const auto& [rows, more] : {std::pair<int64_t, int64_t>{2, 0}, {127, 101}, {601, 200}}) {
    expect_same_bits(attention_kernel(), attention(random, rows, more));
    expect_same_bits(attention_bf16_kernel(), in_bf16(attention(random, rows, more)));
  }
}

TEST(Blocking, SmallBlocksNeedLessWorkspace) {
  Random random;
  const auto built = value_or_throw(build(linear(random, 256, 1600, 64, "")));
  const auto bytes = [&](const char* text) {
    const auto launcher = value_or_throw(linear_kernel().prepare(built->problem, {text, "", 0}));
    std::vector<std::vector<int64_t>> shapes;
    for (const ir::TensorType& t : built->problem.inputs) shapes.push_back(ir::const_values(t.shape));
    std::vector<ops::TensorArg> in;
    for (size_t i = 0; i < shapes.size(); ++i) in.push_back({built->problem.inputs[i].dtype, shapes[i], nullptr});
    const std::vector<ops::TensorArg> out{{DType::kF32, shapes[3], nullptr}};
    return launcher->workspace({.inputs = in, .outputs = out, .sizes = {}}, 2);
  };
  EXPECT_LT(2 * bytes("rows=32,depth=384,split=rows"), bytes("auto"));
}

TEST(Blocking, AConfigThatTheKernelDoesNotHaveIsRefused) {
  Random random;
  const Step step = linear(random, 3, 40, 50, "");
  const auto result = run_kernel(linear_kernel(), step, available_isas().front(), 1, "rows=7");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), ErrorCode::kEngineVersion);
  EXPECT_THAT(result.status().message(), testing::HasSubstr("cpu.linear.f32 has no config \"rows=7\""));
  EXPECT_FALSE(run_kernel(linear_kernel(), step, available_isas().front(), 1, "nonsense").ok());
}

}  // namespace
}  // namespace tenon::test
