// linear, linear_norm and conv for many rows on Hopper: y = activation(x Wᵀ + bias) + residual, x [rows, K], W [N, K],
// y [rows, N].
//
// Persistent blocks of three warpgroups walk over tiles of y. One thread of the first group, the loader, fills a ring
// of stages (64 columns of x's and W's tile each) through TMA; the two other groups, the consumers, multiply by wgmma.
// They share a tile, half of its rows each, or take turns (PINGPONG), so that one multiplies while the other applies
// its epilogue. A tile is finished in blocks of 64 x 64, each in one of the consumer's few slots. One more warp of the
// first group keeps them: it brings the residual there and works out the norms of the tile's rows while the product is
// still running, and stores finished blocks. Blocks of a cluster take tiles that lie above each other: the same tile of
// W, each loads a part of it for all.
//
// Macros: ELEMENT, VECTOR (the type of bias and gamma), COLUMNS (N), DEPTH (K), TILE_M, TILE_N, STAGES, SLOTS (of each
// consumer), CLUSTER, PINGPONG, ACTIVATION, HAS_BIAS, HAS_RESIDUAL; of linear_norm: NORM_X, NORM_RESIDUAL (they have
// moments), MOMENTS (y's are wanted); of conv: ACTIVATE_SUM (the activation comes last) and those of product_rows.cuh.
#include "activation.cuh"
#include "cluster.cuh"
#include "linear_args.cuh"
#include "matrix.cuh"
#include "moments.cuh"
#include "pdl.cuh"
#include "product_rows.cuh"
#include "ring.cuh"
#include "tma.cuh"
#include "wgmma.cuh"

#ifndef ACTIVATE_SUM
#define ACTIVATE_SUM 0
#endif

using T = ELEMENT;

namespace {

constexpr int kConsumers = 2, kThreads = 128 * (1 + kConsumers);
constexpr int kChunk = 64, kChunks = (DEPTH + kChunk - 1) / kChunk;
constexpr int kBlocks = TILE_M / 64 / (PINGPONG ? 1 : kConsumers);  // of 64 rows: one consumer's part of a tile
constexpr int kPanels = TILE_N / 64;                                // of 64 columns
constexpr uint32_t kXBytes = TILE_M * 128, kWBytes = TILE_N * 128, kStageBytes = kXBytes + kWBytes;
static_assert(STAGES > 1 || kChunks == 1, "a stage is released while the next is multiplied");
constexpr int kTileBlocks = kBlocks * kPanels;  // of 64 x 64, in one consumer's part
constexpr uint32_t kBlockBytes = 64 * 128;
static_assert(SLOTS <= kTileBlocks);
constexpr bool kNorm = NORM_X || NORM_RESIDUAL;
constexpr bool kOfPairs = kActivatesPairs<T, ACTIVATION> && !HAS_RESIDUAL && !MOMENTS;
constexpr int kActivation = kOfPairs || ACTIVATE_SUM ? kNone : ACTIVATION;  // of single products
constexpr int kLastActivation = ACTIVATE_SUM && !kOfPairs ? ACTIVATION : kNone;
constexpr int kNormPanels = !kNorm ? 1 : (NORM_X ? DEPTH : COLUMNS) / kMomentsPanel;
static_assert(!(NORM_X && NORM_RESIDUAL));
// Tiles of y that are near in time are near in x and W, so that L2 holds both: 2048 rows.
constexpr int kRowTilesOfGroup = 2048 / (TILE_M * CLUSTER);

// Shared memory, all by address; the launcher asks for as much (linear_sm90.cc).
struct Layout {
  uint32_t stages, slots, full, empty, ready, done, turn, norms_full, norms_empty;
};
TENON_DEVICE Layout make_layout(const void* memory) {
  Layout s;
  s.stages = shared_address(memory);
  s.slots = s.stages + STAGES * kStageBytes;            // [kConsumers][SLOTS]
  s.full = s.slots + kConsumers * SLOTS * kBlockBytes;  // [STAGES] a stage has its bytes
  s.empty = s.full + 8 * STAGES;                        // [STAGES] it has been multiplied
  s.ready = s.empty + 8 * STAGES;                       // [kConsumers][SLOTS] a slot has the residual
  s.done = s.ready + 8 * kConsumers * SLOTS;            // [kConsumers][SLOTS] it holds results
  s.turn = s.done + 8 * kConsumers * SLOTS;             // [kConsumers] the other consumer has seen its tile's stages
  s.norms_full = s.turn + 8 * kConsumers;               // [kConsumers] the norms of its tile's rows are there
  s.norms_empty = s.norms_full + 8 * kConsumers;        // [kConsumers] they were read
  return s;
}

// One consumer's slots.
struct Slots {
  uint32_t data, ready, done;
  TENON_DEVICE Slots(const Layout& s, int consumer) {
    data = s.slots + consumer * SLOTS * kBlockBytes;
    ready = s.ready + 8 * consumer * SLOTS;
    done = s.done + 8 * consumer * SLOTS;
  }
};

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

// The tiles of this block, by index: few registers are left beside the sums.
struct Tiles {
  int rows, index = blockIdx.x / CLUSTER;
  bool backwards;

