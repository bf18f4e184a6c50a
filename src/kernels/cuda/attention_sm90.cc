// attention by wgmma and TMA: the device side is attention_sm90.cu.
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/kernels.h"

namespace tenon::kernels::cuda {
namespace {

// How a config cuts the work: keys of a block in the ring, blocks in the ring, most query rows of a block of threads, blocks
// of threads that share a multiprocessor.
struct Cut {
  int keys, stages, rows, blocks;

  std::string text() const { return fmt::format("keys={},stages={},rows={},blocks={}", keys, stages, rows, blocks); }
  int shared_bytes(int64_t head_dim) const {
    constexpr int kBarrierBytes = 128;  // as in the device code
    const auto row = static_cast<int>(head_dim * 2);
    return stages * 2 * keys * row + kBarrierBytes + rows * row;
  }
};

std::vector<Cut> cuts(int64_t head_dim) {
  if (head_dim == 128) return {{.keys = 64, .stages = 3, .rows = 128, .blocks = 1}};
  return {{.keys = 64, .stages = 4, .rows = 128, .blocks = 2}, {.keys = 64, .stages = 2, .rows = 64, .blocks = 4},
          {.keys = 128, .stages = 3, .rows = 128, .blocks = 1}};
}

Cut cut_of(const AttentionForm& form, const Config& config) {
  const std::vector<Cut> all = cuts(form.head_dim);
  for (const Cut& cut : all)
    if (cut.text() == config.text) return cut;
  return all.front();
}

class AttentionSm90Launcher final : public Launcher {
 public:
  AttentionSm90Launcher(const Problem& problem, const Cut& cut, const Device& device, Function function)
      : form_(problem.attrs), cut_(cut), type_(problem.inputs[kQ].dtype), device_(device), function_(function) {}

  Status launch(const RunArgs& args) const override {
    TENON_ASSIGN(AttentionArgs a, attention_args(form_, args));
    if (a.q_rows == 0) return {};
    TensorMap k_map, v_map;
    TENON_TRY(describe(k_map, a.k, a.k_rows, a.k_stride));
    TENON_TRY(describe(v_map, a.v, a.k_rows, a.v_stride));
    const int rows = tile_rows(a);
    const Launch launch = {.grid = {static_cast<unsigned>(form_.heads), static_cast<unsigned>((a.q_rows + rows - 1) / rows), 1},
                           .block = {static_cast<unsigned>(2 * rows), 1, 1},
                           .shared_bytes = static_cast<unsigned>(cut_.shared_bytes(form_.head_dim))};
    void* parameters[] = {&a, &k_map, &v_map};
    return launch_kernel(device_, function_, args.stream, launch, parameters);
  }

 private:
  using TensorMap = tenon::cuda::TensorMap;

  Status describe(TensorMap& map, const void* head_0, int rows, int stride) const {
    using tenon::cuda::Swizzle, tenon::cuda::TensorMapType;
    const auto columns = static_cast<int>(std::min<int64_t>(64, form_.head_dim));
    return tenon::cuda::encode_matrix(device_.api(), map, type_ == DType::kBF16 ? TensorMapType::kBF16 : TensorMapType::kF16,
                                      reinterpret_cast<DevicePtr>(head_0), std::max(1, rows), form_.kv_heads * form_.head_dim,
                                      int64_t{2} * stride, cut_.keys, columns, columns == 64 ? Swizzle::k128B : Swizzle::k64B);
  }

  // Small tiles where large ones would leave multiprocessors idle. The same bits either way.
  int tile_rows(const AttentionArgs& a) const {
    const bool idle = (a.q_rows + cut_.rows - 1) / cut_.rows * form_.heads < device_.multiprocessors();
    return idle ? 64 : cut_.rows;
  }

  AttentionForm form_;
  Cut cut_;
  DType type_;
  const Device& device_;
  Function function_;
};

class AttentionSm90 final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.attention.sm90"; }

  Support supports(const Problem& problem) const override {
    if (Support s = supports_attention_rows(problem); !s) return s;
    const AttentionForm form(problem.attrs);
    if (form.head_dim != 32 && form.head_dim != 64 && form.head_dim != 128) {
      return Support::no(fmt::format("head_dim {} is not 32, 64 or 128", form.head_dim));
    }
    if (problem.has(kScoreBias)) return Support::no("scores are biased");
    if (form.causal || form.window > 0) return Support::no("keys are hidden by position");
    if (!(form.scale > 0)) return Support::no("the scale is not positive");
    return Support::yes();
  }

  std::vector<Config> configs(const Problem& problem) const override {
    std::vector<Config> configs;
    for (const Cut& cut : cuts(problem.attrs.integer("head_dim"))) {
      configs.push_back({.text = cut.text(), .numerics = fmt::format("wgmma-online-{}", cut.keys), .cost = 0});
    }
    return configs;
  }

  std::string arch(const Config&, int) const override { return "sm_90a"; }

  std::optional<DeviceSource> code(const Problem& problem, const Config& config, int) const override {
    const AttentionForm form(problem.attrs);
    const Cut cut = cut_of(form, config);
    return DeviceSource{.file = "attention_sm90.cu",
                        .entry = "attention",
                        .defines = {element_define(problem.inputs[kQ].dtype), fmt::format("HEAD_DIM={}", form.head_dim),
                                    fmt::format("KEYS={}", cut.keys), fmt::format("STAGES={}", cut.stages),
                                    fmt::format("ROWS={}", cut.rows), fmt::format("BLOCKS={}", cut.blocks)}};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config& config, const Device& device,
                                         Function function) const override {
    const AttentionForm form(problem.attrs);
    const Cut cut = cut_of(form, config);
    TENON_TRY(tenon::cuda::check(
        device.api().cuFuncSetAttribute(function, tenon::cuda::kFunctionMaxDynamicShared, cut.shared_bytes(form.head_dim)),
        "reserving shared memory for attention"));
    return std::unique_ptr<Launcher>(std::make_unique<AttentionSm90Launcher>(problem, cut, device, function));
  }
};

}  // namespace

const Kernel& attention_sm90_kernel() {
  static const AttentionSm90 kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
