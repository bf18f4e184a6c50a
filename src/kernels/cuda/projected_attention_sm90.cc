// attention of short sequences and the product ahead of it in one kernel: the device side is projected_attention_sm90.cu.
#include <algorithm>

#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/device/linear_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/linear.h"

namespace tenon::kernels::cuda {
namespace {

constexpr int kShortDim = 64, kShortColumns = 3 * kShortDim, kShortKeys = 64, kShortThreads = 384;  // as in the device code
constexpr const char* kSharedTile = "schedule=cooperative";
constexpr const char* kTakingTurns = "schedule=pingpong";

bool takes_turns(const Config& config) { return config.text == kTakingTurns; }

enum ProjectionInput { kX, kW, kBias, kResidual, kXMoments, kResidualMoments };

int64_t projected_depth(const Problem& projection) { return projection.inputs[kW].shape[0].value(); }

int projected_stages(const Problem& projection) {
  return static_cast<int>(std::min<int64_t>(4, (projected_depth(projection) + 63) / 64));
}

// The ring, a buffer of keys and values for each tile in work, barriers.
int projected_bytes(const Problem& projection, const Config& config) {
  constexpr int kStageBytes = (kShortRows + kShortColumns) * 128, kHeadsBytes = 2 * kShortRows * 128, kBarrierBytes = 256;
  return projected_stages(projection) * kStageBytes + (takes_turns(config) ? 2 : 1) * kHeadsBytes + kBarrierBytes;
}

class ProjectedAttentionLauncher final : public Launcher {
 public:
  ProjectedAttentionLauncher(const Problem& problem, const Config& config, const Device& device, Function function)
      : form_(problem.attrs),
        shared_bytes_(projected_bytes(*problem.before, config)),
        depth_(projected_depth(*problem.before)),
        ahead_(problem.before->inputs.size() + problem.before->outputs.size()),
        epsilon_(problem.before->op == Op::k_linear_norm ? static_cast<float>(problem.before->attrs.number("epsilon")) : 0),
        type_(problem.inputs[kQ].dtype == DType::kF16 ? MapType::kF16 : MapType::kBF16),
        device_(device),
        function_(function) {}

  Status launch(const RunArgs& args) const override {
    RunArgs own = args;
    own.inputs = args.inputs.subspan(ahead_);
    TENON_ASSIGN(AttentionArgs a, attention_args(form_, own));
    if (a.q_rows == 0) return {};
    TENON_ASSIGN(const LinearOperands o, linear_operands(args, depth_));
    if (o.rows != a.q_rows) return error(ErrorCode::kBadInput, "{} rows make queries for {}", o.rows, a.q_rows);
    LinearArgs linear = {.bias = args.input(kBias).data, .x_moments = args.input(kXMoments).data, .rows = o.rows, .epsilon = epsilon_};
    TensorMap x, w, y;
    constexpr int kWarpRows = 16;  // each stores its own
    TENON_TRY(encode(x, o.x, o.rows, depth_, kShortRows));
    TENON_TRY(encode(w, o.w, kShortColumns * form_.heads, depth_, kShortDim));
    TENON_TRY(encode(y, device_ptr(args.output()), o.rows, form_.heads * kShortDim, kWarpRows));
    const int64_t tiles = int64_t{a.batch} * form_.heads;
    const Launch launch = {.grid = {static_cast<unsigned>(std::min<int64_t>(tiles, device_.multiprocessors())), 1, 1},
                           .block = {kShortThreads, 1, 1},
                           .shared_bytes = static_cast<unsigned>(shared_bytes_)};
    void* parameters[] = {&x, &w, &y, &a, &linear};
    return launch_kernel(device_, function_, args.stream, launch, parameters);
  }

 private:
  using TensorMap = tenon::cuda::TensorMap;
  using MapType = tenon::cuda::TensorMapType;

  // A matrix read or written in boxes of 64 columns.
  Status encode(TensorMap& map, DevicePtr data, int64_t rows, int64_t columns, int box_rows) const {
    return tenon::cuda::encode_matrix(device_.api(), map, type_, data, rows, columns, columns * 2, box_rows, 64,
                                      tenon::cuda::Swizzle::k128B);
  }

