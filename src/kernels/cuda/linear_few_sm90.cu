// linear for few rows on Hopper: y = activation(x Wᵀ + bias) + residual, x [rows, K], W [N, K], y [rows, N].
//
// Here the time goes into waiting for data, so a tile's K is split over the blocks of a cluster and all SMs load at
// once: a loader thread fills a ring of stages through TMA (W's before the kernels ahead have ended), one or two
// warpgroups multiply by wgmma. Then every block gets the partial sums of its share of the tile's columns from its
// peers, adds them in the order of their ranks and finishes these columns.
//
// Macros: ELEMENT, COLUMNS (N), DEPTH (K), TILE_M, TILE_N, STAGES, SPLIT, ACTIVATION, HAS_BIAS, HAS_RESIDUAL.
#include "activation.cuh"
#include "cluster.cuh"
#include "pdl.cuh"
#include "tma.cuh"
#include "wgmma.cuh"

using T = ELEMENT;

namespace {

constexpr int kConsumerThreads = TILE_M * 2, kThreads = kConsumerThreads + 32;  // 128 for each 64 rows
constexpr int kChunk = 64, kChunks = ((DEPTH + kChunk - 1) / kChunk + SPLIT - 1) / SPLIT;  // of one block
constexpr uint32_t kXBytes = TILE_M * 128, kStageBytes = kXBytes + TILE_N * 128;
static_assert(STAGES > 1 || kChunks == 1, "a stage is released while the next is multiplied");
constexpr int kColumnTiles = (COLUMNS + TILE_N - 1) / TILE_N;
constexpr int kShare = TILE_N / SPLIT, kVectors = kShare / 8;  // columns that a block finishes; four sums are 2 x 2 of y

TENON_DEVICE uint32_t partial_address(uint32_t partials, int rank, int vector, int thread) {
  return partials + ((rank * kVectors + vector) * kConsumerThreads + thread) * sizeof(float4);
}

TENON_DEVICE void load_stages(uint32_t stages, uint32_t full, uint32_t empty, const TensorMap& x, const TensorMap& w,
                              int row, int column, int first_chunk) {
  const auto load_w = [&](int k) {
    const uint32_t stage = k % STAGES;
    barrier_expect(full + 8 * stage, kStageBytes);
    load_box(stages + stage * kStageBytes + kXBytes, w, (first_chunk + k) * kChunk, column, full + 8 * stage);
  };
  constexpr int kEarly = STAGES < kChunks ? STAGES : kChunks;
  for (int k = 0; k < kEarly; ++k) load_w(k);
  wait_for_previous_kernels();
#pragma unroll 1
  for (int k = 0; k < kChunks; ++k) {
    const uint32_t stage = k % STAGES;
    if (k >= kEarly) {
      barrier_wait(empty + 8 * stage, (k / STAGES - 1) & 1);
      load_w(k);
    }
    load_box(stages + stage * kStageBytes, x, (first_chunk + k) * kChunk, row, full + 8 * stage);
  }
}

TENON_DEVICE void multiply_stages(uint32_t stages, uint32_t full, uint32_t empty, float (&sums)[TILE_N / 2]) {
  const uint32_t block = threadIdx.x / 128;
#pragma unroll 1
  for (int k = 0; k < kChunks; ++k) {
    const uint32_t stage = k % STAGES, tiles = stages + stage * kStageBytes;
    const uint32_t x = tiles + block * 64 * 128, w = tiles + kXBytes;
    barrier_wait(full + 8 * stage, k / STAGES & 1);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kChunk / 16; ++i)
      Wgmma<T, TILE_N>::multiply(sums, wgmma_tile(x + i * 32), wgmma_tile(w + i * 32), (k | i) != 0);
    wgmma_commit();
    if (k > 0) {
      wgmma_wait<1>();
      if (threadIdx.x % 128 == 0) barrier_arrive(empty + 8 * ((k - 1) % STAGES));
    }
  }
  wgmma_wait<0>();
  wgmma_result(sums);
}

