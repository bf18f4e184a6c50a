// attention by wgmma and TMA: the device side is attention_sm90.cu.
#include <algorithm>

#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/kernels.h"

namespace tenon::kernels::cuda {
namespace {

constexpr int kGroupRows = 64, kGroupThreads = 128, kKeys = 64;  // as in the device code

// How a config cuts the work among blocks of threads, one on each multiprocessor: warpgroups that share a tile's keys
// and values, blocks of these in the ring, registers of a thread at the launch. All give the same bits.
struct Cut {
  int groups, stages, registers;

  std::string text() const { return fmt::format("groups={},stages={},registers={}", groups, stages, registers); }
  int rows() const { return groups * kGroupRows; }
  int threads() const { return (groups + 1) * kGroupThreads; }
  int64_t tiles(int64_t q_rows, int64_t heads) const { return (q_rows + rows() - 1) / rows() * heads; }
  // Of struct Shared in the device code: keys and values, queries and results, sequences, barriers.
  int shared_bytes(int64_t head_dim) const {
    const auto row = static_cast<int>(head_dim * 2);
    constexpr int kQuerySlots = 2, kMetSlots = 3, kBarrierBytes = 16;
    const int bytes = stages * 2 * kKeys * row + (kQuerySlots + 1) * rows() * row + kMetSlots * (20 + rows() * 20) +
                      (stages + kQuerySlots) * kBarrierBytes;
    return (bytes + 1023) / 1024 * 1024;
  }
  // The time of a tile, in that of a single warpgroup's: measured with heads of 64 and 512 keys on one H200. Rows that
  // share loads also fill each other's gaps.
  double turn() const { return groups == 1 ? 1.0 : groups == 2 ? 1.33 : 1.73; }
};

// A single group serves few tiles: beside its block the next kernel finds room to load weights, but no second block of
// attention does. Three groups of 96 or 128 columns would exceed the registers.
std::vector<Cut> cuts(int64_t head_dim) {
  if (head_dim == 128)
    return {{.groups = 1, .stages = 4, .registers = 168}, {.groups = 2, .stages = 3, .registers = 168}};
  if (head_dim == 96)
    return {{.groups = 1, .stages = 3, .registers = 168}, {.groups = 2, .stages = 4, .registers = 168}};
  return {{.groups = 1, .stages = 5, .registers = 168},
          {.groups = 2, .stages = 8, .registers = 168},
          {.groups = 3, .stages = 8, .registers = 128}};
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
    TensorMap q_map, k_map, v_map, y_map;
    constexpr int kWarpRows = 16;  // each stores its own
    TENON_TRY(describe(q_map, a.q, a.q_rows, form_.heads, a.q_stride, cut_.rows()));
    TENON_TRY(describe(k_map, a.k, a.k_rows, form_.kv_heads, a.k_stride, kKeys));
    TENON_TRY(describe(v_map, a.v, a.k_rows, form_.kv_heads, a.v_stride, kKeys));
    TENON_TRY(describe(y_map, a.y, a.q_rows, form_.heads, a.y_stride, kWarpRows));
    const int64_t blocks = std::min<int64_t>(cut_.tiles(a.q_rows, form_.heads), device_.multiprocessors());
    const Launch launch = {.grid = {static_cast<unsigned>(blocks), 1, 1},
                           .block = {static_cast<unsigned>(cut_.threads()), 1, 1},
                           .shared_bytes = static_cast<unsigned>(cut_.shared_bytes(form_.head_dim))};
    void* parameters[] = {&a, &q_map, &k_map, &v_map, &y_map};
    return launch_kernel(device_, function_, args.stream, launch, parameters);
  }

 private:
  using TensorMap = tenon::cuda::TensorMap;

  Status describe(TensorMap& map, const void* head_0, int rows, int64_t heads, int stride, int box_rows) const {
    using tenon::cuda::Swizzle, tenon::cuda::TensorMapType;
    const int columns = form_.head_dim % 64 == 0 ? 64 : 32;
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
  int version() const override { return 2; }

  Support supports(const Problem& problem) const override {
    if (Support s = supports_attention_rows(problem); !s) return s;
    const AttentionForm form(problem.attrs);
    if (form.head_dim % 32 != 0 || form.head_dim > 128) {
      return Support::no(fmt::format("head_dim {} is not 32, 64, 96 or 128", form.head_dim));
    }
    if (problem.has(kScoreBias)) return Support::no("scores are biased");
    if (form.causal || form.window > 0) return Support::no("keys are hidden by position");
    if (!(form.scale > 0)) return Support::no("the scale is not positive");
    return Support::yes();
  }

  std::vector<Config> configs(const Problem& problem) const override {
    std::vector<Config> configs;
    for (const Cut& cut : cuts(problem.attrs.integer("head_dim"))) {
      configs.push_back({.text = cut.text(), .numerics = fmt::format("wgmma-online-{}", kKeys), .cost = 0});
    }
    return configs;
  }

  // The one with which all tiles take the fewest turns.
  Config config_for(const Problem& problem, int64_t rows, int multiprocessors) const override {
    const AttentionForm form(problem.attrs);
    const auto time = [&](const Config& config) {
      const Cut cut = cut_of(form, config);
      const int64_t turns = (cut.tiles(rows, form.heads) + multiprocessors - 1) / multiprocessors;
      return static_cast<double>(turns) * cut.turn();
    };
    const std::vector<Config> all = configs(problem);
    return *std::min_element(all.begin(), all.end(),
                             [&](const Config& a, const Config& b) { return time(a) < time(b); });
  }

  bool runs_on(int capability) const override { return capability == 90; }
  std::string arch(const Config&, int) const override { return "sm_90a"; }

  std::optional<DeviceSource> code(const Problem& problem, const Config& config, int) const override {
    const Cut cut = cut_of(AttentionForm(problem.attrs), config);
    std::vector<std::string> defines = element_defines(problem);
    defines.push_back(fmt::format("KEYS={}", kKeys));
    defines.push_back(fmt::format("STAGES={}", cut.stages));
    defines.push_back(fmt::format("GROUPS={}", cut.groups));
    defines.push_back(fmt::format("REGISTERS={}", cut.registers));
    return DeviceSource{.file = "attention_sm90.cu", .entry = "attention", .defines = std::move(defines)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config& config, const Device& device,
                                         Function function) const override {
    const AttentionForm form(problem.attrs);
    const Cut cut = cut_of(form, config);
    TENON_TRY(allow_shared_memory(device, function, cut.shared_bytes(form.head_dim)));
    return std::unique_ptr<Launcher>(std::make_unique<AttentionSm90Launcher>(problem, cut, device, function));
  }
};

}  // namespace

const Kernel& attention_sm90_kernel() {
  static const AttentionSm90 kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
