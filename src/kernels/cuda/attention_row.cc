// attention where every sequence has one query: the device side is attention_row.cu.
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/kernels.h"

namespace tenon::kernels::cuda {
namespace {

class AttentionRow final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.attention.row"; }

  Support supports(const Problem& problem) const override {
    if (Support s = supports_attention_rows(problem); !s) return s;
    const int64_t dim = problem.attrs.integer("head_dim");
    if (dim != 16 && dim != 32 && dim != 64 && dim != 128)
      return Support::no(fmt::format("head_dim {} is not 16, 32, 64 or 128", dim));
    const ir::Shape& q = problem.inputs[kQ].shape;
    const bool one_each = problem.has(kQOffsets) ? q[0] == problem.inputs[kKBegin].shape[0] : q[1] == ir::Dim(1);
    return one_each ? Support::yes() : Support::no("not one query for each sequence");
  }

  std::vector<Config> configs(const Problem&) const override { return {{.text = "", .numerics = "row", .cost = 0}}; }

  std::optional<DeviceSource> code(const Problem& problem, const Config&, int) const override {
    return DeviceSource{.file = "attention_row.cu", .entry = "attention", .defines = visibility_defines(problem)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config&, const Device& device,
                                         Function function) const override {
    return attention_launcher(problem, device, function, [](const AttentionArgs& a) -> Launch {
      constexpr unsigned kThreads = 128;  // as in the device code
      return {.grid = {static_cast<unsigned>(a.q_rows) * static_cast<unsigned>(a.heads), 1, 1}, .block = {kThreads, 1, 1}};
    });
  }
};

}  // namespace

const Kernel& attention_row_kernel() {
  static const AttentionRow kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
