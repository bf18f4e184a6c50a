// linear of f32 on Hopper: y = activation(x Wᵀ + bias) + residual, x [rows, K], W [N, K], y [rows, N]; factors are
// multiplied by wgmma in TERMS terms of tf32 (as in factors.cuh).
//
// Persistent blocks walk over tiles of y. One thread, the loader, fills a ring of stages (32 columns of x's and W's tile
// each) through TMA, the first ones of W before the kernels ahead have ended; one or two warpgroups multiply, 64 rows
// each. While a chunk is multiplied they make the next one's factors: x's in registers, W's second term in shared
// memory, where wgmma reads it (W of a single term is rounded when the engine is built). They store sums as they hold
// them, a sector of 32 bytes to each quad of lanes.
//
// Macros: TERMS (1 or 2), COLUMNS (N, even), DEPTH (K, a multiple of 4), TILE_M, TILE_N, STAGES, BLOCKS (that share an
// SM), ACTIVATION, HAS_BIAS, HAS_RESIDUAL.
#include "activation.cuh"
#include "matrix.cuh"
#include "pdl.cuh"
#include "registers.cuh"
#include "ring.cuh"
#include "tma.cuh"
#include "wgmma_registers.cuh"

namespace {

constexpr int kConsumers = TILE_M / 64, kConsumerThreads = 128 * kConsumers;
constexpr bool kAlone = BLOCKS == 1;  // on its SM: registers go from a whole warpgroup, the loader's, to the others
constexpr int kThreads = kConsumerThreads + (kAlone ? 128 : 32);
static_assert(!kAlone || kConsumers == 2, "232 registers for each thread of two warpgroups");
constexpr int kChunk = 128 / sizeof(float), kChunks = (DEPTH + kChunk - 1) / kChunk;
constexpr int kSteps = 4;  // of a chunk, 8 columns of K each
constexpr uint32_t kXBytes = TILE_M * 128, kWBytes = TILE_N * 128, kLoadedBytes = kXBytes + kWBytes;
constexpr uint32_t kStageBytes = kXBytes + TERMS * kWBytes;
static_assert(STAGES > 1, "a chunk's factors are made while the one ahead is multiplied");

using Place = Position<STAGES>;

struct Ring {
  uint32_t stages, full, empty, split;
  TENON_DEVICE explicit Ring(const void* memory) {
    stages = shared_address(memory);
    full = stages + STAGES * kStageBytes;  // [STAGES] a stage has its bytes
    empty = full + 8 * STAGES;             // [STAGES] it has been multiplied
    split = empty + 8 * STAGES;            // [STAGES] W's second term is there
  }
  TENON_DEVICE uint32_t x(int slot) const { return stages + slot * kStageBytes; }
  TENON_DEVICE uint32_t w(int slot) const { return x(slot) + kXBytes; }
};

// The tiles of this block. Tiles that lie above each other are near in time: they read the same part of W.
struct Tiles {
  int rows, index = static_cast<int>(blockIdx.x);
  TENON_DEVICE explicit Tiles(int rows) : rows(rows) {}
  TENON_DEVICE bool valid() const { return index < row_tiles() * ((COLUMNS + TILE_N - 1) / TILE_N); }
  TENON_DEVICE void next() { index += static_cast<int>(gridDim.x); }
  TENON_DEVICE int row() const { return index % row_tiles() * TILE_M; }
  TENON_DEVICE int column() const { return index / row_tiles() * TILE_N; }

