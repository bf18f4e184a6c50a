// linear for many rows on Hopper: y = activation(x Wᵀ + bias) + residual, x [rows, K], W [N, K], y [rows, N].
//
// Persistent blocks of three warpgroups walk over tiles of y. One thread of the first group, the loader, fills a ring
// of stages (64 columns of x's and W's tile each) through TMA; the two other groups, the consumers, multiply by wgmma.
// They share a tile, half of its rows each, or take turns (PINGPONG), so that one multiplies while the other applies
// its epilogue. Each consumer has a staging buffer, kept by one more thread of the first group: it brings the
// residual's tile there while the product is still running, and stores the finished tile from there. Blocks of a
// cluster take tiles that lie above each other: the same tile of W, each loads a part of it for all.
//
// Macros: ELEMENT, COLUMNS (N), DEPTH (K), TILE_M, TILE_N, STAGES, CLUSTER, PINGPONG, ACTIVATION, HAS_BIAS,
// HAS_RESIDUAL.
#include "activation.cuh"
#include "cluster.cuh"
#include "matrix.cuh"
#include "pdl.cuh"
#include "tma.cuh"
#include "wgmma.cuh"

using T = ELEMENT;

namespace {

constexpr int kConsumers = 2, kThreads = 128 * (1 + kConsumers);
constexpr int kChunk = 64, kChunks = (DEPTH + kChunk - 1) / kChunk;
constexpr int kBlocks = TILE_M / 64 / (PINGPONG ? 1 : kConsumers);  // of 64 rows: one consumer's part of a tile
constexpr int kPanels = TILE_N / 64;                                // of 64 columns
constexpr uint32_t kXBytes = TILE_M * 128, kWBytes = TILE_N * 128, kStageBytes = kXBytes + kWBytes;
static_assert(STAGES > 1 || kChunks == 1, "a stage is released while the next is multiplied");
constexpr uint32_t kPanelBytes = 64 * 128, kStagingBytes = kBlocks * kPanels * kPanelBytes;
constexpr int kRowTilesOfGroup = 16;  // tiles of y that are near in time are near in x and W, so that L2 holds both

// Shared memory, all by address; the launcher asks for as much (linear_sm90.cc).
struct Layout {
  uint32_t stages, staging, full, empty, ready, done, turn;
};
TENON_DEVICE Layout make_layout(const void* memory) {
  Layout s;
  s.stages = (shared_address(memory) + 1023) & ~1023u;
  s.staging = s.stages + STAGES * kStageBytes;
  s.full = s.staging + kConsumers * kStagingBytes;  // [STAGES] a stage has its bytes
  s.empty = s.full + 8 * STAGES;                    // [STAGES] it has been multiplied
  s.ready = s.empty + 8 * STAGES;                   // [kConsumers] the staging buffer is free, the residual is in it
  s.done = s.ready + 8 * kConsumers;                // [kConsumers] it holds results
  s.turn = s.done + 8 * kConsumers;                 // [kConsumers] the other consumer has seen all stages of its tile
  return s;
}

// Where the ring stands.
struct Ring {
  uint32_t stage = 0, parity = 0;
  TENON_DEVICE void advance() {
    if (++stage == STAGES) {
      stage = 0;
      parity ^= 1;
    }
  }
  TENON_DEVICE void skip_tile() {
    stage += kChunks % STAGES;
    parity ^= (kChunks / STAGES) & 1;
    if (stage >= STAGES) {
      stage -= STAGES;
      parity ^= 1;
    }
  }
};

// The tiles of this block: `row` and `column` of y where the current one begins.
struct Tiles {
  int rows, row_tiles, count, index, row, column;

  TENON_DEVICE explicit Tiles(int all_rows) : rows(all_rows) {
    row_tiles = (rows + TILE_M * CLUSTER - 1) / (TILE_M * CLUSTER);
    count = row_tiles * kColumnTiles;
    index = blockIdx.x / CLUSTER;
    locate();
  }
  TENON_DEVICE bool valid() const { return index < count; }
  TENON_DEVICE void next() {
    index += gridDim.x / CLUSTER;
    locate();
  }

