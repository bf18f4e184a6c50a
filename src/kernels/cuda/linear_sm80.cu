// linear on every GPU with 16-bit tensor cores (sm_80): y = activation(x Wᵀ + bias) + residual, x [rows, K], W [N, K].
//
// A block computes one tile of y. Chunks of 64 columns of x's and W's tile go through a ring of stages in shared
// memory, filled by asynchronous copies two chunks ahead; each warp multiplies its part of the tile by mma.sync.
//
// Macros: ELEMENT, COLUMNS (N), DEPTH (K), TILE_M, TILE_N, WARPS_M, WARPS_N, ACTIVATION, HAS_BIAS, HAS_RESIDUAL.
#include "activation.cuh"
#include "matrix.cuh"
#include "pdl.cuh"
#include "tma.cuh"

using T = ELEMENT;

namespace {

constexpr int kThreads = 32 * WARPS_M * WARPS_N, kStages = 3;
constexpr int kChunk = 64, kChunks = (DEPTH + kChunk - 1) / kChunk;
constexpr uint32_t kXBytes = TILE_M * 128, kStageBytes = kXBytes + TILE_N * 128;
constexpr int kColumnTiles = (COLUMNS + TILE_N - 1) / TILE_N;
constexpr int kWarpM = TILE_M / WARPS_M, kWarpN = TILE_N / WARPS_N;  // a warp's part of the tile
constexpr int kMBlocks = kWarpM / 16, kNBlocks = kWarpN / 8;

// `kRows` rows of a matrix with K columns, from row `first` on, 64 columns; zeros outside.
template <int kRows>
TENON_DEVICE void copy_tile(uint32_t to, const T* from, int first, int rows, int chunk) {
  constexpr int kUnits = 8;  // of 16 bytes, in 128-byte rows
#pragma unroll
  for (int i = threadIdx.x; i < kRows * kUnits; i += kThreads) {
    const int row = i / kUnits, unit = i % kUnits, k = chunk * kChunk + unit * 8;
    const bool valid = first + row < rows && k < DEPTH;
    const T* source = valid ? from + static_cast<int64_t>(first + row) * DEPTH + k : from;
    copy_async(to + swizzle_128b(row, unit * 16), source, valid);
  }
}

using Accumulators = float[kMBlocks][kNBlocks][4];

// One chunk of this warp's part.
TENON_DEVICE void multiply_chunk(uint32_t x, uint32_t w, Accumulators& sums) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < kChunk; k += 16) {
    uint32_t a[kMBlocks][4];
#pragma unroll
    for (int i = 0; i < kMBlocks; ++i) load_matrices(a[i], x + swizzle_128b(i * 16 + lane % 16, k * 2 + lane / 16 * 16));
#pragma unroll
    for (int j = 0; j < kNBlocks; j += 2) {
      uint32_t b[4];  // two blocks of eight columns of y, each in two halves of k
      load_matrices(b, w + swizzle_128b(j * 8 + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2 * 16));
#pragma unroll
      for (int i = 0; i < kMBlocks; ++i) {
        multiply_16x8x16<T>(sums[i][j], a[i], b[0], b[1]);
        multiply_16x8x16<T>(sums[i][j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

// Two neighbours of y.
TENON_DEVICE void finish_pair(T* y, const T* residual, int64_t at, float2 v, float2 bias) {
  v = {activate<ACTIVATION>(v.x + bias.x), activate<ACTIVATION>(v.y + bias.y)};
  if (HAS_RESIDUAL) {
    const float2 r = unpack<T>(*reinterpret_cast<const uint32_t*>(residual + at));
    v = {v.x + r.x, v.y + r.y};
  }
  *reinterpret_cast<uint32_t*>(y + at) = pack<T>(v.x, v.y);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    linear_sm80(const T* x, const T* __restrict__ w, const T* __restrict__ bias, const T* residual, T* y, int rows) {
  extern __shared__ unsigned char memory[];
  const uint32_t stages = (shared_address(memory) + 1023) & ~1023u;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row = blockIdx.x / kColumnTiles * TILE_M, column = blockIdx.x % kColumnTiles * TILE_N;
  const int warp_row = warp / WARPS_N * kWarpM, warp_column = warp % WARPS_N * kWarpN;
  const auto fetch = [&](int chunk) {
    const uint32_t stage = stages + chunk % kStages * kStageBytes;
    if (chunk < kChunks) {
      copy_tile<TILE_M>(stage, x, row, rows, chunk);
      copy_tile<TILE_N>(stage + kXBytes, w, column, COLUMNS, chunk);
    }
    copy_async_commit();  // also when empty: the waits count groups
  };
  allow_next_kernel();
  wait_for_previous_kernels();
  for (int i = 0; i < kStages - 1; ++i) fetch(i);
  Accumulators sums = {};
#pragma unroll 1
  for (int k = 0; k < kChunks; ++k) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // chunk k is there for all; all are done with chunk k - 1, whose stage is filled next
    fetch(k + kStages - 1);
    const uint32_t stage = stages + k % kStages * kStageBytes;
    multiply_chunk(stage + warp_row * 128, stage + kXBytes + warp_column * 128, sums);
  }
#pragma unroll
  for (int j = 0; j < kNBlocks; ++j) {
    const int c = column + warp_column + j * 8 + lane % 4 * 2;
    if (c >= COLUMNS) continue;
    const float2 pair = HAS_BIAS ? unpack<T>(*reinterpret_cast<const uint32_t*>(bias + c)) : float2{};
#pragma unroll
    for (int i = 0; i < kMBlocks; ++i) {
      const int r = row + warp_row + i * 16 + lane / 4;
      const int64_t at = static_cast<int64_t>(r) * COLUMNS + c;
      if (r < rows) finish_pair(y, residual, at, {sums[i][j][0], sums[i][j][1]}, pair);
      if (r + 8 < rows) finish_pair(y, residual, at + 8 * COLUMNS, {sums[i][j][2], sums[i][j][3]}, pair);
    }
  }
}