// Sums of this block's share of columns over all blocks.
TENON_DEVICE void exchange(uint32_t partials, uint32_t rank, const float (&sums)[TILE_N / 2], float4 (&share)[kVectors]) {
  const int thread = threadIdx.x;
#pragma unroll
  for (int r = 0; r < SPLIT; ++r) {
    const uint32_t peer = peer_address(partials, r);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const float* p = sums + (r * kVectors + v) * 4;
      store_peer(partial_address(peer, rank, v, thread), {p[0], p[1], p[2], p[3]});
    }
  }
  cluster_barrier();
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    share[v] = {};
#pragma unroll
    for (int r = 0; r < SPLIT; ++r) {
      const float4 p = load_shared(partial_address(partials, r, v, thread));
      share[v] = {share[v].x + p.x, share[v].y + p.y, share[v].z + p.z, share[v].w + p.w};
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    linear_few_sm90(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, const T* __restrict__ bias,
                    const T* residual, T* y, int rows) {
  extern __shared__ unsigned char memory[];
  const uint32_t stages = (shared_address(memory) + 1023) & ~1023u, partials = stages + STAGES * kStageBytes;
  const uint32_t full = partials + (SPLIT > 1 ? TILE_M * TILE_N * sizeof(float) : 0), empty = full + 8 * STAGES;
  const int thread = threadIdx.x, tile = blockIdx.x / SPLIT, rank = blockIdx.x % SPLIT;
  const int row = tile / kColumnTiles * TILE_M, column = tile % kColumnTiles * TILE_N;
  if (thread == 0) {
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, TILE_M / 64);
    }
    barrier_init_done();
  }
  allow_next_kernel();
  __syncthreads();
  if (SPLIT > 1) cluster_arrive();  // peers may write here once we run
  if (thread >= kConsumerThreads) {
    if (thread == kConsumerThreads) load_stages(stages, full, empty, x, w, row, column, rank * kChunks);
    if (SPLIT > 1) {
      __syncwarp();
      cluster_wait();
      cluster_barrier();
    }
    return;
  }
  // Bias and residual of this block's share come while the product is running.
  const int lane = thread % 32, y_row = row + thread / 32 * 16 + lane / 4;
  const int y_column = column + rank * kShare + lane % 4 * 2;
  uint32_t bias_pairs[kVectors] = {}, residual_pairs[kVectors][2];
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (HAS_BIAS && y_column + v * 8 < COLUMNS)
      bias_pairs[v] = *reinterpret_cast<const uint32_t*>(bias + y_column + v * 8);
  const auto y_index = [&](int v, int half) {
    return static_cast<int64_t>(y_row + half * 8) * COLUMNS + y_column + v * 8;
  };
  const auto inside = [&](int v, int half) { return y_row + half * 8 < rows && y_column + v * 8 < COLUMNS; };
  wait_for_previous_kernels();
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      if (HAS_RESIDUAL)
        residual_pairs[v][half] = inside(v, half) ? *reinterpret_cast<const uint32_t*>(residual + y_index(v, half)) : 0;

  float sums[TILE_N / 2];
  multiply_stages(stages, full, empty, sums);
  float4 share[kVectors];
  if (SPLIT > 1) {
    cluster_wait();
    exchange(partials, rank, sums, share);
  } else {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) share[v] = {sums[4 * v], sums[4 * v + 1], sums[4 * v + 2], sums[4 * v + 3]};
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const float2 b = HAS_BIAS ? unpack<T>(bias_pairs[v]) : float2{};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float low = activate<ACTIVATION>((half == 0 ? share[v].x : share[v].z) + b.x);
      float high = activate<ACTIVATION>((half == 0 ? share[v].y : share[v].w) + b.y);
      if (HAS_RESIDUAL) {
        const float2 r = unpack<T>(residual_pairs[v][half]);
        low += r.x;
        high += r.y;
      }
      if (inside(v, half)) *reinterpret_cast<uint32_t*>(y + y_index(v, half)) = pack<T>(low, high);
    }
  }
}