 private:
  static constexpr int kColumnTiles = (COLUMNS + TILE_N - 1) / TILE_N, kTilesOfGroup = kRowTilesOfGroup * kColumnTiles;
  TENON_DEVICE void locate() {
    const int group = index / kTilesOfGroup, first = group * kRowTilesOfGroup, rest = index - group * kTilesOfGroup;
    const int height = min(row_tiles - first, kRowTilesOfGroup);
    const int down = height > 0 ? rest % height : 0;
    row = (first + down) * TILE_M * CLUSTER + (CLUSTER > 1 ? static_cast<int>(cluster_rank()) * TILE_M : 0);
    column = (height > 0 ? rest / height : 0) * TILE_N;
  }
};

TENON_DEVICE void load_w(const Layout& s, const TensorMap& w, uint32_t stage, int chunk, int column) {
  const uint32_t to = s.stages + stage * kStageBytes + kXBytes, full = s.full + 8 * stage;
  barrier_expect(full, kStageBytes);
  if (CLUSTER == 1) {
    load_box(to, w, chunk * kChunk, column, full);
  } else {
    constexpr int kPart = TILE_N / CLUSTER;
    const int part = static_cast<int>(cluster_rank()) * kPart;
    load_box_multicast(to + part * 128, w, chunk * kChunk, column + part, full, (1 << CLUSTER) - 1);
  }
}

// One thread.
TENON_DEVICE void load_tiles(const Layout& s, const TensorMap& x, const TensorMap& w, int rows) {
  Tiles tile(rows);
  // Weights do not wait for the kernels ahead.
  constexpr int kEarly = STAGES < kChunks ? STAGES : kChunks;
  if (tile.valid()) {
    for (int k = 0; k < kEarly; ++k) load_w(s, w, k, k, tile.column);
  }
  wait_for_previous_kernels();
  Ring ring;
  for (bool first = true; tile.valid(); tile.next(), first = false) {
#pragma unroll 1
    for (int k = 0; k < kChunks; ++k) {
      if (!first || k >= kEarly) {
        barrier_wait(s.empty + 8 * ring.stage, ring.parity ^ 1);
        load_w(s, w, ring.stage, k, tile.column);
      }
      load_box(s.stages + ring.stage * kStageBytes, x, k * kChunk, tile.row, s.full + 8 * ring.stage);
      ring.advance();
    }
  }
}

// One thread for each consumer: the residual into its staging buffer, the results out of it.
TENON_DEVICE void keep_staging(const Layout& s, const TensorMap& residual, const TensorMap& y, int rows, int consumer) {
  const uint32_t staging = s.staging + consumer * kStagingBytes;
  const uint32_t ready = s.ready + 8 * consumer, done = s.done + 8 * consumer;
  const int first_row = PINGPONG ? 0 : consumer * kBlocks * 64;
  wait_for_previous_kernels();
  Tiles tile(rows);
  if (PINGPONG && consumer == 1) tile.next();
  for (uint32_t parity = 0; tile.valid(); parity ^= 1) {
    if (HAS_RESIDUAL) {
      barrier_expect(ready, kStagingBytes);
      for (int p = 0; p < kPanels; ++p)
        for (int b = 0; b < kBlocks; ++b)
          load_box(staging + (p * kBlocks + b) * kPanelBytes, residual, tile.column + p * 64,
                   tile.row + first_row + b * 64, ready);
    } else {
      barrier_arrive(ready);
    }
    barrier_wait(done, parity);
    for (int p = 0; p < kPanels; ++p)
      for (int b = 0; b < kBlocks; ++b)
        store_box(y, staging + (p * kBlocks + b) * kPanelBytes, tile.column + p * 64, tile.row + first_row + b * 64);
    commit_stores();
    wait_stores_read();
    tile.next();
    if (PINGPONG) tile.next();
  }
  wait_stores();
}

using Accumulators = float[kBlocks][TILE_N / 2];

// PINGPONG: a consumer waits for stages only after the other has had those of the tile before: a barrier's parity tells
// apart neighbouring rounds of the ring only.
TENON_DEVICE void multiply_tile(const Layout& s, Ring& ring, Accumulators& sums, int consumer) {
  const int lane = threadIdx.x % 128;
  const auto release = [&](uint32_t stage) {
    if (CLUSTER == 1) {
      if (lane == 0) barrier_arrive(s.empty + 8 * stage);
    } else {
      if (lane < CLUSTER) barrier_arrive_at(s.empty + 8 * stage, lane);
    }
  };
  uint32_t previous = 0;
#pragma unroll 1
  for (int k = 0; k < kChunks; ++k) {
    barrier_wait(s.full + 8 * ring.stage, ring.parity);
    const uint32_t x = s.stages + ring.stage * kStageBytes + (PINGPONG ? 0 : consumer * kBlocks * kPanelBytes);
    const uint32_t w = s.stages + ring.stage * kStageBytes + kXBytes;
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kChunk / 16; ++i)
#pragma unroll
      for (int b = 0; b < kBlocks; ++b)
        Wgmma<T, TILE_N>::multiply(sums[b], wgmma_tile(x + b * kPanelBytes + i * 32), wgmma_tile(w + i * 32),
                                   (k | i) != 0);
    wgmma_commit();
    if (k > 0) {
      wgmma_wait<1>();
      release(previous);
    }
    previous = ring.stage;
    ring.advance();
  }
  if (PINGPONG && lane == 0) barrier_arrive(s.turn + 8 * (1 - consumer));
  wgmma_wait<0>();
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) wgmma_result(sums[b]);
  release(previous);
}