 private:
  TENON_DEVICE int row_tiles() const { return (rows + TILE_M - 1) / TILE_M; }
};

// One thread.
TENON_DEVICE void load_tiles(const Ring& ring, const TensorMap& x, const TensorMap& w, int rows) {
  const auto load_w = [&](int slot, int k, int column) {
    barrier_expect(ring.full + 8 * slot, kLoadedBytes);
    load_box(ring.w(slot), w, k * kChunk, column, ring.full + 8 * slot);
  };
  Tiles tile(rows);
  constexpr int kEarly = STAGES < kChunks ? STAGES : kChunks;
  for (int k = 0; k < kEarly; ++k) load_w(k, k, tile.column());
  wait_for_previous_kernels();
  Place place;
  for (bool first = true; tile.valid(); tile.next(), first = false) {
    const int row = tile.row(), column = tile.column();
#pragma unroll 1
    for (int k = 0; k < kChunks; ++k) {
      if (!first || k >= kEarly) {
        barrier_wait(ring.empty + 8 * place.slot, place.parity ^ 1);
        load_w(place.slot, k, column);
      }
      load_box(ring.x(place.slot), x, k * kChunk, row, ring.full + 8 * place.slot);
      place.advance();
    }
  }
}

// wgmma cuts the last 13 bits of f32 off: half of their range more, and it reads x rounded. (The instruction that rounds
// has an eighth of the rate.) The bits of NaN may be all ones, to which nothing can be added.
constexpr uint32_t kHalfRest = 0x1000;
TENON_DEVICE uint32_t rounds_to_tf32(uint32_t x) {
  const float f = __uint_as_float(x);
  return f == f ? x + kHalfRest : x;
}
// What it leaves of x; of infinity and NaN, whose rest is a NaN of ones, so -0: their first term says all.
TENON_DEVICE uint32_t rest_of_tf32(uint32_t x) {
  return __float_as_uint(__uint_as_float(x) - __uint_as_float(x & 0xffffe000u)) + kHalfRest;
}

// A factor: not to be made between the products, which would wait for it.
TENON_DEVICE uint32_t made_here(uint32_t x) {
  asm volatile("" : "+r"(x));
  return x;
}

// The second term of W's tile, behind it; all consumers.
TENON_DEVICE void split_w(uint32_t w) {
#pragma unroll
  for (uint32_t i = 0; i < (kWBytes + kConsumerThreads * 16 - 1) / (kConsumerThreads * 16); ++i) {
    const uint32_t at = w + (i * kConsumerThreads + threadIdx.x) * 16;
    if (kWBytes % (kConsumerThreads * 16) != 0 && at >= w + kWBytes) break;
    uint32_t unit[4];
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(unit[0]), "=r"(unit[1]), "=r"(unit[2]), "=r"(unit[3])
                 : "r"(at)
                 : "memory");
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(at + kWBytes), "r"(rest_of_tf32(unit[0])),
                 "r"(rest_of_tf32(unit[1])), "r"(rest_of_tf32(unit[2])), "r"(rest_of_tf32(unit[3]))
                 : "memory");
  }
  fence_async_shared();
  __syncwarp();
}

using XChunk = uint32_t[kSteps][4];  // this lane's elements of a chunk of x, as wgmma takes them
using Sums = float[TILE_N / 2];

// One consumer's part of a tile: rows of x from `row` on, 16 of them each warp's.
class Consumer {
 public:
  TENON_DEVICE Consumer(const Ring& ring, int consumer) : ring_(ring), row_(consumer * 64 + threadIdx.x / 32 % 4 * 16) {}

  TENON_DEVICE void multiply_tile(Sums& sums) {
    XChunk even, odd;
    make_factors(even);
#pragma unroll 1
    for (int k = 0; k < kChunks; k += 2) {
      multiply(sums, even, odd, k);
      if (k + 1 < kChunks) multiply(sums, odd, even, k + 1);
    }
    if constexpr (TERMS == 1) {
      wgmma_wait<0>();
      wgmma_result(sums);
      release(previous_);
    }
  }