  AttentionForm form_;
  int shared_bytes_;
  int64_t depth_;
  size_t ahead_;  // arguments of the step ahead
  float epsilon_;
  MapType type_;
  const Device& device_;
  Function function_;
};

class ProjectedAttentionSm90 final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.projected_attention.sm90"; }
  std::string_view absorbs() const override { return "cuda.linear.sm90"; }
  bool runs_on(int capability) const override { return capability == 90; }
  std::string arch(const Config&, int) const override { return "sm_90a"; }

  Support supports(const Problem& problem) const override {
    if (problem.before == nullptr) return Support::no("no product stands ahead of it");
    if (Support s = supports_attention_rows(problem); !s) return s;
    const AttentionForm form(problem.attrs);
    if (form.head_dim != kShortDim) return Support::no(fmt::format("head_dim {} is not {}", form.head_dim, kShortDim));
    if (problem.has(kScoreBias)) return Support::no("scores are biased");
    if (form.causal || form.window > 0) return Support::no("keys are hidden by position");
    if (!(form.scale > 0)) return Support::no("the scale is not positive");
    const int64_t width = form.heads * kShortDim;
    if (form.kv_heads != form.heads || form.columns != std::vector<int64_t>{0, width, 2 * width}) {
      return Support::no("queries, keys and values do not stand in this order");
    }
    return supports_projection(*problem.before, problem);
  }

  std::vector<Config> configs(const Problem&) const override {
    const std::string numerics = fmt::format("wgmma wgmma-online-{}", kShortKeys);
    return {{.text = kTakingTurns, .numerics = numerics, .cost = 0}, {.text = kSharedTile, .numerics = numerics, .cost = 0}};
  }

  // Where each multiprocessor has one tile at most, both warpgroups work at it.
  Config config_for(const Problem& problem, int64_t rows, int multiprocessors) const override {
    const int64_t tiles = (rows + kShortRows - 1) / kShortRows * AttentionForm(problem.attrs).heads;
    return configs(problem)[tiles <= multiprocessors ? 1 : 0];
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config& config, int) const override {
    const Problem& projection = *problem.before;
    std::vector<std::string> defines = {fmt::format("ELEMENT={}", dtype_name(problem.inputs[kQ].dtype)),
                                        fmt::format("VECTOR={}", projection.op == Op::k_linear_norm ? "float" : "ELEMENT")};
    const auto define = [&](const char* name, int64_t value) { defines.push_back(fmt::format("{}={}", name, value)); };
    define("DEPTH", projected_depth(projection));
    define("HEADS", AttentionForm(problem.attrs).heads);
    define("STAGES", projected_stages(projection));
    define("PINGPONG", takes_turns(config) ? 1 : 0);
    define("HAS_BIAS", projection.has(kBias) ? 1 : 0);
    define("NORM_X", projection.has(kXMoments) ? 1 : 0);
    return DeviceSource{.file = "projected_attention_sm90.cu", .entry = "projected_attention", .defines = std::move(defines)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config& config, const Device& device,
                                         Function function) const override {
    TENON_TRY(allow_shared_memory(device, function, projected_bytes(*problem.before, config)));
    return std::unique_ptr<Launcher>(std::make_unique<ProjectedAttentionLauncher>(problem, config, device, function));
  }

 private:
  static Support supports_projection(const Problem& projection, const Problem& attention) {
    if (Support s = linear_sm90_kernel().supports(projection); !s) return s;
    if (!projection.attrs.text("activation").empty()) return Support::no("the product ahead has an activation");
    if (projection.has(kResidual) || projection.has(kResidualMoments)) return Support::no("the product ahead adds a residual");
    if (projection.outputs.size() != 1) return Support::no("the product ahead has several results");
    for (const int i : {kQ, kK, kV}) {
      if (attention.inputs[static_cast<size_t>(i)] == projection.outputs[0]) continue;
      return Support::no("queries, keys and values are not the product ahead");
    }
    const int64_t columns = projection.inputs[kW].shape[1].value();
    if (columns != 3 * AttentionForm(attention.attrs).heads * kShortDim) return Support::no("the product ahead is wider");
    return Support::yes();
  }
};

}  // namespace

const Kernel& projected_attention_sm90_kernel() {
  static const ProjectedAttentionSm90 kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
