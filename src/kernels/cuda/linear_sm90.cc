// linear and linear_norm on Hopper; the device sides are linear_sm90.cu (persistent blocks, many rows) and
// linear_few_sm90.cu (K split over a cluster, few rows).
#include <algorithm>
#include <cmath>

#include "kernels/cuda/device/linear_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/linear.h"
#include "ops/linear_norm.h"

namespace tenon::kernels::cuda {
namespace {

constexpr int kSharedMemory = 227 * 1024;  // of a block on sm_90
constexpr int kSharedMemoryOfSm = 228 * 1024;  // of which each block costs 1024 bytes more than it asks for
constexpr int kSharedMemorySlack = 256;    // barriers
constexpr int kSlotBytes = 64 * 64 * 2;    // of a finished block

enum class Schedule { kCooperative, kPingPong, kFewRows };

// One way to cut y into tiles.
struct Sm90Tile {
  Schedule schedule;
  int m, n;
  int cluster;  // blocks: of one tile of W each, or (few rows) of one tile of y

  std::string text() const {
    if (schedule == Schedule::kFewRows) return fmt::format("tile={}x{},split={}", m, n, cluster);
    return fmt::format("tile={}x{},schedule={},cluster={}", m, n,
                       schedule == Schedule::kPingPong ? "pingpong" : "cooperative", cluster);
  }
  // The order in which K is summed: one of all persistent tiles, one for each split.
  std::string numerics() const {
    return schedule == Schedule::kFewRows ? fmt::format("wgmma-split{}", cluster) : "wgmma";
  }
  int stage_bytes() const { return (m + n) * 128; }
  // Blocks of 64 x 64 that lie above each other in a consumer's part of a persistent tile.
  int rows_of_blocks() const { return m / (schedule == Schedule::kPingPong ? 64 : 128); }
  // What is neither a stage nor slack: partial sums, or slots of finished blocks, so many at least that each of both
  // consumers can fill one column of blocks while another is stored.
  int other_bytes() const {
    if (schedule == Schedule::kFewRows) return cluster > 1 ? m * n * 4 : 0;
    return 2 * 2 * rows_of_blocks() * kSlotBytes;
  }
  // The rows' norms. With few rows those of a block's share; else in static shared memory, in whole units of the
  // alignment behind them.
  int norm_bytes() const {
    if (schedule == Schedule::kFewRows) return m / cluster * 8;
    return m * 8 * (schedule == Schedule::kPingPong ? 2 : 1);
  }
  int chunks(int64_t depth) const {
    const int all = static_cast<int>((depth + 63) / 64);
    return schedule == Schedule::kFewRows ? (all + cluster - 1) / cluster : all;
  }
  int stages(int64_t depth) const {
    // With few rows the blocks of two kernels shall fit side by side: the next one's weights are then on their way.
    // Large tiles need the room for stages.
    const bool shares_sm = schedule == Schedule::kFewRows && m * n * std::min(cluster, 2) <= 128 * 128;
    const int limit = shares_sm ? kSharedMemoryOfSm / 2 - 1024 : kSharedMemory;
    return std::min({8, chunks(depth), (limit - norm_bytes() - kSharedMemorySlack - other_bytes()) / stage_bytes()});
  }
  // Of each consumer: as many as there is room for beside the stages, up to a whole tile's.
  int slots(int64_t depth) const {
    const int room = kSharedMemory - norm_bytes() - kSharedMemorySlack - stages(depth) * stage_bytes();
    return std::min(rows_of_blocks() * n / 64, room / (2 * kSlotBytes));
  }
  int shared_bytes(int64_t depth) const {
    if (schedule != Schedule::kFewRows) {
      return stages(depth) * stage_bytes() + 2 * slots(depth) * kSlotBytes + kSharedMemorySlack;
    }
    const int ring = stages(depth) * stage_bytes();
    // Without peers the sums of few rows go where the stages were.
    const bool shares = schedule == Schedule::kFewRows && cluster == 1;
    const int norms = schedule == Schedule::kFewRows ? norm_bytes() : 0;
    return (shares ? std::max(ring, m * n * 4) : ring + other_bytes()) + norms + kSharedMemorySlack;
  }
};

constexpr Sm90Tile kSm90Tiles[] = {
    {Schedule::kCooperative, 128, 128, 1}, {Schedule::kCooperative, 128, 128, 2}, {Schedule::kCooperative, 128, 192, 1},
    {Schedule::kCooperative, 128, 192, 2}, {Schedule::kCooperative, 128, 256, 1}, {Schedule::kCooperative, 128, 256, 2},
    {Schedule::kCooperative, 256, 128, 1}, {Schedule::kCooperative, 256, 128, 2}, {Schedule::kPingPong, 64, 128, 1},
    {Schedule::kPingPong, 64, 192, 1},     {Schedule::kPingPong, 64, 256, 1},     {Schedule::kPingPong, 64, 256, 2},
    {Schedule::kPingPong, 128, 128, 1},    {Schedule::kPingPong, 128, 128, 2},    {Schedule::kPingPong, 128, 192, 1},
    {Schedule::kPingPong, 128, 192, 2},    {Schedule::kFewRows, 64, 32, 1},       {Schedule::kFewRows, 64, 32, 2},
    {Schedule::kFewRows, 64, 32, 4},       {Schedule::kFewRows, 64, 64, 1},       {Schedule::kFewRows, 64, 64, 2},
    {Schedule::kFewRows, 64, 64, 4},       {Schedule::kFewRows, 64, 64, 8},       {Schedule::kFewRows, 128, 64, 1},
    {Schedule::kFewRows, 128, 64, 2},      {Schedule::kFewRows, 128, 64, 4},      {Schedule::kFewRows, 128, 128, 1},
    {Schedule::kFewRows, 64, 128, 1},      {Schedule::kFewRows, 64, 128, 2},      {Schedule::kFewRows, 64, 128, 4},
    {Schedule::kFewRows, 64, 128, 8},      {Schedule::kFewRows, 128, 64, 8},      {Schedule::kFewRows, 128, 32, 4},
    {Schedule::kFewRows, 64, 192, 4},      {Schedule::kFewRows, 128, 128, 4},
};

const Sm90Tile* find_sm90_tile(std::string_view text) {
  for (const Sm90Tile& tile : kSm90Tiles)
    if (tile.text() == text) return &tile;
  return nullptr;
}

// Estimated clocks. The constants are fitted to times of all tiles at the shapes of BERT-base and -large on one H200
// (bench/gpu/linear_bench.cc): the chosen tile is 2 % slower than the fastest in the geometric mean.
double estimate(const Sm90Tile& tile, int64_t rows, int64_t columns, int64_t depth, bool activation, bool moments,
                int multiprocessors) {
  constexpr double kMultiplyAdds = 2048 * 0.68, kFewRowsMultiplyAdds = 2048 * 0.46;  // of an SM in a clock
  constexpr double kFewRowsStart = 4340, kFewRowsIngress = 64, kExchange = 100;      // clocks, bytes in a clock, clocks
  constexpr double kIngress = 64, kClusterIngress = 78, kClusterStart = 720, kTurn = 620;
  const auto up = [](int64_t a, int64_t b) { return static_cast<double>((a + b - 1) / b); };
  const double k = 64 * static_cast<double>(tile.chunks(depth)), m = tile.m, n = tile.n;
  const bool few = tile.schedule == Schedule::kFewRows;
  const double product = m * n * k / (few ? kFewRowsMultiplyAdds : kMultiplyAdds), bytes = (m + n) * 2 * k;
  const double epilogue = m * n / 44 + (activation || (moments && !few) ? m * n / 16 : 0);
  const bool cluster = tile.cluster > 1;
  if (few) {
    const double blocks = up(rows, tile.m) * up(columns, tile.n) * tile.cluster;
    const double usable = tile.cluster > 2 ? multiprocessors / 1.1 : multiprocessors;  // large clusters leave some idle
    const int resident = std::min(4, kSharedMemoryOfSm / (tile.shared_bytes(depth) + 1024));  // on an SM
    const double sharing = std::clamp(blocks / usable, 1.0, static_cast<double>(resident));
    const double exchange = cluster ? kExchange * tile.cluster + m * n * 4 * sharing / kFewRowsIngress : m * n / 40;
    const double load = bytes * sharing / kFewRowsIngress;
    const double waves = std::ceil(blocks / (resident * usable));
    const double clocks =
        kFewRowsStart + waves * (std::max(load, product * sharing) + exchange + epilogue / tile.cluster);
    return rows > 2048 ? 2 * clocks : clocks;  // not measured there: keep them behind
  }
  const double tiles = up(rows, tile.m * tile.cluster) * up(columns, tile.n);
  const double waves = std::ceil(tiles / (multiprocessors / tile.cluster));
  // The slower of tensor cores and loads, and a little more where they are close.
  const double load = bytes / (cluster ? kClusterIngress : kIngress);
  const double together = std::pow(std::pow(product, 4) + std::pow(load, 4), 0.25);
  const double mainloop = cluster ? together * 1.02 : together;  // pairs wait for each other
  const double start = cluster ? kClusterStart : 0;
  if (tile.schedule == Schedule::kPingPong) {
    const double finish = 2 * epilogue + 600;  // by one consumer alone
    return start + waves * std::max(mainloop + kTurn, (mainloop + finish) / 2) + finish;
  }
  return start + waves * (mainloop + epilogue + 600);
}

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
    const bool few = tile_.schedule == Schedule::kFewRows;
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
    TensorMap x{}, w{}, residual{}, y{};
    TENON_TRY(encode(x, o.x, o.rows, depth_, tile_.m));
    TENON_TRY(encode(w, o.w, columns_, depth_, few ? tile_.n : tile_.n / tile_.cluster));
    const auto shared = static_cast<unsigned>(tile_.shared_bytes(depth_));
    const auto cluster = static_cast<unsigned>(tile_.cluster);
    if (few) {
      const int64_t tiles = (o.rows + tile_.m - 1) / tile_.m * ((columns_ + tile_.n - 1) / tile_.n);
      void* parameters[] = {&x, &w, &rest};
      const Launch launch = {.grid = {static_cast<unsigned>(tiles) * cluster, 1, 1},
                             .block = {static_cast<unsigned>(2 * tile_.m + (has_norm_ ? 64 : 32)), 1, 1},
                             .shared_bytes = shared,
                             .cluster = cluster};
      return launch_kernel(device_, function_, args.stream, launch, parameters);
    }
    TENON_TRY(encode(y, o.y, o.rows, columns_, 64));
    residual = y;
    if (o.residual != 0) TENON_TRY(encode(residual, o.residual, o.rows, columns_, 64));
    const int64_t height = tile_.m * tile_.cluster;
    const int64_t tiles = (o.rows + height - 1) / height * ((columns_ + tile_.n - 1) / tile_.n);
    const int64_t slots = device_.multiprocessors() / tile_.cluster;
    void* parameters[] = {&x, &w, &residual, &y, &rest};
    const Launch launch = {.grid = {static_cast<unsigned>(std::min(tiles, slots)) * cluster, 1, 1},
                           .block = {384, 1, 1},
                           .shared_bytes = shared,
                           .cluster = cluster};
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
    for (const Sm90Tile& tile : kSm90Tiles) {
      if (gives_moments(problem) && tile.n % ops::kMomentsPanel != 0) continue;
      const bool fills_registers = tile.schedule == Schedule::kPingPong && tile.m * tile.n == 128 * 192;
      if (fills_registers && gives_moments(problem) && problem.has(kResidualMoments)) continue;  // they would spill
      const double clocks =
          estimate(tile, rows, columns(problem), depth(problem), !problem.attrs.text("activation").empty(),
                   gives_moments(problem), multiprocessors);
      configs.push_back({.text = tile.text(), .numerics = tile.numerics(), .cost = clocks / kClock});
    }
    std::stable_sort(configs.begin(), configs.end(), [](const Config& a, const Config& b) { return a.cost < b.cost; });
    return configs;
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config& config, int) const override {
    const Sm90Tile* tile = find_sm90_tile(config.text);
    if (tile == nullptr) return std::nullopt;
    const bool few = tile->schedule == Schedule::kFewRows;
    DeviceSource source = {.file = few ? "linear_few_sm90.cu" : "linear_sm90.cu",
                           .entry = few ? "linear_few_sm90" : "linear_sm90",
                           .defines = problem_defines(problem)};
    const auto define = [&](const char* name, int value) {
      source.defines.push_back(fmt::format("{}={}", name, value));
    };
    define("TILE_M", tile->m);
    define("TILE_N", tile->n);
    define("STAGES", tile->stages(depth(problem)));
    define(few ? "SPLIT" : "CLUSTER", tile->cluster);
    for (std::string& text : norm_defines(problem)) source.defines.push_back(std::move(text));
    if (!few) {
      define("SLOTS", tile->slots(depth(problem)));
      define("PINGPONG", tile->schedule == Schedule::kPingPong ? 1 : 0);
    }
    return source;
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config& config, const Device& device,
                                         Function function) const override {
    const Sm90Tile* tile = find_sm90_tile(config.text);
    if (tile == nullptr) return error(ErrorCode::kInternal, "{} has no config '{}'", id(), config.text);
    TENON_TRY(tenon::cuda::check(device.api().cuFuncSetAttribute(function, tenon::cuda::kFunctionMaxDynamicShared,
                                                                 tile->shared_bytes(depth(problem))),
                                 "asking for shared memory"));
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
