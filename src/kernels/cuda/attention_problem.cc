#include "kernels/cuda/attention_problem.h"

#include <limits>

namespace tenon::kernels::cuda {

AttentionForm::AttentionForm(const ir::Attrs& attrs)
    : heads(attrs.integer("heads")),
      kv_heads(attrs.integer("kv_heads") == 0 ? heads : attrs.integer("kv_heads")),
      head_dim(attrs.integer("head_dim")),
      window(attrs.integer("window")),
      columns(attrs.integers("columns")),
      scale(attrs.number("scale")),
      causal(attrs.integer("causal") != 0) {}

Support supports_attention_rows(const Problem& problem, DType dtype) {
  if (problem.op != Op::k_attention) return Support::no("computes attention only");
  const bool wide = dtype == DType::kF32;
  const int64_t vector = wide ? 4 : 8;  // elements in 16 bytes
  const AttentionForm form(problem.attrs);
  for (const int i : {kQ, kK, kV}) {
    const auto index = static_cast<size_t>(i);
    const TensorType& type = problem.inputs[index];
    if (wide ? type.dtype != DType::kF32 : type.dtype != DType::kF16 && type.dtype != DType::kBF16)
      return Support::no(fmt::format("input {} is {}", i, wide ? "not f32" : "neither f16 nor bf16"));
    const ir::Dim& width = type.shape.back();
    if (!width.is_const() || width.value() % vector != 0 || form.columns[index] % vector != 0) {
      return Support::no(fmt::format("rows or columns of input {} are no multiples of {}", i, vector));
    }
  }
  return Support::yes();
}

Result<AttentionArgs> attention_args(const AttentionForm& form, const RunArgs& args) {
  const TensorArg q = args.input(kQ), k = args.input(kK), v = args.input(kV), bias = args.input(kScoreBias);
  const bool packed = static_cast<bool>(args.input(kQOffsets));
  const auto rows = [](const TensorArg& x) { return x.rank() == 2 ? x.dim(0) : x.dim(0) * x.dim(1); };
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max() / 2;
  for (const TensorArg& x : {q, k, v}) {
    if (rows(x) > kMost || x.dim(-1) > kMost) {
      return error(ErrorCode::kBadInput, "attention over {} rows of {} columns is too large", rows(x), x.dim(-1));
    }
  }
  const auto head_0 = [&](const TensorArg& x, int input) -> const void* {
    return x.as<const std::byte>() + form.columns[static_cast<size_t>(input)] * static_cast<int64_t>(dtype_size(x.dtype));
  };
  AttentionArgs a = {};
  a.q = head_0(q, kQ);
  a.k = head_0(k, kK);
  a.v = head_0(v, kV);
  a.y = args.output().data;
  a.q_stride = static_cast<int>(q.dim(-1));
  a.k_stride = static_cast<int>(k.dim(-1));
  a.v_stride = static_cast<int>(v.dim(-1));
  a.y_stride = static_cast<int>(args.output().dim(-1));
  a.q_rows = static_cast<int>(rows(q));
  a.k_rows = static_cast<int>(rows(k));
  a.batch = static_cast<int>(packed ? args.input(kKBegin).dim(0) : q.dim(0));
  a.heads = static_cast<int>(form.heads);
  a.group = static_cast<int>(form.heads / form.kv_heads);
  a.scale = static_cast<float>(form.scale);
  a.backwards = args.backwards;
  const auto integers = [&](int input) { return args.input(input).as<const int32_t>(); };
  a.q_offsets = integers(kQOffsets);
  a.k_begin = integers(kKBegin);
  a.k_end = integers(kKEnd);
  a.q_positions = integers(kQPositions);
  a.k_positions = integers(kKPositions);
  if (!packed) {
    a.q_len = static_cast<int>(q.dim(1));
    a.k_len = static_cast<int>(k.dim(1));
  }
  if (bias) {
    a.bias = bias.data;
    int64_t stride = 1;
    for (int axis = 3; axis >= 0; --axis) {
      a.bias_strides[axis] = bias.dim(axis) == 1 ? 0 : stride;
      stride *= bias.dim(axis);
    }
  }
  return a;
}

std::vector<std::string> element_defines(const Problem& problem) {
  return {fmt::format("ELEMENT={}", dtype_name(problem.inputs[kQ].dtype)),
          fmt::format("HEAD_DIM={}", problem.attrs.integer("head_dim"))};
}

std::vector<std::string> visibility_defines(const Problem& problem) {
  const AttentionForm form(problem.attrs);
  const int bias = !problem.has(kScoreBias) ? 0 : problem.inputs[kScoreBias].dtype == DType::kF32 ? 2 : 1;
  std::vector<std::string> defines = element_defines(problem);
  defines.push_back(fmt::format("CAUSAL={}", form.causal ? 1 : 0));
  defines.push_back(fmt::format("WINDOW={}", std::max<int64_t>(0, form.window)));
  defines.push_back(fmt::format("BIAS={}", bias));
  return defines;
}

}  // namespace tenon::kernels::cuda
