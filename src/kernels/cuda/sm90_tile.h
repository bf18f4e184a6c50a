// How the products of sm_90 (linear_sm90.cu, linear_few_sm90.cu) cut y [rows, columns] into tiles: for linear and for
// conv.
#pragma once

#include <algorithm>

#include "kernels/cuda/cuda_kernel.h"

namespace tenon::kernels::cuda {

inline constexpr int kSharedMemory = 227 * 1024;      // of a block on sm_90
inline constexpr int kSharedMemoryOfSm = 228 * 1024;  // of which each block costs 1024 bytes more than it asks for
inline constexpr int kSharedMemorySlack = 512;        // barriers: 272 bytes at most
inline constexpr int kSlotBytes = 64 * 64 * 2;        // of a finished block

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
    const int room = limit - norm_bytes() - kSharedMemorySlack;
    const int most = std::min(8, (room - other_bytes()) / stage_bytes()), own = std::min(chunks(depth), most);
    if (schedule == Schedule::kFewRows || chunks(depth) > 4) return own;
    // Tiles of few chunks wait for memory: those of the next tiles come ahead, beside slots for a whole one.
    return std::clamp((room - 2 * whole_slots() * kSlotBytes) / stage_bytes(), own, most);
  }
  int whole_slots() const { return rows_of_blocks() * n / 64; }
  // Of each consumer: as many as there is room for beside the stages, up to a whole tile's.
  int slots(int64_t depth) const {
    const int room = kSharedMemory - norm_bytes() - kSharedMemorySlack - stages(depth) * stage_bytes();
    return std::min(whole_slots(), room / (2 * kSlotBytes));
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

std::span<const Sm90Tile> linear_tiles();
std::span<const Sm90Tile> conv_tiles();  // those and narrower ones
// The tile that a config's text means; null: none does.
const Sm90Tile* find_tile(std::span<const Sm90Tile> tiles, std::string_view text);

// Clocks that a product takes by estimate. `epilogue`: what its results still go through.
struct Epilogue {
  bool activation = false, moments = false;
};
double estimated_clocks(const Sm90Tile& tile, int64_t rows, int64_t columns, int64_t depth, Epilogue epilogue,
                        int multiprocessors);
// Best first.
void sort_by_cost(std::vector<Config>& configs);

// The code of a product in tiles: `defines` and those that the tile decides.
DeviceSource tile_code(const Sm90Tile& tile, int64_t depth, std::vector<std::string> defines);

// One launch: x is described already, in boxes of tile.m rows (or pixels) and 64 columns.
struct Product {
  tenon::cuda::TensorMapType type;
  tenon::cuda::TensorMap x;
  DevicePtr w, residual, y;  // [columns, depth]; residual 0: none
  int64_t rows, columns, depth;
  bool has_norm;
  void* args;  // LinearArgs or ConvArgs
};
Status launch_product(const Device& device, Function function, const Sm90Tile& tile, Product& product, void* stream);

}  // namespace tenon::kernels::cuda
