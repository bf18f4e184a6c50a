// What the CUDA attention kernels share on the host: which problems they read, and their arguments.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/cuda_kernel.h"
#include "kernels/cuda/device/attention_args.cuh"
#include "kernels/cuda/rows.h"

namespace tenon::kernels::cuda {

enum AttentionInput { kQ, kK, kV, kQOffsets, kKBegin, kKEnd, kQPositions, kKPositions, kScoreBias };

// The attributes, read once.
struct AttentionForm {
  explicit AttentionForm(const ir::Attrs& attrs);

  int64_t heads, kv_heads, head_dim, window;
  std::vector<int64_t> columns;
  double scale;
  bool causal;
};

// f16 or bf16, or f32 where that is asked for; rows of whole 16-byte vectors. Says nothing about head_dim, bias, causal and
// window.
Support supports_attention_rows(const Problem& problem, DType dtype = DType::kF16);

// The arguments of a launch, or a status when sizes do not fit 32 bits.
Result<AttentionArgs> attention_args(const AttentionForm& form, const RunArgs& args);

// Of a kernel whose only parameter is AttentionArgs; blocks(args) are what it is launched with.
template <class Blocks>
std::unique_ptr<Launcher> attention_launcher(const Problem& problem, const Device& device, Function function,
                                             Blocks blocks) {
  return make_launcher([form = AttentionForm(problem.attrs), blocks, &device, function](const RunArgs& run) -> Status {
    TENON_ASSIGN(const AttentionArgs args, attention_args(form, run));
    if (args.q_rows == 0) return {};
    return launch_with(device, function, run, blocks(args), args);
  });
}

// "ELEMENT=f16", "HEAD_DIM=64"
std::vector<std::string> element_defines(const Problem& problem);
// The same and what visibility.cuh needs.
std::vector<std::string> visibility_defines(const Problem& problem);

}  // namespace tenon::kernels::cuda
