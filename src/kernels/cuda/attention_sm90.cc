// attention by wgmma and TMA: the device side is attention_sm90.cu.
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/kernels.h"

namespace tenon::kernels::cuda {
namespace {

constexpr int kTileRows = 64, kThreads = 160;  // as in the device code

// How a config cuts the work: keys of a block in the ring, blocks in the ring, blocks of threads that share a
// multiprocessor.
struct Cut {
  int keys, stages, blocks;

  std::string text() const { return fmt::format("keys={},stages={},blocks={}", keys, stages, blocks); }
  // Of struct Shared in the device code.
  int shared_bytes(int64_t head_dim) const {
    const auto row = static_cast<int>(head_dim * 2);
    constexpr int kSlots = 2, kMetBytes = 12 + kTileRows * 20, kBarrierBytes = 16;
    const int bytes =
        stages * 2 * keys * row + kSlots * kTileRows * row + kSlots * kMetBytes + (stages + kSlots) * kBarrierBytes;
    return (bytes + 1023) / 1024 * 1024;
  }
};

std::vector<Cut> cuts(int64_t head_dim) {
  if (head_dim == 128) return {{.keys = 32, .stages = 4, .blocks = 2}};
  return {{.keys = 64, .stages = 3, .blocks = 3}, {.keys = 128, .stages = 2, .blocks = 1}};
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
    TensorMap q_map, k_map, v_map;
    TENON_TRY(describe(q_map, a.q, a.q_rows, form_.heads, a.q_stride, kTileRows));
    TENON_TRY(describe(k_map, a.k, a.k_rows, form_.kv_heads, a.k_stride, cut_.keys));
    TENON_TRY(describe(v_map, a.v, a.k_rows, form_.kv_heads, a.v_stride, cut_.keys));
    const int64_t tiles = (a.q_rows + int64_t{kTileRows} - 1) / kTileRows * form_.heads;
    const int64_t blocks = std::min<int64_t>(tiles, int64_t{device_.multiprocessors()} * cut_.blocks);
    const Launch launch = {.grid = {static_cast<unsigned>(blocks), 1, 1},
                           .block = {kThreads, 1, 1},
                           .shared_bytes = static_cast<unsigned>(cut_.shared_bytes(form_.head_dim))};
    void* parameters[] = {&a, &q_map, &k_map, &v_map};
    return launch_kernel(device_, function_, args.stream, launch, parameters);
  }

 private:
  using TensorMap = tenon::cuda::TensorMap;

  Status describe(TensorMap& map, const void* head_0, int rows, int64_t heads, int stride, int box_rows) const {
    using tenon::cuda::Swizzle, tenon::cuda::TensorMapType;
    const auto columns = static_cast<int>(std::min<int64_t>(64, form_.head_dim));
    return tenon::cuda::encode_matrix(
        device_.api(), map, type_ == DType::kBF16 ? TensorMapType::kBF16 : TensorMapType::kF16,
        reinterpret_cast<DevicePtr>(head_0), std::max(1, rows), heads * form_.head_dim, int64_t{2} * stride, box_rows,
        columns, columns == 64 ? Swizzle::k128B : Swizzle::k64B);
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

  // Long blocks of keys, each alone on its multiprocessor, where the tiles do not fill the GPU (bench/gpu/attention_bench.cc).
  Config config_for(const Problem& problem, int64_t rows, int multiprocessors) const override {
    const std::vector<Config> all = configs(problem);
    const bool few = (rows + kTileRows - 1) / kTileRows * AttentionForm(problem.attrs).heads <= multiprocessors;
    return few ? all.back() : all.front();
  }

  bool runs_on(int capability) const override { return capability == 90; }
  std::string arch(const Config&, int) const override { return "sm_90a"; }

  std::optional<DeviceSource> code(const Problem& problem, const Config& config, int) const override {
    const Cut cut = cut_of(AttentionForm(problem.attrs), config);
    std::vector<std::string> defines = element_defines(problem);
    defines.push_back(fmt::format("KEYS={}", cut.keys));
    defines.push_back(fmt::format("STAGES={}", cut.stages));
    defines.push_back(fmt::format("BLOCKS={}", cut.blocks));
    return DeviceSource{.file = "attention_sm90.cu", .entry = "attention", .defines = std::move(defines)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config& config, const Device& device,
                                         Function function) const override {
    const AttentionForm form(problem.attrs);
    const Cut cut = cut_of(form, config);
    TENON_TRY(tenon::cuda::check(device.api().cuFuncSetAttribute(function, tenon::cuda::kFunctionMaxDynamicShared,
                                                                 cut.shared_bytes(form.head_dim)),
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
