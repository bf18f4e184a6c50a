// linear and linear_norm on Hopper; the device sides are linear_sm90.cu (persistent blocks, many rows) and
// linear_few_sm90.cu (K split over a cluster, few rows).
#include "kernels/cuda/device/linear_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/sm90_tile.h"
#include "ops/linear_norm.h"

namespace tenon::kernels::cuda {
namespace {

class LinearSm90Launcher final : public Launcher {
 public:
  LinearSm90Launcher(const Problem& problem, const Device& device, Function function, const Sm90Tile& tile)
      : device_(device),
        function_(function),
        tile_(tile),
        depth_(problem.inputs[1].shape[0].value()),
        columns_(problem.inputs[1].shape[1].value()),
        epsilon_(problem.op == Op::k_linear_norm ? static_cast<float>(problem.attrs.number("epsilon")) : 0),
        has_norm_(problem.has(4) || problem.has(5)),
        gives_moments_(problem.outputs.size() > 1),
        type_(problem.inputs[0].dtype == DType::kF16 ? MapType::kF16 : MapType::kBF16) {}

  Status launch(const RunArgs& args) const override {
    TENON_ASSIGN(LinearOperands o, linear_operands(args, depth_));
    if (o.rows == 0) return {};
    LinearArgs rest = {.bias = args.input(2).data,
                       .residual = args.input(3).data,
                       .x_moments = args.input(4).data,
                       .residual_moments = args.input(5).data,
                       .gamma = args.input(6).data,
                       .y = args.output().data,
                       .y_moments = gives_moments_ ? args.output(1).data : nullptr,
                       .rows = o.rows,
                       .epsilon = epsilon_,
                       .backwards = args.backwards};
    Product product = {.type = type_,
                       .x = {},
                       .w = o.w,
                       .residual = o.residual,
                       .y = o.y,
                       .rows = o.rows,
                       .columns = columns_,
                       .depth = depth_,
                       .has_norm = has_norm_,
                       .args = &rest};
    TENON_TRY(tenon::cuda::encode_matrix(device_.api(), product.x, type_, o.x, o.rows, depth_, depth_ * 2, tile_.m, 64,
                                         tenon::cuda::Swizzle::k128B));
    return launch_product(device_, function_, tile_, product, args.stream);
  }

 private:
  using MapType = tenon::cuda::TensorMapType;

  const Device& device_;
  Function function_;
  Sm90Tile tile_;
  int64_t depth_, columns_;
  float epsilon_;
  bool has_norm_, gives_moments_;
  MapType type_;
};

class LinearSm90 final : public LinearKernel {
 public:
  LinearSm90() : LinearKernel(true) {}
  std::string_view id() const override { return "cuda.linear.sm90"; }
  bool runs_on(int capability) const override { return capability == 90; }
  std::string arch(const Config&, int) const override { return "sm_90a"; }

  std::vector<Config> configs(const Problem& problem) const override {
    const ir::Shape& x = problem.inputs[kX].shape;
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < x.size(); ++i) rows = x[i].is_const() ? rows * x[i].value() : 0;
    return configs_for(problem, rows > 0 ? rows : 4096, 132);
  }

  Config config_for(const Problem& problem, int64_t rows, int multiprocessors) const override {
    return configs_for(problem, rows, multiprocessors).front();
  }

  // Best first for this many rows.
  std::vector<Config> configs_for(const Problem& problem, int64_t rows, int multiprocessors) const {
    constexpr double kClock = 1.7e9;
    std::vector<Config> configs;
    for (const Sm90Tile& tile : linear_tiles()) {
      if (gives_moments(problem) && tile.n % ops::kMomentsPanel != 0) continue;
      const bool fills_registers = tile.schedule == Schedule::kPingPong && tile.m * tile.n == 128 * 192;
      if (fills_registers && gives_moments(problem) && problem.has(kResidualMoments)) continue;  // they would spill
      const double clocks =
          estimated_clocks(tile, rows, columns(problem), depth(problem),
                           {!problem.attrs.text("activation").empty(), gives_moments(problem)}, multiprocessors);
      configs.push_back({.text = tile.text(), .numerics = tile.numerics(), .cost = clocks / kClock});
    }
    sort_by_cost(configs);
    return configs;
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config& config, int) const override {
    const Sm90Tile* tile = find_tile(linear_tiles(), config.text);
    if (tile == nullptr) return std::nullopt;
    std::vector<std::string> defines = problem_defines(problem);
    for (std::string& text : norm_defines(problem)) defines.push_back(std::move(text));
    return tile_code(*tile, depth(problem), std::move(defines));
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config& config, const Device& device,
                                         Function function) const override {
    if (is_cublaslt(config)) return load_cublaslt(problem, config, device);
    const Sm90Tile* tile = find_tile(linear_tiles(), config.text);
    if (tile == nullptr) return error(ErrorCode::kInternal, "{} has no config '{}'", id(), config.text);
    TENON_TRY(allow_shared_memory(device, function, tile->shared_bytes(depth(problem))));
    return std::unique_ptr<Launcher>(std::make_unique<LinearSm90Launcher>(problem, device, function, *tile));
  }
};

const LinearSm90& linear_sm90() {
  static const LinearSm90 kernel;
  return kernel;
}

}  // namespace

const Kernel& linear_sm90_kernel() { return linear_sm90(); }

std::string best_linear_config(const Problem& problem, int64_t rows, int multiprocessors) {
  return linear_sm90().configs_for(problem, rows, multiprocessors).front().text;
}

}  // namespace tenon::kernels::cuda
