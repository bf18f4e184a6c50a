#include "kernels/cuda/sm90_tile.h"

#include <cmath>

namespace tenon::kernels::cuda {
namespace {

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
    {Schedule::kFewRows, 64, 192, 4},      {Schedule::kFewRows, 128, 128, 2},     {Schedule::kFewRows, 128, 128, 4},
};

// What the narrow layers of convolutional networks need beside: products that memory binds.
constexpr Sm90Tile kNarrowTiles[] = {
    {Schedule::kCooperative, 128, 64, 1}, {Schedule::kCooperative, 128, 64, 2}, {Schedule::kCooperative, 256, 64, 1},
    {Schedule::kCooperative, 256, 64, 2}, {Schedule::kPingPong, 64, 64, 1},     {Schedule::kPingPong, 128, 64, 1},
    {Schedule::kPingPong, 128, 64, 2},    {Schedule::kPingPong, 64, 128, 2},
};

}  // namespace

std::span<const Sm90Tile> linear_tiles() { return kSm90Tiles; }

std::span<const Sm90Tile> conv_tiles() {
  static const std::vector<Sm90Tile> tiles = [] {
    std::vector<Sm90Tile> all(std::begin(kNarrowTiles), std::end(kNarrowTiles));
    all.insert(all.end(), std::begin(kSm90Tiles), std::end(kSm90Tiles));
    return all;
  }();
  return tiles;
}

const Sm90Tile* find_tile(std::span<const Sm90Tile> tiles, std::string_view text) {
  for (const Sm90Tile& tile : tiles)
    if (tile.text() == text) return &tile;
  return nullptr;
}

// Estimated clocks. The constants are fitted to times of all tiles at the shapes of BERT-base and -large on one H200
// (bench/gpu/linear_bench.cc): the chosen tile is 2 % slower than the fastest in the geometric mean, 4 % up to 1536
// rows.
double estimated_clocks(const Sm90Tile& tile, int64_t rows, int64_t columns, int64_t depth, Epilogue then,
                        int multiprocessors) {
  constexpr double kMultiplyAdds = 2048 * 0.68;  // of an SM in a clock
  constexpr double kFewRowsMultiplyAdds = 2048 * 0.46,
                   kFewRowsOfLarge = 2048 * 0.64;                                // large tiles: 128 x 128 and more
  constexpr double kFewRowsStart = 4340, kFewRowsIngress = 64, kExchange = 100;  // clocks, bytes in a clock, clocks
  constexpr double kIngress = 64, kClusterIngress = 78, kClusterStart = 720, kTurn = 620;
  const auto up = [](int64_t a, int64_t b) { return static_cast<double>((a + b - 1) / b); };
  const double k = 64 * static_cast<double>(tile.chunks(depth)), m = tile.m, n = tile.n;
  const bool few = tile.schedule == Schedule::kFewRows;
  const double few_rate = m * n < 128 * 128 ? kFewRowsMultiplyAdds : kFewRowsOfLarge;
  const double product = m * n * k / (few ? few_rate : kMultiplyAdds), bytes = (m + n) * 2 * k;
  const double epilogue = m * n / 44 + (then.activation || (then.moments && !few) ? m * n / 16 : 0);
  const bool cluster = tile.cluster > 1;
  if (few) {
    const double blocks = up(rows, tile.m) * up(columns, tile.n) * tile.cluster;
    const double usable = tile.cluster > 2 ? multiprocessors / 1.1 : multiprocessors;  // large clusters leave some idle
    const int resident = std::min(4, kSharedMemoryOfSm / (tile.shared_bytes(depth) + 1024));  // on an SM
    const double sharing =
        std::clamp(std::ceil(blocks / usable), 1.0, static_cast<double>(resident));  // of the fullest SM
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

void sort_by_cost(std::vector<Config>& configs) {
  std::stable_sort(configs.begin(), configs.end(), [](const Config& a, const Config& b) { return a.cost < b.cost; });
}

DeviceSource tile_code(const Sm90Tile& tile, int64_t depth, std::vector<std::string> defines) {
  const bool few = tile.schedule == Schedule::kFewRows;
  DeviceSource source = {.file = few ? "linear_few_sm90.cu" : "linear_sm90.cu",
                         .entry = few ? "linear_few_sm90" : "linear_sm90",
                         .defines = std::move(defines)};
  const auto define = [&](const char* name, int value) { source.defines.push_back(fmt::format("{}={}", name, value)); };
  define("TILE_M", tile.m);
  define("TILE_N", tile.n);
  define("STAGES", tile.stages(depth));
  define(few ? "SPLIT" : "CLUSTER", tile.cluster);
  if (!few) {
    define("SLOTS", tile.slots(depth));
    define("PINGPONG", tile.schedule == Schedule::kPingPong ? 1 : 0);
  }
  return source;
}

Status launch_product(const Device& device, Function function, const Sm90Tile& tile, Product& p, void* stream) {
  const bool few = tile.schedule == Schedule::kFewRows;
  // A matrix read or written in boxes of 64 columns.
  const auto encode = [&](tenon::cuda::TensorMap& map, DevicePtr data, int64_t rows, int64_t columns, int box_rows) {
    return tenon::cuda::encode_matrix(device.api(), map, p.type, data, rows, columns, columns * 2, box_rows, 64,
                                      tenon::cuda::Swizzle::k128B);
  };
  tenon::cuda::TensorMap w{}, residual{}, y{};
  TENON_TRY(encode(w, p.w, p.columns, p.depth, few ? tile.n : tile.n / tile.cluster));
  const auto shared = static_cast<unsigned>(tile.shared_bytes(p.depth));
  const auto cluster = static_cast<unsigned>(tile.cluster);
  if (few) {
    const int64_t tiles = (p.rows + tile.m - 1) / tile.m * ((p.columns + tile.n - 1) / tile.n);
    void* parameters[] = {&p.x, &w, p.args};
    const Launch launch = {.grid = {static_cast<unsigned>(tiles) * cluster, 1, 1},
                           .block = {static_cast<unsigned>(2 * tile.m + (p.has_norm ? 64 : 32)), 1, 1},
                           .shared_bytes = shared,
                           .cluster = cluster};
    return launch_kernel(device, function, stream, launch, parameters);
  }
  TENON_TRY(encode(y, p.y, p.rows, p.columns, 64));
  residual = y;
  if (p.residual != 0) TENON_TRY(encode(residual, p.residual, p.rows, p.columns, 64));
  const int64_t height = tile.m * tile.cluster;
  const int64_t tiles = (p.rows + height - 1) / height * ((p.columns + tile.n - 1) / tile.n);
  const int64_t slots = device.multiprocessors() / tile.cluster;
  void* parameters[] = {&p.x, &w, &residual, &y, p.args};
  const Launch launch = {.grid = {static_cast<unsigned>(std::min(tiles, slots)) * cluster, 1, 1},
                         .block = {384, 1, 1},
                         .shared_bytes = shared,
                         .cluster = cluster};
  return launch_kernel(device, function, stream, launch, parameters);
}

}  // namespace tenon::kernels::cuda