  TENON_DEVICE explicit Tiles(const LinearArgs& args) : rows(args.rows), backwards(args.backwards) {}
  TENON_DEVICE bool valid() const { return index < row_tiles() * kColumnTiles; }
  TENON_DEVICE void next(int turns = 1) { index += turns * (gridDim.x / CLUSTER); }

  struct Place {
    int row, column;  // of y, where the tile begins
  };
  TENON_DEVICE Place place() const {
    const int place = backwards ? row_tiles() * kColumnTiles - 1 - index : index;
    const int group = place / kTilesOfGroup, first = group * kRowTilesOfGroup, rest = place - group * kTilesOfGroup;
    const int height = min(row_tiles() - first, kRowTilesOfGroup), right = rest / height, down = rest - right * height;
    const int block = CLUSTER > 1 ? static_cast<int>(cluster_rank()) : 0;
    return {((first + down) * CLUSTER + block) * TILE_M, right * TILE_N};
  }

 private:
  static constexpr int kColumnTiles = (COLUMNS + TILE_N - 1) / TILE_N, kTilesOfGroup = kRowTilesOfGroup * kColumnTiles;
  TENON_DEVICE int row_tiles() const { return (rows + TILE_M * CLUSTER - 1) / (TILE_M * CLUSTER); }
};
constexpr int kTurns = PINGPONG ? kConsumers : 1;  // a consumer's tiles lie so many apart

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
TENON_DEVICE void load_tiles(const Layout& s, const TensorMap& x, const TensorMap& w, const ProductArgs& args) {
  Tiles tile(args);
  // Weights do not wait for the kernels ahead.
  constexpr int kEarly = STAGES < kChunks ? STAGES : kChunks;
  if (tile.valid()) {
    const int column = tile.place().column;
    for (int k = 0; k < kEarly; ++k) load_w(s, w, k, k, column);
  }
  wait_for_previous_kernels();
  Ring ring;
  for (bool first = true; tile.valid(); tile.next(), first = false) {
    const auto [row, column] = tile.place();
    const ProductRows rows(args, row);
#pragma unroll 1
    for (int k = 0; k < kChunks; ++k) {
      if (!first || k >= kEarly) {
        barrier_wait(s.empty + 8 * ring.stage, ring.parity ^ 1);
        load_w(s, w, ring.stage, k, column);
      }
      rows.load(s.stages + ring.stage * kStageBytes, x, k, s.full + 8 * ring.stage);
      ring.advance();
    }
  }
}

using Norms = Norm[kNorm ? kBlocks * 64 : 1];  // of the rows of a consumer's part of a tile

// Of rows `first` and further; one warp.
TENON_DEVICE void find_norms(Norms& norms, const LinearArgs& args, int first) {
  const auto* moments = static_cast<const Moments*>(NORM_X ? args.x_moments : args.residual_moments);
#pragma unroll 1
  for (int i = threadIdx.x % 32; i < kBlocks * 64; i += 32) {
    const int64_t row = first + i;
    norms[i] = row < args.rows ? row_norm<kNormPanels>(moments + row * kNormPanels, args.epsilon) : Norm{};
  }
}

// One warp for each consumer: the residual into its slots, the results out of them.
TENON_DEVICE void keep_slots(const Layout& s, const TensorMap& residual, const TensorMap& y, const LinearArgs& args,
                             Norms& norms, int consumer) {
  const bool leads = threadIdx.x % 32 == 0;
  const Slots slots(s, consumer);
  const int first_row = PINGPONG ? 0 : consumer * kBlocks * 64;
  wait_for_previous_kernels();
  Tiles tile(args);
  if (PINGPONG) tile.next(consumer);
  Position<SLOTS> filled, stored;
  for (uint32_t turn = 0; tile.valid(); turn ^= 1, tile.next(kTurns)) {
    const int column = tile.place().column;
    const int row = tile.place().row + first_row;
    const auto column_of = [&](int block) { return column + block / kBlocks * 64; };
    const auto row_of = [&](int block) { return row + block % kBlocks * 64; };
    const auto fill = [&](int block) {
      const uint32_t ready = slots.ready + 8 * filled.slot;
      if (HAS_RESIDUAL) {
        barrier_expect(ready, kBlockBytes);
        load_box(slots.data + filled.slot * kBlockBytes, residual, column_of(block), row_of(block), ready);
      } else {
        barrier_arrive(ready);
      }
      filled.advance();
    };
    if (kNorm) {
      barrier_wait(s.norms_empty + 8 * consumer, turn ^ 1);
      find_norms(norms, args, row);
      barrier_arrive(s.norms_full + 8 * consumer);  // every lane, which has written norms
    }
    if (leads) {
#pragma unroll 1
      for (int block = 0; block < SLOTS; ++block) fill(block);
      if (HAS_RESIDUAL) {
#pragma unroll 1
        for (int block = SLOTS; block < kTileBlocks; ++block) prefetch_box(residual, column_of(block), row_of(block));
      }
#pragma unroll 1
      for (int block = 0; block < kTileBlocks; ++block) {
        barrier_wait(slots.done + 8 * stored.slot, stored.parity);
        store_box(y, slots.data + stored.slot * kBlockBytes, column_of(block), row_of(block));
        commit_stores();
        stored.advance();
        if (block + SLOTS < kTileBlocks) {
          wait_stores_read();
          fill(block + SLOTS);
        }
      }
      wait_stores_read();  // at the end: shared memory stays until then
    }
    __syncwarp();
  }
}

// One warp: what the first tile's results are scaled by and added to comes near.
TENON_DEVICE void prefetch_vectors(const LinearArgs& args) {
  const Tiles tile(args);
  const int column = tile.valid() ? tile.place().column : COLUMNS;
  constexpr int kLine = 128 / sizeof(VECTOR);
  for (int i = column + static_cast<int>(threadIdx.x) % 32 * kLine; i < min(column + TILE_N, COLUMNS); i += 32 * kLine) {
    if (HAS_BIAS) prefetch_l2(static_cast<const VECTOR*>(args.bias) + i);
    if (NORM_RESIDUAL) prefetch_l2(static_cast<const VECTOR*>(args.gamma) + i);
  }
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
  int chunks = kChunks;
  // A loop that is known to run once is dissolved into what follows, where the compiler makes products wait.
  if (kChunks == 1) asm volatile("" : "+r"(chunks));
#pragma unroll 1
  for (int k = 0; k < chunks; ++k) {
    barrier_wait(s.full + 8 * ring.stage, ring.parity);
    const uint32_t x = s.stages + ring.stage * kStageBytes + (PINGPONG ? 0 : consumer * kBlocks * kBlockBytes);
    const uint32_t w = s.stages + ring.stage * kStageBytes + kXBytes;
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kChunk / 16; ++i)
#pragma unroll
      for (int b = 0; b < kBlocks; ++b)
        Wgmma<T, TILE_N>::multiply(sums[b], wgmma_tile(x, b * kBlockBytes + i * 32), wgmma_tile(w, i * 32), true);
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

// Two neighbours of a vector, the pair-th ones.
TENON_DEVICE float2 load_pair(const void* vector, unsigned pair) {
  if constexpr (sizeof(VECTOR) == sizeof(T)) return unpack<T>(__ldg(static_cast<const uint32_t*>(vector) + pair));
  return __ldg(static_cast<const float2*>(vector) + pair);
}

// Moments of the rows of panel `p`, of the 64 rows that begin at `row`, when the panel's sums are finished. Lanes of a
// quad hold 16 columns each of two rows; even lanes go on with the first of them, odd lanes with the second.
TENON_DEVICE void store_moments(const LinearArgs& args, const float (&sums)[TILE_N / 2], int p, int row, int column) {
  const int lane = threadIdx.x % 32;
  Moments of_row[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    // Of so few numbers the plain sums of squares will do: what they lose is less than the rounding of y.
    float sum = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float v = sums[p * 32 + i / 2 * 4 + half * 2 + i % 2];
      sum += v;
      squares += v * v;
    }
    of_row[half] = {sum * (1.f / 16), fmaxf(squares - sum * sum * (1.f / 16), 0.f)};
  }
  const bool second = lane % 2 != 0;
  const Moments mine = second ? of_row[1] : of_row[0], given = second ? of_row[0] : of_row[1];
  const Moments half = join(mine, exchange(given, 1), 16), m = join(half, exchange(half, 2), 32);
  const int64_t r = row + static_cast<int>(threadIdx.x / 32 % 4) * 16 + lane / 4 + (second ? 8 : 0);
  if (lane % 4 < 2 && r < args.rows && column < COLUMNS)
    static_cast<Moments*>(args.y_moments)[r * (COLUMNS / kMomentsPanel) + column / kMomentsPanel] = m;
}

// Of a block of 64 x 64 so many parts of 16 columns fetch their operands at once: all, unless sums fill the registers.
constexpr int kPartsAtOnce = kBlocks * TILE_N <= 256 ? 4 : 1;

// Norms, bias, activation, residual; rounded into the slots. The tile's part begins at (row, column). A block's moments
// are found while the next block's operands are on their way.
TENON_DEVICE void finish_tile(const Slots& slots, Position<SLOTS>& position, const LinearArgs& args, const Norms& norms,
                              Accumulators& sums, int row, int column) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const unsigned pair = column / 2u + lane % 4;
  const uint32_t in_block = swizzle_128b(warp * 16 + lane % 16, lane / 16 * 16);
  const auto moments_of = [&](int block) {
    const int p = block / kBlocks, b = block % kBlocks;
    store_moments(args, sums[b], p, row + b * 64, column + p * 64);
  };
#pragma unroll
  for (int block = 0; block < kTileBlocks; ++block) {
    const int p = block / kBlocks, b = block % kBlocks;
    const uint32_t slot = slots.data + position.slot * kBlockBytes;
    barrier_wait(slots.ready + 8 * position.slot, position.parity);
    struct {
      float scale = 1, shift = 0;
    } norm[2];
    if (kNorm) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Norm of_row = norms[b * 64 + warp * 16 + lane / 4 + half * 8];
        norm[half].scale = of_row.scale;
        norm[half].shift = -of_row.mean * of_row.scale;
      }
    }
