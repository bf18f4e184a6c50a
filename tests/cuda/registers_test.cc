// What ptxas made of every kernel, for each generation of GPUs that it is for: nothing is spilled to memory, and
// registers stay within a table, so that a change that costs occupancy is seen. Needs NVRTC, no GPU.
#include <mutex>
#include <regex>

#include "base/thread_pool.h"
#include "tests/cuda/projected_attention.h"
#include "tests/kernels/disentangled_bias_step.h"

namespace tenon::test {
namespace {

using kernels::CudaKernel;

// Registers of a thread; bytes that it may spill: on sm_80, where two portable kernels are just short of registers, and
// once a tile beside the sums of a whole tile.
struct Limits {
  int registers = 0, spilled_sm80 = 0, spilled = 0;
};
const std::map<std::string, Limits> kLimits{{"attention_f32.cu", {164, 96}},
                                            {"attention_row.cu", {64}},
                                            {"attention_sm80.cu", {248, 16}},
                                            {"attention_sm90.cu", {168}},
                                            {"linear_few_sm90.cu", {184}},
                                            {"linear_narrow.cu", {64}},
                                            {"linear_sm80.cu", {216}},
                                            {"linear_sm90.cu", {168}},
                                            {"norm.cu", {96}},
                                            {"linear_f32_sm90.cu", {168}},
                                            {"projected_attention_sm90.cu", {168, 0, 56}},
                                            {"conv_image.cu", {168}},
                                            {"windows.cu", {96}},
                                            {"matmul.cu", {128}},
                                            {"disentangled_bias.cu", {168, 16, 8}},
                                            {"embedding.cu", {128}},
                                            {"softmax.cu", {32}},
                                            {"reduce.cu", {40}},
                                            {"cumsum.cu", {32}},
                                            {"movement.cu", {24}},
                                            {"unpack_tokens.cu", {24}}};

struct Compilation {
  kernels::DeviceSource source;
  std::string arch;
};

void add_all(std::vector<Compilation>& list, const kernels::Kernel& kernel, const Step& step) {
  const CudaKernel& cuda = *kernel.as_cuda();
  const auto built = build(step);
  ASSERT_TRUE(built.ok()) << built.status().message();
  const Problem& problem = (*built)->problem;
  const kernels::Support support = cuda.supports(problem);
  ASSERT_TRUE(support) << kernel.id() << ": " << support.reason;
  for (const int capability : {80, 90}) {
    if (!cuda.runs_on(capability)) continue;
    for (const kernels::Config& config : cuda.configs(problem)) {
      if (const auto source = cuda.code(problem, config, capability))
        list.push_back({*source, cuda.arch(config, capability)});
    }
  }
}

// BERT-large's shapes: the largest of those that the kernels were made for.
std::vector<Compilation> compilations() {
  using namespace kernels::cuda;
  std::vector<Compilation> list;
  Random random;
  constexpr int64_t kWidth = 1024, kInner = 4096, kRows = 64;
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const Tensor x = random.tensor(dtype, {kRows, kWidth}), w = random.tensor(dtype, {kWidth, kInner}),
                 b = random.tensor(dtype, {kInner});
    const Step gelu{Op::k_linear, {x, w, b, std::nullopt}, {{"activation", std::string("gelu")}}, {1, 2}};
    const Step residual{Op::k_linear,
                        {random.tensor(dtype, {kRows, kInner}), random.tensor(dtype, {kInner, kWidth}),
                         random.tensor(dtype, {kWidth}), x},
                        {},
                        {1, 2}};
    for (const Step& step : {gelu, residual}) {
      add_all(list, linear_sm90_kernel(), step);
      add_all(list, linear_sm80_kernel(), step);
    }
    add_all(
        list, linear_narrow_kernel(),
        {Op::k_linear, {x, random.tensor(dtype, {kWidth, 2}), random.tensor(dtype, {2}), std::nullopt}, {}, {1, 2}});
    add_all(list, layer_norm_kernel(),
            {Op::k_layer_norm, {x, random.tensor(dtype, {kWidth}), random.tensor(dtype, {kWidth}), x}, {}, {1, 2}});
  }
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    add_all(list, disentangled_bias_kernel(), dense_bias(random, {.dtype = dtype}, 1, 70, 70));
    const Tensor a = random.tensor(dtype, {2, 100, 64}), b = random.tensor(dtype, {2, 64, 100});
    add_all(list, matmul_kernel(), {Op::k_matmul, {a, b}});
    add_all(list, matmul_kernel(),
            {Op::k_linear,
             {random.tensor(dtype, {9, 30}), random.tensor(dtype, {30, 50}), random.tensor(dtype, {50}),
              random.tensor(dtype, {9, 50})},
             {{"activation", std::string("gelu")}}});
  }
  for (const std::string factors : {"", "tf32"}) {
    for (const Kernel* kernel : {&linear_f32_sm90_kernel(), &linear_f32_kernel()})
      add_all(list, *kernel,
              {Op::k_linear,
               {random.tensor(DType::kF32, {kRows, kWidth}), random.tensor(DType::kF32, {kWidth, kWidth}),
                random.tensor(DType::kF32, {kWidth}), random.tensor(DType::kF32, {kRows, kWidth})},
               {{"activation", std::string("gelu")}, {"factors", factors}},
               {1, 2}});
  }
  for (const int64_t head_dim : {int64_t{32}, int64_t{64}, int64_t{128}}) {
    const auto attention = [&](DType dtype, int64_t q_len) {
      const auto rows = [&](int64_t len) { return random.tensor(dtype, {2, len, 2 * head_dim}); };
      return Step{Op::k_attention,
                  {rows(q_len), rows(8), rows(8)},
                  {{"heads", int64_t{2}}, {"head_dim", head_dim}, {"scale", 0.125}}};
    };
    add_all(list, attention_sm90_kernel(), attention(DType::kF16, 8));
    add_all(list, attention_sm80_kernel(), attention(DType::kF16, 8));
    Step biased = attention(DType::kF16, 8);
    biased.inputs.resize(8);
    biased.inputs.push_back(random.tensor(DType::kF16, {2, 2, 8, 8}));
    add_all(list, attention_sm80_kernel(), biased);
    add_all(list, attention_row_kernel(), attention(DType::kF16, 1));
    add_all(list, attention_f32_kernel(), attention(DType::kF32, 8));
    add_all(list, attention_f32_kernel(), attention(DType::kF16, 8));
  }
  for (const bool normed : {false, true}) {
    const ProjectedAttention step(random, {.lengths = {128}, .heads = 16, .depth = kWidth, .normed = normed});
    for (const kernels::Config& config : projected().configs(step.problem))
      list.push_back({*projected().code(step.problem, config, 90), "sm_90a"});
  }
  // ResNet-50's first layers; a depthwise one and pooling.
  const auto window = [](int64_t kernel, int64_t stride, int64_t group, int64_t layout) {
    return Attrs{{"strides", std::vector<int64_t>{stride, stride}},
                 {"pads", ir::to_shape({kernel / 2, kernel / 2, kernel / 2, kernel / 2})},
                 {"group", group},
                 {"activation", std::string("relu")},
                 {"activate_sum", int64_t{1}},
                 {"channels_last", layout}};
  };
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const Tensor x = random.tensor(dtype, {1, 14, 14, 64}), b = random.tensor(dtype, {64});
    const auto weight = [&](int64_t channels, int64_t size) {
      return random.tensor(dtype, {64, channels, size, size});
    };
    const int64_t kernel = dtype == DType::kF16 ? 3 : 1;
    add_all(list, conv_sm90_kernel(), {Op::k_conv, {x, weight(64, kernel), b, x}, window(kernel, 1, 1, 1), {1, 2}});
    add_all(list, plain_conv_kernel(), {Op::k_conv, {x, weight(1, 3), b, x}, window(3, 1, 64, 1), {1, 2}});
    add_all(list, conv_image_kernel(),
            {Op::k_conv, {random.tensor(DType::kF32, {1, 3, 28, 28}), weight(3, 7), b}, window(7, 2, 1, 2), {1, 2}});
    add_all(list, pool_kernel(),
            {Op::k_max_pool, {x}, {{"kernel_shape", std::vector<int64_t>{3, 3}}, {"channels_last", int64_t{1}}}});
  }
  // What works on rows.
  const Tensor mask = Tensor::from(DType::kI64, {2, 3}, std::vector<int64_t>{1, 1, 1, 1, 1, 0});
  const auto packing =
      run_op(Op::k_pack_tokens, {mask}, {{"keep_positions", std::vector<int64_t>{0}}, {"tokens", ir::to_shape({5})}});
  EXPECT_TRUE(packing.ok()) << packing.status().message();
  for (const DType dtype : {DType::kF16, DType::kF32}) {
    const Tensor x = random.tensor(dtype, {5, kWidth}), vector = random.tensor(dtype, {kWidth});
    const Tensor ids = random.tensor(DType::kI64, {5}, 0, 4);
    const Tensor& offsets = (*packing)[0];
    add_all(list, embedding_kernel(),
            {Op::k_embedding, {ids, x, ids, x, vector, vector}, {{"norm", int64_t{1}}, {"epsilon", 1e-5}}, {4, 5}});
    add_all(list, softmax_kernel(), {Op::k_softmax, {x}});
    add_all(list, reduce_kernel(), {Op::k_reduce_mean, {x}, {{"axes", std::vector<int64_t>{0}}}});
    add_all(list, cumsum_kernel(), {Op::k_cumsum, {x}, {{"axis", int64_t{1}}}});
    add_all(list, gather_kernel(), {Op::k_gather, {x, ids}});
    add_all(list, view_kernel(), {Op::k_transpose, {x}, {{"perm", std::vector<int64_t>{1, 0}}}});
    add_all(list, unpack_tokens_kernel(),
            {Op::k_unpack_tokens, {x, (*packing)[3], offsets, (*packing)[1]}, {{"shape", ir::to_shape({2, 3})}}});
  }
  return list;
}

