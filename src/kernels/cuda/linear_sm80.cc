// linear on GPUs of every generation since sm_80; the device side is linear_sm80.cu.
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

class LinearSm80Launcher final : public Launcher {
 public:
  LinearSm80Launcher(const Device& device, Function function, const Sm80Tile& tile, int64_t depth, int64_t columns)
      : device_(device), function_(function), tile_(tile), depth_(depth), columns_(columns) {}

  Status launch(const RunArgs& args) const override {
    TENON_ASSIGN(LinearOperands o, linear_operands(args, depth_));
    if (o.rows == 0) return {};
    const int64_t tiles = (o.rows + tile_.m - 1) / tile_.m * ((columns_ + tile_.n - 1) / tile_.n);
    void* parameters[] = {&o.x, &o.w, &o.bias, &o.residual, &o.y, &o.rows};
    const Launch launch = {.grid = {static_cast<unsigned>(tiles), 1, 1},
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

  // For many rows first; all sum over K in the same order.
  std::vector<Config> configs(const Problem&) const override {
    std::vector<Config> configs;
    for (const Sm80Tile& tile : kSm80Tiles) configs.push_back({.text = tile.text, .numerics = "mma-k16"});
    return configs;
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config& config, int) const override {
    const Sm80Tile* tile = find_sm80_tile(config.text);
    if (tile == nullptr) return std::nullopt;
    DeviceSource source = {.file = "linear_sm80.cu", .entry = "linear_sm80", .defines = problem_defines(problem)};
    const std::pair<const char*, int> sizes[] = {
        {"TILE_M", tile->m}, {"TILE_N", tile->n}, {"WARPS_M", tile->warps_m}, {"WARPS_N", tile->warps_n}, {"TERMS", 1}};
    for (const auto& [name, value] : sizes) source.defines.push_back(fmt::format("{}={}", name, value));
    return source;
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config& config, const Device& device,
                                         Function function) const override {
    const Sm80Tile* tile = find_sm80_tile(config.text);
    if (tile == nullptr) return error(ErrorCode::kInternal, "{} has no config '{}'", id(), config.text);
    TENON_TRY(tenon::cuda::check(device.api().cuFuncSetAttribute(function, tenon::cuda::kFunctionMaxDynamicShared,
                                                                 static_cast<int>(tile->shared_bytes())),
                                 "asking for shared memory"));
    return std::unique_ptr<Launcher>(
        std::make_unique<LinearSm80Launcher>(device, function, *tile, depth(problem), columns(problem)));
  }
};

}  // namespace

const Kernel& linear_sm80_kernel() {
  static const LinearSm80 kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