 private:
  // Chunk k of the tile, and the factors of the next. In one term, a chunk's products queue behind those of the one ahead;
  // two terms' sums are added by chunk outside of the tensor cores, which cut them.
  TENON_DEVICE void multiply(Sums& sums, XChunk& x, XChunk& next, int k) {
    const int slot = place_.slot;
    const bool more = k + 1 < kChunks;
    if constexpr (TERMS == 1) {
      wgmma_fence();
      add_products(sums, x, ring_.w(slot), k > 0);
      wgmma_commit();
      wgmma_wait<1>();
      if (k > 0) release(previous_);
      previous_ = slot;
      place_.advance();
      if (more) make_factors(next);
    } else {
      XChunk rest;
      Sums part;
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) rest[i][j] = made_here(rest_of_tf32(x[i][j]));
      barrier_wait(ring_.split + 8 * slot, place_.parity);
      wgmma_fence();
      add_products(part, rest, ring_.w(slot), false);  // the small products come first
      add_products(part, x, ring_.w(slot) + kWBytes, true);
      add_products(part, x, ring_.w(slot), true);
      wgmma_commit();
      place_.advance();
      if (more) make_factors(next);
      wgmma_wait<0>();
      release(slot);
      wgmma_result(part);
#pragma unroll
      for (int i = 0; i < TILE_N / 2; ++i) sums[i] = k == 0 ? part[i] : sums[i] + part[i];
    }
  }

  TENON_DEVICE static void add_products(Sums& sums, const XChunk& x, uint32_t w, bool accumulate) {
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
      WgmmaRegisters<float, TILE_N, false>::multiply(sums, x[i], wgmma_tile(w, i * 32), i > 0 || accumulate);
  }

  // Of the chunk at hand, when it is there.
  TENON_DEVICE void make_factors(XChunk& x) {
    barrier_wait(ring_.full + 8 * place_.slot, place_.parity);
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
      load_matrices(x[i], ring_.x(place_.slot) + swizzle_128b(row_ + lane % 16, i * 32 + lane / 16 * 16));
    if constexpr (TERMS > 1) {
      split_w(ring_.w(place_.slot));
      if (lane == 0) barrier_arrive(ring_.split + 8 * place_.slot);
    } else {
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) x[i][j] = made_here(rounds_to_tf32(x[i][j]));
    }
  }

  TENON_DEVICE void release(int slot) const {
    if (threadIdx.x % 32 == 0) barrier_arrive(ring_.empty + 8 * slot);
  }

  const Ring ring_;
  const int row_;
  Place place_;
  int previous_ = 0;
};

// As exactly as the factors are.
TENON_DEVICE float activated(float x) {
  return TERMS == 1 && ACTIVATION == kGelu ? gelu_wide(x) : activate_exactly<ACTIVATION>(x);
}

// At an even place.
TENON_DEVICE float2 load_pair(const float* from) { return *reinterpret_cast<const float2*>(from); }

// Bias, activation, residual. This lane's first row and column of y are given.
TENON_DEVICE void finish_tile(const Sums& sums, const float* bias, const float* residual, float* y, int row, int column, int rows) {
#pragma unroll
  for (int j = 0; j < TILE_N / 8; ++j) {
    const int c = column + j * 8;
    if (COLUMNS % TILE_N != 0 && c >= COLUMNS) break;
    const float2 b = HAS_BIAS ? load_pair(bias + c) : float2{};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row + half * 8;
      if (r >= rows) continue;
      const int64_t at = static_cast<int64_t>(r) * COLUMNS + c;
      float2 v = {activated(sums[j * 4 + half * 2] + b.x), activated(sums[j * 4 + half * 2 + 1] + b.y)};
      if (HAS_RESIDUAL) {
        const float2 further = load_pair(residual + at);
        v = {v.x + further.x, v.y + further.y};
      }
      *reinterpret_cast<float2*>(y + at) = v;
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS)
    linear_f32_sm90(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, const float* bias,
                    const float* residual, float* y, int rows) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const Ring ring(memory);
  const int thread = threadIdx.x, warp = uniform(thread / 32);
  if (thread == 0) {
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(ring.full + 8 * i, 1);
      barrier_init(ring.empty + 8 * i, kConsumerThreads / 32);
      barrier_init(ring.split + 8 * i, kConsumerThreads / 32);
    }
    barrier_init_done();
    prefetch_map(w);
    prefetch_map(x);
  }
  allow_next_kernel();
  __syncthreads();
  if (warp >= kConsumerThreads / 32) {
    if (kAlone) release_registers<40>();
    if (thread == kConsumerThreads) load_tiles(ring, x, w, rows);
    return;
  }
  if (kAlone) take_registers<232>();
  wait_for_previous_kernels();  // the residual
  Consumer consumer(ring, warp / 4);
  const int first_row = warp * 16 + thread % 32 / 4, first_column = thread % 4 * 2;
  for (Tiles tile(rows); tile.valid(); tile.next()) {
    Sums sums;
    consumer.multiply_tile(sums);
    finish_tile(sums, bias, residual, y, tile.row() + first_row, tile.column() + first_column, rows);
  }
}