TEST(CudaCode, NothingIsSpilledAndRegistersAreFew) {
  if (cuda::nvrtc_version() == 0) GTEST_SKIP() << "no NVRTC";
  const std::vector<Compilation> all = compilations();
  std::mutex mutex;
  ThreadPool pool(0);
  pool.parallel_for(static_cast<int64_t>(all.size()), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& [source, arch] = all[static_cast<size_t>(i)];
      const auto compiled = cuda::compile(source, arch);
      const std::lock_guard lock(mutex);
      ASSERT_TRUE(compiled.ok()) << compiled.status().message();
      const std::string& log = compiled->log;
      const std::string what = source.text() + " for " + arch;
      const auto limits = kLimits.find(source.file);
      ASSERT_NE(limits, kLimits.end()) << source.file << " is not in the table";
      std::smatch spilled, used;
      ASSERT_TRUE(std::regex_search(log, spilled, std::regex("([0-9]+) bytes spill stores"))) << log;
      ASSERT_TRUE(std::regex_search(log, used, std::regex("Used ([0-9]+) registers"))) << log;
      EXPECT_LE(std::stoi(spilled[1]), arch == "sm_80" ? limits->second.spilled_sm80 : limits->second.spilled) << what;
      EXPECT_LE(std::stoi(used[1]), limits->second.registers) << what;
      EXPECT_THAT(log, testing::Not(testing::HasSubstr("C75"))) << what;  // wgmma serialised
    }
  });
}

// For GPUs that this compiler may not know: their driver translates it.
TEST(CudaCode, PortableKernelsCompileToPtx) {
  if (cuda::nvrtc_version() == 0) GTEST_SKIP() << "no NVRTC";
  std::vector<Compilation> list;
  Random random;
  add_all(list, kernels::cuda::linear_sm80_kernel(),
          {Op::k_linear,
           {random.tensor(DType::kF16, {8, 64}), random.tensor(DType::kF16, {64, 64}), std::nullopt, std::nullopt},
           {},
           {1, 2}});
  ASSERT_FALSE(list.empty());
  const auto compiled = cuda::compile(list[0].source, "compute_80");
  ASSERT_TRUE(compiled.ok()) << compiled.status().message();
  EXPECT_THAT(compiled->code, testing::HasSubstr("\n.target sm_80"));
  EXPECT_THAT(compiled->code, testing::HasSubstr(".entry " + list[0].source.entry));
  EXPECT_NE(compiled->code.back(), '\0');
  EXPECT_NE(cuda::code_name(list[0].source, "compute_80"), cuda::code_name(list[0].source, "sm_80"));
}

}  // namespace
}  // namespace tenon::test
