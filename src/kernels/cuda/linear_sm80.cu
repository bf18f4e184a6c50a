// linear on every GPU with tensor cores for 16 bits and tf32 (sm_80): y = activation(x Wᵀ + bias) + residual,
// x [rows, K], W [N, K].
//
// A block computes one tile of y. Chunks of 128 bytes of x's and W's rows go through a ring of stages in shared memory,
// filled by asynchronous copies two chunks ahead; each warp multiplies its part of the tile by mma.sync.
//
// f32 is multiplied in TERMS terms of tf32 (factors.cuh).
//
// Macros: ELEMENT, TERMS, COLUMNS (N), DEPTH (K), TILE_M, TILE_N, WARPS_M, WARPS_N, ACTIVATION, HAS_BIAS, HAS_RESIDUAL.
#include "factors.cuh"
#include "pdl.cuh"
#include "tma.cuh"

using T = ELEMENT;

namespace {

constexpr int kThreads = 32 * WARPS_M * WARPS_N, kStages = 3;
constexpr int kUnit = 16 / sizeof(T);  // elements of a copy
constexpr int kChunk = 8 * kUnit, kChunks = (DEPTH + kChunk - 1) / kChunk;
constexpr uint32_t kXBytes = TILE_M * 128, kStageBytes = kXBytes + TILE_N * 128;
constexpr int kColumnTiles = (COLUMNS + TILE_N - 1) / TILE_N;
constexpr int kWarpM = TILE_M / WARPS_M, kWarpN = TILE_N / WARPS_N;  // a warp's part of the tile
constexpr int kMBlocks = kWarpM / 16, kNBlocks = kWarpN / 8;

// `kRows` rows of a matrix with K columns, from row `first` on, a chunk of them; zeros outside.
template <int kRows>
TENON_DEVICE void copy_tile(uint32_t to, const T* from, int first, int rows, int chunk) {
  constexpr int kUnits = 8;  // of 16 bytes, in 128-byte rows
#pragma unroll
  for (int i = threadIdx.x; i < kRows * kUnits; i += kThreads) {
    const int row = i / kUnits, unit = i % kUnits, k = chunk * kChunk + unit * kUnit;
    const bool valid = first + row < rows && k < DEPTH;
    const T* source = valid ? from + static_cast<int64_t>(first + row) * DEPTH + k : from;
    copy_async(to + swizzle_128b(row, unit * 16), source, valid);
  }
}

using Accumulators = float[kMBlocks][kNBlocks][4];
using TileFactors = Factors<T, TERMS>;

// One chunk of this warp's part.
TENON_DEVICE void multiply_chunk(uint32_t x, uint32_t w, Accumulators& sums) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < 128; k += 32) {  // bytes of the rows
    TileFactors a[kMBlocks];
#pragma unroll
    for (int i = 0; i < kMBlocks; ++i) a[i].load(x + swizzle_128b(i * 16 + lane % 16, k + lane / 16 * 16));
#pragma unroll
    for (int j = 0; j < kNBlocks; j += 2) {
      TileFactors b;  // two blocks of eight columns of y, each in two halves of k
      b.load(w + swizzle_128b(j * 8 + lane / 16 * 8 + lane % 8, k + lane / 8 % 2 * 16));
#pragma unroll
      for (int i = 0; i < kMBlocks; ++i) {
        TileFactors::multiply(sums[i][j], a[i], b, 0);
        TileFactors::multiply(sums[i][j + 1], a[i], b, 2);
      }
    }
  }
}

TENON_DEVICE void finish_pair(T* y, const T* residual, int64_t at, float2 v, float2 bias, bool both) {
  v = {activated<T, ACTIVATION>(v.x + bias.x), activated<T, ACTIVATION>(v.y + bias.y)};
  if (HAS_RESIDUAL) {
    const float2 r = Pair<T>::load(residual + at, both);
    v = {v.x + r.x, v.y + r.y};
  }
  Pair<T>::store(y + at, v, both);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    linear_sm80(const T* x, const T* __restrict__ w, const T* __restrict__ bias, const T* residual, T* y, int rows) {
  extern __shared__ unsigned char memory[];
  const uint32_t stages = (shared_address(memory) + 1023) & ~1023u;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row = blockIdx.x / kColumnTiles * TILE_M, column = blockIdx.x % kColumnTiles * TILE_N;
  const int warp_row = warp / WARPS_N * kWarpM, warp_column = warp % WARPS_N * kWarpN;
  allow_next_kernel();
  wait_for_previous_kernels();
  Accumulators sums = {};
  add_chunks<TileFactors, kStages>(
      kChunks, sums,
      [&](int chunk, int stage) {
        const uint32_t to = stages + stage * kStageBytes;
        copy_tile<TILE_M>(to, x, row, rows, chunk);
        copy_tile<TILE_N>(to + kXBytes, w, column, COLUMNS, chunk);
      },
      [&](int stage, Accumulators& part) {
        const uint32_t from = stages + stage * kStageBytes;
        multiply_chunk(from + warp_row * 128, from + kXBytes + warp_column * 128, part);
      });
#pragma unroll
  for (int j = 0; j < kNBlocks; ++j) {
    const int c = column + warp_column + j * 8 + lane % 4 * 2;
    if (c >= COLUMNS) continue;
    const bool both = c + 1 < COLUMNS;
    const float2 pair = HAS_BIAS ? Pair<T>::load(bias + c, both) : float2{};
#pragma unroll
    for (int i = 0; i < kMBlocks; ++i) {
      const int r = row + warp_row + i * 16 + lane / 4;
      const int64_t at = static_cast<int64_t>(r) * COLUMNS + c;
      if (r < rows) finish_pair(y, residual, at, {sums[i][j][0], sums[i][j][1]}, pair, both);
      if (r + 8 < rows) finish_pair(y, residual, at + 8 * COLUMNS, {sums[i][j][2], sums[i][j][3]}, pair, both);
    }
  }
}
