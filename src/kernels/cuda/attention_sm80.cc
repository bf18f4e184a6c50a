// attention by mma.sync: the device side is attention_sm80.cu.
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/kernels.h"

namespace tenon::kernels::cuda {
namespace {

constexpr int64_t kSm80Keys = 64;  // of a block in shared memory, as in the device code

class AttentionSm80Launcher final : public Launcher {
 public:
  AttentionSm80Launcher(const Problem& problem, const Device& device, Function function)
      : form_(problem.attrs), device_(device), function_(function) {}

  int shared_bytes() const {
    return static_cast<int>(4 * kSm80Keys * (form_.head_dim * 2 + 16));
  }  // two slots of keys and values

  Status launch(const RunArgs& args) const override {
    TENON_ASSIGN(AttentionArgs a, attention_args(form_, args));
    if (a.q_rows == 0) return {};
    const int rows = tile_rows(a);
    const Launch launch = {
        .grid = {static_cast<unsigned>(form_.heads), static_cast<unsigned>((a.q_rows + rows - 1) / rows), 1},
        .block = {static_cast<unsigned>(2 * rows), 1, 1},  // a warp for 16 rows
        .shared_bytes = static_cast<unsigned>(shared_bytes())};
    void* parameters[] = {&a};
    return launch_kernel(device_, function_, args.stream, launch, parameters);
  }

 private:
  // Large tiles share the keys among more queries; small ones fill the GPU where there are few. The same bits either
  // way.
  int tile_rows(const AttentionArgs& a) const {
    int rows = 64;
    while (rows > 16 && (a.q_rows + rows - 1) / rows * form_.heads < device_.multiprocessors()) rows /= 2;
    return rows;
  }

  AttentionForm form_;
  const Device& device_;
  Function function_;
};

class AttentionSm80 final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.attention.sm80"; }

  Support supports(const Problem& problem) const override {
    if (Support s = supports_attention_rows(problem); !s) return s;
    const AttentionForm form(problem.attrs);
    if (form.head_dim % 16 != 0 || form.head_dim > 128) {
      return Support::no(fmt::format("head_dim {} is not a multiple of 16 up to 128", form.head_dim));
    }
    return Support::yes();
  }

  std::vector<Config> configs(const Problem&) const override {
    return {{.text = "", .numerics = "mma-online-64", .cost = 0}};
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config&, int) const override {
    return DeviceSource{.file = "attention_sm80.cu", .entry = "attention", .defines = visibility_defines(problem)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config&, const Device& device,
                                         Function function) const override {
    auto launcher = std::make_unique<AttentionSm80Launcher>(problem, device, function);
    TENON_TRY(tenon::cuda::check(
        device.api().cuFuncSetAttribute(function, tenon::cuda::kFunctionMaxDynamicShared, launcher->shared_bytes()),
        "reserving shared memory for attention"));
    return std::unique_ptr<Launcher>(std::move(launcher));
  }
};

}  // namespace

const Kernel& attention_sm80_kernel() {
  static const AttentionSm80 kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
