// linear of f32 on Hopper, in one term of tf32 where the plan allows that, else in two; the device side is
// linear_f32_sm90.cu.
#include <algorithm>

#include "kernels/cuda/kernels.h"
#include "kernels/cuda/linear.h"

namespace tenon::kernels::cuda {
namespace {

constexpr int kF32Chunk = 32;  // columns of x and W in a stage

// A block's tile of y.
struct F32Tile {
  int m, n;

  std::string text() const { return fmt::format("tile={}x{}", m, n); }
  int stage_bytes(int terms) const { return (m + terms * n) * kF32Chunk * 4; }
  // Those of which two fit an SM's registers share its memory too: one multiplies while the other waits or stores.
  int blocks(int terms) const { return m == 64 || (terms == 1 && n <= 64) ? 2 : 1; }
  int threads(int terms) const { return 2 * m + (blocks(terms) == 1 ? 128 : 32); }
  int stages(int terms) const {
    constexpr int kMemory = 226 * 1024;  // 2 KB are for barriers and what each block costs
    return std::min(8, kMemory / blocks(terms) / stage_bytes(terms));
  }
  int shared_bytes(int terms) const { return stages(terms) * (stage_bytes(terms) + 24); }
  int64_t count(int64_t rows, int64_t columns) const { return (rows + m - 1) / m * ((columns + n - 1) / n); }
  // Estimated clocks: tensor cores, or loads at 40 bytes a clock; what a chunk waits for, beside another block's if
  // there is one. Fitted to times of all tiles at BERT-base's shapes on one H200 (`tenon tune --candidates 0`):
  // the chosen tile is 1 % slower than the fastest in the geometric mean.
  int64_t clocks(int64_t rows, int64_t columns, int64_t depth, int terms, int multiprocessors) const {
    constexpr int kMultiplyAdds = 1024, kIngress = 40, kEpilogue = 12;  // of an SM in a clock
    const int products = terms == 1 ? 1 : 3, wait = terms == 1 ? 700 : 1000;  // clocks
    const int multiply = m * n * kF32Chunk * products / kMultiplyAdds, load = (m + n) * kF32Chunk * 4 / kIngress;
    const int64_t chunks = (depth + kF32Chunk - 1) / kF32Chunk;
    const int64_t tiles = (count(rows, columns) + multiprocessors - 1) / multiprocessors;  // of an SM
    const int64_t side_by_side = std::min<int64_t>(tiles, blocks(terms));
    const int64_t of_chunk = std::max<int64_t>(multiply + wait / side_by_side, load);
    return tiles * (of_chunk * chunks + m * n / kEpilogue / side_by_side);
  }
};
constexpr F32Tile kF32Tiles[] = {{128, 256}, {128, 192}, {128, 128}, {128, 96}, {128, 64}, {64, 64}, {64, 32}};

// Sums of chunks take as many registers as those of the tile.
bool has_registers(const F32Tile& tile, int terms) { return terms == 1 || tile.n <= 128; }

const F32Tile* find_f32_tile(std::string_view text) {
  for (const F32Tile& tile : kF32Tiles)
    if (tile.text() == text) return &tile;
  return nullptr;
}

class LinearF32Sm90Launcher final : public Launcher {
 public:
  LinearF32Sm90Launcher(const Device& device, Function function, const F32Tile& tile, int terms, int64_t depth,
                        int64_t columns)
      : device_(device), function_(function), tile_(tile), terms_(terms), depth_(depth), columns_(columns) {}

  Status launch(const RunArgs& args) const override {
    TENON_ASSIGN(LinearOperands o, linear_operands(args, depth_));
    if (o.rows == 0) return {};
    tenon::cuda::TensorMap x{}, w{};
    TENON_TRY(describe(x, o.x, o.rows, tile_.m));
    TENON_TRY(describe(w, o.w, columns_, tile_.n));
    void* parameters[] = {&x, &w, &o.bias, &o.residual, &o.y, &o.rows};
    const int64_t blocks =
        std::min<int64_t>(tile_.count(o.rows, columns_), device_.multiprocessors() * tile_.blocks(terms_));
    const Launch launch = {.grid = {static_cast<unsigned>(blocks), 1, 1},
                           .block = {static_cast<unsigned>(tile_.threads(terms_)), 1, 1},
                           .shared_bytes = static_cast<unsigned>(tile_.shared_bytes(terms_))};
    return launch_kernel(device_, function_, args.stream, launch, parameters);
  }

 private:
  Status describe(tenon::cuda::TensorMap& map, DevicePtr data, int64_t rows, int box_rows) const {
    return tenon::cuda::encode_matrix(device_.api(), map, tenon::cuda::TensorMapType::kF32, data, rows, depth_,
                                      depth_ * 4, box_rows, kF32Chunk, tenon::cuda::Swizzle::k128B);
  }

  const Device& device_;
  Function function_;
  F32Tile tile_;
  int terms_;
  int64_t depth_, columns_;
};

class LinearF32Sm90 final : public LinearKernel {
 public:
  std::string_view id() const override { return "cuda.linear.f32.sm90"; }
  bool runs_on(int capability) const override { return capability == 90; }
  std::string arch(const Config&, int) const override { return "sm_90a"; }

  Support supports(const Problem& problem) const override {
    const Support plain = linear_f32_kernel().supports(problem);
    if (!plain) return plain;
    if (columns(problem) % 2 != 0) return Support::no("the number of columns is odd");
    return Support::yes();
  }

  std::vector<Config> configs(const Problem& problem) const override {
    std::vector<Config> configs;
    for (const F32Tile& tile : kF32Tiles) {
      if (!has_registers(tile, terms(problem))) continue;
      configs.push_back({.text = tile.text(), .numerics = terms(problem) == 1 ? "wgmma-tf32" : "wgmma-tf32x3"});
    }
    return configs;
  }
  Config config_for(const Problem& problem, int64_t rows, int multiprocessors) const override {
    return std::ranges::min(configs(problem), {}, [&](const Config& config) {
      return find_f32_tile(config.text)
          ->clocks(rows, columns(problem), depth(problem), terms(problem), multiprocessors);
    });
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config& config, int) const override {
    const F32Tile* tile = find_f32_tile(config.text);
    if (tile == nullptr) return std::nullopt;
    DeviceSource source = {
        .file = "linear_f32_sm90.cu", .entry = "linear_f32_sm90", .defines = problem_defines(problem)};
    const int terms = this->terms(problem);
    const std::pair<const char*, int> defines[] = {{"TERMS", terms},
                                                   {"TILE_M", tile->m},
                                                   {"TILE_N", tile->n},
                                                   {"STAGES", tile->stages(terms)},
                                                   {"BLOCKS", tile->blocks(terms)}};
    for (const auto& [name, value] : defines) source.defines.push_back(fmt::format("{}={}", name, value));
    return source;
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config& config, const Device& device,
                                         Function function) const override {
    if (is_cublaslt(config)) return load_cublaslt(problem, config, device);
    const F32Tile* tile = find_f32_tile(config.text);
    if (tile == nullptr) return error(ErrorCode::kInternal, "{} has no config '{}'", id(), config.text);
    TENON_TRY(allow_shared_memory(device, function, tile->shared_bytes(terms(problem))));
    return std::unique_ptr<Launcher>(std::make_unique<LinearF32Sm90Launcher>(device, function, *tile, terms(problem),
                                                                             depth(problem), columns(problem)));
  }

 private:
  static int terms(const Problem& problem) { return of_tf32(problem) ? 1 : 2; }
};

}  // namespace

const Kernel& linear_f32_sm90_kernel() {
  static const LinearF32Sm90 kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