#pragma unroll
    for (int first = 0; first < 4; first += kPartsAtOnce) {
      float2 bias[kPartsAtOnce][2] = {}, gamma[kPartsAtOnce][2] = {};
      uint32_t residual[kPartsAtOnce][4];
#pragma unroll
      for (int i = 0; i < kPartsAtOnce; ++i) {
        if (HAS_RESIDUAL) load_matrices(residual[i], slot + (in_block ^ (first + i) * 32));
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int further = p * 64 + (first + i) * 16 + h * 8;
          const bool inside = COLUMNS % TILE_N == 0 || column + further < COLUMNS;
          if (HAS_BIAS && inside) bias[i][h] = load_pair(args.bias, pair + further / 2);
          if (NORM_RESIDUAL && inside) gamma[i][h] = load_pair(args.gamma, pair + further / 2);
        }
      }
      if (MOMENTS && first == 0 && block > 0) moments_of(block - 1);
#pragma unroll
      for (int i = 0; i < kPartsAtOnce; ++i) {
        uint32_t result[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) {  // rows 0-7 and 8-15 of the left eight columns, then of the right eight
          float* const sum = &sums[b][p * 32 + (first + i) * 8 + q * 2];
          float &low = sum[0], &high = sum[1];
          const auto& n = norm[q % 2];
          if (NORM_X) low *= n.scale, high *= n.scale;
          low = activate<kActivation>(low + bias[i][q / 2].x);
          high = activate<kActivation>(high + bias[i][q / 2].y);
          if (HAS_RESIDUAL) {
            const float2 r = unpack<T>(residual[i][q]);
            low += NORM_RESIDUAL ? (r.x * n.scale + n.shift) * gamma[i][q / 2].x : r.x;
            high += NORM_RESIDUAL ? (r.y * n.scale + n.shift) * gamma[i][q / 2].y : r.y;
          }
          result[q] = pack<T>(activate<kLastActivation>(low), activate<kLastActivation>(high));
          if (kOfPairs) result[q] = gelu_f16x2(result[q]);
        }
        store_matrices(slot + (in_block ^ (first + i) * 32), result);
      }
    }
    fence_async_shared();
    __syncwarp();
    if (lane == 0) barrier_arrive(slots.done + 8 * position.slot);
    position.advance();
  }
  if (MOMENTS) moments_of(kTileBlocks - 1);
}