// Bias, activation, residual; rounded into the staging buffer.
TENON_DEVICE void finish_tile(uint32_t staging, const T* bias, const Accumulators& sums, int column) {
  const uint32_t warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, row = warp * 16 + lane % 16;
  const auto* bias_pairs = reinterpret_cast<const uint32_t*>(bias);
#pragma unroll
  for (int j = 0; j < TILE_N / 16; ++j) {
    float2 bias_of[2] = {};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int c = column + j * 16 + h * 8 + static_cast<int>(lane % 4) * 2;
      if (HAS_BIAS && (COLUMNS % TILE_N == 0 || c < COLUMNS)) bias_of[h] = unpack<T>(__ldg(bias_pairs + c / 2));
    }
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const uint32_t panel = staging + (j / 4 * kBlocks + b) * kPanelBytes;
      const uint32_t address = panel + swizzle_128b(row, j % 4 * 32 + lane / 16 * 16);
      uint32_t residual[4], result[4];
      if (HAS_RESIDUAL) load_matrices(residual, address);
#pragma unroll
      for (int q = 0; q < 4; ++q) {  // rows 0-7 and 8-15 of the left eight columns, then of the right eight
        float low = activate<ACTIVATION>(sums[b][j * 8 + q * 2] + bias_of[q / 2].x);
        float high = activate<ACTIVATION>(sums[b][j * 8 + q * 2 + 1] + bias_of[q / 2].y);
        if (HAS_RESIDUAL) {
          const float2 r = unpack<T>(residual[q]);
          low += r.x;
          high += r.y;
        }
        result[q] = pack<T>(low, high);
      }
      store_matrices(address, result);
    }
  }
}

TENON_DEVICE void consume_tiles(const Layout& s, const T* bias, int rows, int consumer) {
  const uint32_t staging = s.staging + consumer * kStagingBytes;
  Ring ring;
  Tiles tile(rows);
  if (PINGPONG && consumer == 1) {
    tile.next();
    ring.skip_tile();
  }
  for (uint32_t parity = 0; tile.valid(); parity ^= 1) {
    Accumulators sums;
    if (PINGPONG) barrier_wait(s.turn + 8 * consumer, consumer == 0 ? parity ^ 1 : parity);
    multiply_tile(s, ring, sums, consumer);
    barrier_wait(s.ready + 8 * consumer, parity);
    finish_tile(staging, bias, sums, tile.column);
    fence_async_shared();
    barrier_arrive(s.done + 8 * consumer);
    tile.next();
    if (PINGPONG) {
      tile.next();
      ring.skip_tile();
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    linear_sm90(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
                const __grid_constant__ TensorMap residual, const __grid_constant__ TensorMap y,
                const T* __restrict__ bias, int rows) {
  extern __shared__ unsigned char memory[];
  const Layout s = make_layout(memory);
  const int thread = threadIdx.x, group = thread / 128;
  if (thread == 0) {
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(s.full + 8 * i, 1);
      barrier_init(s.empty + 8 * i, (PINGPONG ? 1 : kConsumers) * CLUSTER);
    }
    for (int i = 0; i < kConsumers; ++i) {
      barrier_init(s.ready + 8 * i, 1);
      barrier_init(s.done + 8 * i, 128);
      barrier_init(s.turn + 8 * i, 1);
    }
    barrier_init_done();
    prefetch_map(x);
    prefetch_map(w);
    prefetch_map(y);
    if (HAS_RESIDUAL) prefetch_map(residual);
  }
  allow_next_kernel();
  __syncthreads();
  if (CLUSTER > 1) cluster_barrier();  // peers write here and arrive at our barriers
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (thread == 0) load_tiles(s, x, w, rows);
    if (thread == 32) keep_staging(s, residual, y, rows, 0);
    if (thread == 64) keep_staging(s, residual, y, rows, 1);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    consume_tiles(s, bias, rows, group - 1);
  }
  if (CLUSTER > 1) {
    __syncwarp();
    cluster_barrier();  // a block stays until its peers have made their last arrival here
  }
}
