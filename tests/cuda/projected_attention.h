// A product and the attention over it as one problem, for the kernel that computes both.
#pragma once

#include "tests/cuda/run_cuda_kernel.h"
#include "tests/kernels/attention_step.h"

namespace tenon::test {

inline const kernels::CudaKernel& projected() { return *kernels::cuda::projected_attention_sm90_kernel().as_cuda(); }

struct ProjectedCase {
  std::vector<int64_t> lengths;  // of the sequences
  int64_t heads = 2, depth = 128;
  bool normed = false;
  DType dtype = DType::kF16;
  int64_t hidden = 0, surplus = 0;  // the first rows of each sequence are queries only; rows behind the last
};

struct ProjectedAttention {
  Step product, attention;  // the attention without its first three inputs, which the product makes
  Problem problem;

  ProjectedAttention(Random& random, const ProjectedCase& c) {
    const Sequences s({.lengths = c.lengths, .hidden = c.hidden, .surplus = c.surplus});
    const int64_t rows = s.rows(), width = 64 * c.heads;
    product = {Op::k_linear,
               {random.tensor(c.dtype, {rows, c.depth}, -1, 1), random.tensor(c.dtype, {c.depth, 3 * width}, -0.2, 0.2),
                random.tensor(c.dtype, {3 * width}), std::nullopt},
               {},
               {1, 2}};
    if (c.normed) {
      const Tensor uniform = random.tensor(DType::kF32, {rows, c.depth / 64, 2}, 0, 1);
      const Tensor moments = filled(DType::kF32, uniform.shape(),
                                    [&](int64_t i) { return i % 2 == 0 ? uniform.at(i) - 0.5 : 32 + 64 * uniform.at(i); });
      product = {Op::k_linear_norm,
                 {product.inputs[0], product.inputs[1], random.tensor(DType::kF32, {3 * width}), std::nullopt, moments,
                  std::nullopt, std::nullopt},
                 {{"epsilon", 0.01}, {"moments", int64_t{0}}},
                 {1, 2, 6}};
    }
    attention = {Op::k_attention,
                 {int32s(s.offsets), int32s(s.begin), int32s(s.end)},
                 {{"heads", c.heads}, {"head_dim", int64_t{64}}, {"columns", std::vector<int64_t>{0, width, 2 * width}}, {"scale", 0.125}}};
    problem = (*build(attend(random.tensor(c.dtype, {rows, 3 * width}))))->problem;
    problem.before = std::make_shared<const Problem>((*build(product))->problem);
  }

  Step attend(const Tensor& qkv) const {
    Step step = attention;
    step.inputs.insert(step.inputs.begin(), {qkv, qkv, qkv});
    return step;
  }
};

}  // namespace tenon::test
