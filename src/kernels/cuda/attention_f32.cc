// attention in f32, of rows of f32 or of 16 bits: the device side is attention_f32.cu.
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/kernels.h"

namespace tenon::kernels::cuda {
namespace {

constexpr int64_t kF32Rows = 64, kF32Keys = 32, kF32Threads = 256;  // of a block, as in the device code

class AttentionF32 final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.attention.f32"; }

  Support supports(const Problem& problem) const override {
    const bool wide = problem.op == Op::k_attention && problem.inputs[kQ].dtype == DType::kF32;
    if (Support s = supports_attention_rows(problem, wide ? DType::kF32 : DType::kF16); !s) return s;
    const int64_t dim = problem.attrs.integer("head_dim"), vector = wide ? 4 : 8;
    if (dim % vector != 0 || dim > 128)
      return Support::no(fmt::format("head_dim {} is not a multiple of {} up to 128", dim, vector));
    return Support::yes();
  }

  std::vector<Config> configs(const Problem&) const override {
    return {{.text = "", .numerics = "fma-online-32", .cost = 0}};
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config&, int) const override {
    return DeviceSource{.file = "attention_f32.cu", .entry = "attention", .defines = visibility_defines(problem)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config&, const Device& device,
                                         Function function) const override {
    const int64_t pitch = (problem.attrs.integer("head_dim") / 4 | 1) * 4;
    const auto shared = static_cast<int>(4 * ((kF32Rows + 4 * kF32Keys) * pitch + kF32Rows * kF32Keys));
    TENON_TRY(allow_shared_memory(device, function, shared));
    return attention_launcher(problem, device, function, [shared](const AttentionArgs& a) -> Launch {
      const auto tiles = static_cast<unsigned>((a.q_rows + kF32Rows - 1) / kF32Rows);
      return {.grid = {static_cast<unsigned>(a.heads), tiles, 1},
              .block = {kF32Threads, 1, 1},
              .shared_bytes = static_cast<unsigned>(shared)};
    });
  }
};

}  // namespace

const Kernel& attention_f32_kernel() {
  static const AttentionF32 kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