TENON_DEVICE void consume_tiles(const Layout& s, const LinearArgs& args, const Norms& norms, int consumer) {
  const Slots slots(s, consumer);
  const int first_row = PINGPONG ? 0 : consumer * kBlocks * 64;
  Ring ring;
  Position<SLOTS> position;
  Tiles tile(args);
  if (PINGPONG && consumer == 1) {
    tile.next();
    ring.skip_tile();
  }
  for (uint32_t turn = 0; tile.valid(); turn ^= 1) {
    // Zeros: if the first product overwrote the sums, the compiler would keep the last tile's until then, and spill.
    Accumulators sums = {};
    if (PINGPONG) barrier_wait(s.turn + 8 * consumer, consumer == 0 ? turn ^ 1 : turn);
    multiply_tile(s, ring, sums, consumer);
    const auto [row, column] = tile.place();
    if (kNorm) barrier_wait(s.norms_full + 8 * consumer, turn);
    finish_tile(slots, position, args, norms, sums, row + first_row, column);
    if (kNorm) barrier_arrive(s.norms_empty + 8 * consumer);
    tile.next(kTurns);
    if (PINGPONG) ring.skip_tile();
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    linear_sm90(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
                const __grid_constant__ TensorMap residual, const __grid_constant__ TensorMap y,
                const ProductArgs args) {
  extern __shared__ __align__(1024) unsigned char memory[];
  __shared__ Norms norms[kConsumers];
  const Layout s = make_layout(memory);
  const int thread = threadIdx.x, warp = uniform(thread / 32), group = warp / 4;
  if (thread == 0) {
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(s.full + 8 * i, 1);
      barrier_init(s.empty + 8 * i, (PINGPONG ? 1 : kConsumers) * CLUSTER);
    }
    for (int i = 0; i < kConsumers * SLOTS; ++i) {
      barrier_init(s.ready + 8 * i, 1);
      barrier_init(s.done + 8 * i, 4);  // warps
    }
    for (int i = 0; i < kConsumers; ++i) {
      barrier_init(s.turn + 8 * i, 1);
      barrier_init(s.norms_full + 8 * i, 32);
      barrier_init(s.norms_empty + 8 * i, 128);
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
    if (thread == 0) load_tiles(s, x, w, args);
    if (warp == 1 || warp == 2) keep_slots(s, residual, y, args, norms[warp - 1], warp - 1);
    if (warp == 3) prefetch_vectors(args);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    consume_tiles(s, args, norms[group - 1], group - 1);
  }
  if (CLUSTER > 1) {
    __syncwarp();
    cluster_barrier();  // a block stays until its peers have made their last arrival here
  }
}
