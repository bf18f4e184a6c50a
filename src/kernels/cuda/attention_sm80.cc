// attention by mma.sync: the device side is attention_sm80.cu.
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/kernels.h"

namespace tenon::kernels::cuda {
namespace {

constexpr int64_t kSm80Keys = 64;  // of a block in shared memory, as in the device code

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
    // Two slots of keys and values.
    const auto shared = static_cast<int>(4 * kSm80Keys * (problem.attrs.integer("head_dim") * 2 + 16));
    TENON_TRY(allow_shared_memory(device, function, shared));
    return attention_launcher(problem, device, function, [shared, &device](const AttentionArgs& a) -> Launch {
      // Large tiles share the keys among more queries; small ones fill the GPU where there are few. The same bits either
      // way.
      int rows = 64;
      const auto tiles = [&] { return (a.q_rows + rows - 1) / rows; };
      while (rows > 16 && int64_t{tiles()} * a.heads < device.multiprocessors()) rows /= 2;
      return {.grid = {static_cast<unsigned>(a.heads), static_cast<unsigned>(tiles()), 1},
              .block = {static_cast<unsigned>(2 * rows), 1, 1},  // a warp for 16 rows
              .shared_bytes = static_cast<unsigned>(shared)};
    });
  }
};

}  // namespace

const Kernel& attention_sm80_kernel() {
  static const AttentionSm80 kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
