// linear on GPUs of every generation since sm_80: in 16 bits, and in f32 by tf32 tensor cores, with one product where
// the plan allows factors of tf32 and three where it wants all of f32. The device side is linear_sm80.cu.
#include <limits>

#include "kernels/cuda/kernels.h"
#include "kernels/cuda/linear.h"

namespace tenon::kernels::cuda {
namespace {

// A block's tile of y and how its warps divide it.
struct Sm80Tile {
  const char* text;
  int m, n, warps_m, warps_n;

  unsigned shared_bytes() const { return static_cast<unsigned>(3 * (m + n) * 128 + 1024); }  // three stages, alignment
};
constexpr Sm80Tile kSm80Tiles[] = {
    {"tile=128x128", 128, 128, 2, 4}, {"tile=64x64", 64, 64, 2, 2}, {"tile=32x64", 32, 64, 1, 4}};

const Sm80Tile* find_sm80_tile(std::string_view text) {
  for (const Sm80Tile& tile : kSm80Tiles)
    if (tile.text == text) return &tile;
  return nullptr;
}

int64_t tile_count(const Sm80Tile& tile, int64_t rows, int64_t columns) {
  return (rows + tile.m - 1) / tile.m * ((columns + tile.n - 1) / tile.n);
}

// For many rows first; all sum over K in the same order.
std::vector<Config> sm80_configs(const char* numerics) {
  std::vector<Config> configs;
  for (const Sm80Tile& tile : kSm80Tiles) configs.push_back({.text = tile.text, .numerics = numerics});
  return configs;
}

// The largest tile of which there are enough for all multiprocessors.
Config fitting_config(const std::vector<Config>& configs, int64_t rows, int64_t columns, int multiprocessors) {
  for (size_t i = 0; i + 1 < configs.size(); ++i)
    if (tile_count(kSm80Tiles[i], rows, columns) >= multiprocessors) return configs[i];
  return configs.back();
}

DeviceSource sm80_source(std::vector<std::string> defines, const Sm80Tile& tile, int terms) {
  const std::pair<const char*, int> sizes[] = {
      {"TILE_M", tile.m}, {"TILE_N", tile.n}, {"WARPS_M", tile.warps_m}, {"WARPS_N", tile.warps_n}, {"TERMS", terms}};
  for (const auto& [name, value] : sizes) defines.push_back(fmt::format("{}={}", name, value));
  return {.file = "linear_sm80.cu", .entry = "linear_sm80", .defines = std::move(defines)};
}

class LinearSm80Launcher final : public Launcher {
 public:
  LinearSm80Launcher(const Device& device, Function function, const Sm80Tile& tile, int64_t depth, int64_t columns)
      : device_(device), function_(function), tile_(tile), depth_(depth), columns_(columns) {}

  static Result<std::unique_ptr<Launcher>> make(const Kernel& kernel, const Config& config, const Device& device,
                                                Function function, int64_t depth, int64_t columns) {
    const Sm80Tile* tile = find_sm80_tile(config.text);
    if (tile == nullptr) return error(ErrorCode::kInternal, "{} has no config '{}'", kernel.id(), config.text);
    TENON_TRY(allow_shared_memory(device, function, static_cast<int>(tile->shared_bytes())));
    return std::unique_ptr<Launcher>(std::make_unique<LinearSm80Launcher>(device, function, *tile, depth, columns));
  }

  Status launch(const RunArgs& args) const override {
    TENON_ASSIGN(LinearOperands o, linear_operands(args, depth_));
    if (o.rows == 0) return {};
    void* parameters[] = {&o.x, &o.w, &o.bias, &o.residual, &o.y, &o.rows};
    const Launch launch = {.grid = {static_cast<unsigned>(tile_count(tile_, o.rows, columns_)), 1, 1},
                           .block = {static_cast<unsigned>(32 * tile_.warps_m * tile_.warps_n), 1, 1},
                           .shared_bytes = tile_.shared_bytes()};
    return launch_kernel(device_, function_, args.stream, launch, parameters);
  }

 private:
  const Device& device_;
  Function function_;
  Sm80Tile tile_;
  int64_t depth_, columns_;
};

class LinearSm80 final : public LinearKernel {
 public:
  std::string_view id() const override { return "cuda.linear.sm80"; }

  std::vector<Config> configs(const Problem&) const override { return sm80_configs("mma-k16"); }
  Config config_for(const Problem& problem, int64_t rows, int multiprocessors) const override {
    return fitting_config(configs(problem), rows, columns(problem), multiprocessors);
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config& config, int) const override {
    const Sm80Tile* tile = find_sm80_tile(config.text);
    if (tile == nullptr) return std::nullopt;
    return sm80_source(problem_defines(problem), *tile, 1);
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config& config, const Device& device,
                                         Function function) const override {
    if (is_cublaslt(config)) return load_cublaslt(problem, config, device);
    return LinearSm80Launcher::make(*this, config, device, function, depth(problem), columns(problem));
  }
};

// Of any number of columns; K a multiple of 4.
class LinearF32 final : public LinearKernel {
 public:
  std::string_view id() const override { return "cuda.linear.f32"; }

  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_linear) return Support::no("computes linear only");
    if (problem.inputs[kX].dtype != DType::kF32) return Support::no("computes f32 only");
    const std::string& factors = problem.attrs.text("factors");
    if (!factors.empty() && factors != "tf32") return Support::no(fmt::format("factors of {} are asked for", factors));
    if (problem.constant.size() <= kW || !problem.constant[kW]) return Support::no("the weight is not constant");
    if (!ir::all_const(problem.inputs[kW].shape)) return Support::no("the weight's shape is symbolic");
    constexpr int64_t kMost = std::numeric_limits<int>::max() / 256;
    if (depth(problem) % 4 != 0 || depth(problem) == 0) return Support::no("the depth is not a multiple of 4");
    if (depth(problem) > kMost || columns(problem) > kMost || columns(problem) == 0)
      return Support::no("the weight's size is out of range");
    return Support::yes();
  }

  std::vector<Config> configs(const Problem& problem) const override {
    return sm80_configs(terms(problem) == 1 ? "mma-tf32" : "mma-tf32x3");
  }
  Config config_for(const Problem& problem, int64_t rows, int multiprocessors) const override {
    return fitting_config(configs(problem), rows, columns(problem), multiprocessors);
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config& config, int) const override {
    const Sm80Tile* tile = find_sm80_tile(config.text);
    if (tile == nullptr) return std::nullopt;
    return sm80_source(problem_defines(problem), *tile, terms(problem));
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config& config, const Device& device,
                                         Function function) const override {
    if (is_cublaslt(config)) return load_cublaslt(problem, config, device);
    return LinearSm80Launcher::make(*this, config, device, function, depth(problem), columns(problem));
  }

 private:
  static int terms(const Problem& problem) { return of_tf32(problem) ? 1 : 2; }
};

}  // namespace

const Kernel& linear_sm80_kernel() {
  static const LinearSm80 kernel;
  return kernel;
}

const Kernel& linear_f32_kernel() {
  static const LinearF32 kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
