// linear, linear_norm and conv for few rows on Hopper: y = activation(x Wᵀ + bias) + residual, x [rows, K], W [N, K],
// y [rows, N].
//
// Here the time goes into waiting for data, so a tile's K is split over the blocks of a cluster and all SMs load at
// once: a loader thread fills a ring of stages through TMA (W's before the kernels ahead have ended), one or two
// warpgroups multiply by wgmma. Then every block gets the partial sums of its share of the tile's rows from its peers,
// adds them in the order of their ranks and finishes these rows: whole panels of columns, so that it can take their
// moments. What it needs of their norms one more warp works out beside the product.
//
// Macros: ELEMENT, VECTOR (the type of bias and gamma), COLUMNS (N), DEPTH (K), TILE_M, TILE_N, STAGES, SPLIT,
// ACTIVATION, HAS_BIAS, HAS_RESIDUAL; of linear_norm: NORM_X, NORM_RESIDUAL (they have moments), MOMENTS (y's are
// wanted); of conv: ACTIVATE_SUM (the activation comes last) and those of product_rows.cuh.
#include "activation.cuh"
#include "cluster.cuh"
#include "linear_args.cuh"
#include "moments.cuh"
#include "pdl.cuh"
#include "product_rows.cuh"
#include "tma.cuh"
#include "wgmma.cuh"

#ifndef ACTIVATE_SUM
#define ACTIVATE_SUM 0
#endif

using T = ELEMENT;

namespace {

constexpr bool kNorm = NORM_X || NORM_RESIDUAL;
constexpr bool kOfPairs = kActivatesPairs<T, ACTIVATION> && !HAS_RESIDUAL && !MOMENTS;
constexpr int kActivation = kOfPairs || ACTIVATE_SUM ? kNone : ACTIVATION;  // of single products
constexpr int kLastActivation = ACTIVATE_SUM && !kOfPairs ? ACTIVATION : kNone;
constexpr int kConsumerThreads = TILE_M * 2;  // 128 for each 64 rows
constexpr int kLoader = kConsumerThreads, kNormer = kLoader + 32, kThreads = kNorm ? kNormer + 32 : kNormer;
constexpr int kChunk = 64, kChunks = ((DEPTH + kChunk - 1) / kChunk + SPLIT - 1) / SPLIT;  // of one block
constexpr uint32_t kXBytes = TILE_M * 128, kStageBytes = kXBytes + TILE_N * 128;
static_assert(STAGES > 1 || kChunks == 1, "a stage is released while the next is multiplied");
constexpr int kColumnTiles = (COLUMNS + TILE_N - 1) / TILE_N;
// Where the sums are exchanged. Blocks of a cluster are not done at once: peers' sums may arrive while we still
// multiply.
constexpr uint32_t kPartialBytes = TILE_M * TILE_N * sizeof(float);
constexpr bool kOwnPartials = SPLIT > 1;
// By stores that arrive at a barrier, or plainly and with a barrier of the whole cluster: that takes less where there
// is little to wait for.
constexpr bool kSend = SPLIT > 4 || (SPLIT > 2 && kChunks > 3);
constexpr uint32_t kRingBytes = STAGES * kStageBytes;
constexpr uint32_t kBarrierBytes = (2 * STAGES + 1) * 8;
constexpr uint32_t kDataBytes = kOwnPartials                 ? kRingBytes + kPartialBytes
                                : kRingBytes > kPartialBytes ? kRingBytes
                                                             : kPartialBytes;

// A tile's rows in pairs 8 apart, as a thread holds them after wgmma; a block finishes kPairs of them, in units of one
// pair and four columns.
constexpr int kPairs = TILE_M / 2 / SPLIT, kQuads = TILE_N / 4;
// Threads that finish, in whole warps and whole rows, so that a thread's units lie in the same columns.
constexpr int kFinishers = kConsumerThreads % kQuads == 0 ? kConsumerThreads : kConsumerThreads / (2 * kQuads) * (2 * kQuads);
static_assert(kFinishers % 32 == 0 && kFinishers % kQuads == 0);
constexpr int kUnits = (kPairs * kQuads + kFinishers - 1) / kFinishers;  // of a thread
constexpr bool kAllFinish = kUnits * kFinishers == kPairs * kQuads;
TENON_DEVICE int first_row(int pair) { return pair / 8 * 16 + pair % 8; }

constexpr int kPanels = COLUMNS / kMomentsPanel, kNormPanels = !kNorm ? 1 : NORM_X ? DEPTH / kMomentsPanel : kPanels;
static_assert(!(NORM_X && NORM_RESIDUAL) && (!MOMENTS || TILE_N % kMomentsPanel == 0));

TENON_DEVICE void load_stages(uint32_t stages, uint32_t full, uint32_t empty, const TensorMap& x, const TensorMap& w,
                              const ProductRows& rows, int column, int first_chunk) {
  prefetch_map(w);
  prefetch_map(x);
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
    rows.load(stages + stage * kStageBytes, x, first_chunk + k, full + 8 * stage);
  }
}

// By a warpgroup: rows 64 * block and further.
TENON_DEVICE void multiply_stages(uint32_t stages, uint32_t full, uint32_t empty, int block, float (&sums)[TILE_N / 2]) {
  const auto full_of = [&](int k) { return full + 8 * (k % STAGES); };
  const auto parity_of = [](int k) { return static_cast<uint32_t>(k / STAGES & 1); };
  constexpr int kAtOnce = STAGES >= kChunks ? kChunks : 1;
  bool is_full = false;  // of the chunk that is next: asked before the products, as the answer takes longer than these
#pragma unroll kAtOnce
  for (int k = 0; k < kChunks; ++k) {
    const uint32_t stage = k % STAGES, tiles = stages + stage * kStageBytes;
    const uint32_t x = tiles + block * 64 * 128, w = tiles + kXBytes;
    if (!is_full) barrier_wait(full_of(k), parity_of(k));
    is_full = k + 1 < kChunks && barrier_test(full_of(k + 1), parity_of(k + 1));
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kChunk / 16; ++i)
      Wgmma<T, TILE_N>::multiply(sums, wgmma_tile(x, i * 32), wgmma_tile(w, i * 32), (k | i) != 0);
    wgmma_commit();
    if (k > 0 && k - 1 + STAGES < kChunks) {  // a further chunk comes there
      wgmma_wait<1>();
      if (threadIdx.x % 128 == 0) barrier_arrive(empty + 8 * ((k - 1) % STAGES));
    }
  }
  wgmma_wait<0>();
  wgmma_result(sums);
}

// Where a block keeps what `source` sums of vector `vector` (8 columns) of a pair of its rows; `lane`: of the four that
// hold it. The permutation spreads the vectors of a pair over the banks.
TENON_DEVICE uint32_t partial_address(uint32_t partials, int source, int vector, int pair, int lane) {
  const int slot = (pair * 4 + lane) ^ (vector & 1) ^ (vector & 2) << 1;
  return partials + ((source * (TILE_N / 8) + vector) * kPairs * 4 + slot) * sizeof(float4);
}

// The sums to the blocks that finish them, and theirs to us.
TENON_DEVICE void exchange(uint32_t partials, uint32_t arrived, int rank, const float (&sums)[TILE_N / 2]) {
  const int pair = threadIdx.x / 4, lane = threadIdx.x % 4;
  const uint32_t peer = peer_address(partials, pair / kPairs), peer_arrived = peer_address(arrived, pair / kPairs);
#pragma unroll
  for (int v = 0; v < TILE_N / 8; ++v) {
    const float4 four = {sums[v * 4], sums[v * 4 + 1], sums[v * 4 + 2], sums[v * 4 + 3]};
    const int at = pair % kPairs;
    if (kSend) {
      send_peer(partial_address(peer, rank, v, at, lane), four, peer_arrived);
    } else if (SPLIT > 1) {
      store_peer(partial_address(peer, rank, v, at, lane), four);
    } else {
      store_shared(partial_address(partials, 0, v, at, lane), four);
    }
  }
  if (kSend) {
    barrier_wait(arrived, 0);
  } else if (SPLIT > 1) {
    cluster_barrier();
  } else {
    named_barrier(1, kConsumerThreads);
  }
}

// Four columns of a pair of rows.
struct Unit {
  float of[2][4];
};
TENON_DEVICE Unit add_partials(uint32_t partials, int pair, int quad) {
  Unit u = {};
#pragma unroll
  for (int r = 0; r < SPLIT; ++r)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float4 p = load_shared(partial_address(partials, r, quad / 2, pair, quad % 2 * 2 + i));
      u.of[0][2 * i] += p.x;
      u.of[0][2 * i + 1] += p.y;
      u.of[1][2 * i] += p.z;
      u.of[1][2 * i + 1] += p.w;
    }
  return u;
}

TENON_DEVICE void unpack4(uint2 v, float (&out)[4]) {
  const float2 low = unpack<T>(v.x), high = unpack<T>(v.y);
  out[0] = low.x, out[1] = low.y, out[2] = high.x, out[3] = high.y;
}
template <class V>
TENON_DEVICE void load4(const void* from, int index, float (&out)[4]) {
  const V* at = static_cast<const V*>(from) + index;
  if constexpr (sizeof(V) == sizeof(T)) {
    unpack4(*reinterpret_cast<const uint2*>(at), out);
  } else {
    const float4 v = *reinterpret_cast<const float4*>(at);
    out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    linear_few_sm90(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, const ProductArgs args) {
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t stages = shared_address(memory), partials = kOwnPartials ? stages + kRingBytes : stages;
  const uint32_t full = stages + kDataBytes, empty = full + 8 * STAGES, arrived = empty + 8 * STAGES;
  Norm* norms = reinterpret_cast<Norm*>(memory + kDataBytes + kBarrierBytes);  // [2][kPairs] of the rows we finish
  const int thread = threadIdx.x, warp = uniform(thread / 32), tile = blockIdx.x / SPLIT, rank = blockIdx.x % SPLIT;
  const int row = tile / kColumnTiles * TILE_M, column = tile % kColumnTiles * TILE_N;
  if (thread == 0) {
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, TILE_M / 64);
    }
    barrier_init(arrived, 1);
    barrier_init_done();
    if (kSend) barrier_expect(arrived, kPartialBytes);
  }
  allow_next_kernel();
  __syncthreads();
  if (SPLIT > 1) cluster_arrive();  // peers may write here once we run
  const auto row_of = [&](int pair, int half) { return row + first_row(rank * kPairs + pair) + half * 8; };
  if (warp >= kLoader / 32) {
    if (thread == kLoader) load_stages(stages, full, empty, x, w, ProductRows(args, row), column, rank * kChunks);
    if (kNorm && warp == kNormer / 32) {
      wait_for_previous_kernels();
      const auto* moments = static_cast<const Moments*>(NORM_X ? args.x_moments : args.residual_moments);
      for (int i = thread - kNormer; i < 2 * kPairs; i += 32) {
        const int r = row_of(i % kPairs, i / kPairs);
        norms[i] = r < args.rows ? row_norm<kNormPanels>(moments + r * kNormPanels, args.epsilon) : Norm{};
      }
      __syncwarp();
      named_barrier_arrive(2, kConsumerThreads + 32);  // who waits here would hold up the cluster's barrier
    }
    if (SPLIT > 1) {
      __syncwarp();
      cluster_wait();
      if (!kSend) cluster_barrier();  // that of the exchange
    }
    return;
  }
  // Bias and residual of what this block finishes come while the product is running.
  const int quad = thread % kQuads, y_column = column + quad * 4;
  const auto pair_of = [&](int unit) { return (unit * kFinishers + thread) / kQuads; };
  const auto y_index = [&](int r) { return static_cast<int64_t>(r) * COLUMNS + y_column; };
  const bool column_inside = COLUMNS % TILE_N == 0 || y_column < COLUMNS;
  float bias[4] = {}, gamma[4] = {};
  if (HAS_BIAS && column_inside) load4<VECTOR>(args.bias, y_column, bias);
  if (NORM_RESIDUAL && column_inside) load4<VECTOR>(args.gamma, y_column, gamma);
  wait_for_previous_kernels();
  uint2 residual[kUnits][2] = {};
#pragma unroll
  for (int u = 0; u < kUnits; ++u)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row_of(pair_of(u), half);
      const bool ours = (kAllFinish || pair_of(u) < kPairs) && (kFinishers == kConsumerThreads || thread < kFinishers);
      if (HAS_RESIDUAL && ours && r < args.rows && column_inside)
        residual[u][half] = *reinterpret_cast<const uint2*>(static_cast<const T*>(args.residual) + y_index(r));
    }

  float sums[TILE_N / 2];
  multiply_stages(stages, full, empty, warp / 4, sums);
  if (SPLIT > 1) cluster_wait();
  if (!kOwnPartials) named_barrier(1, kConsumerThreads);  // what lies where the sums go has been multiplied
  exchange(partials, arrived, rank, sums);
  if (kNorm) named_barrier(2, kConsumerThreads + 32);  // the norms are written
  if (kFinishers < kConsumerThreads && thread >= kFinishers) return;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int pair = pair_of(u);
    if (!kAllFinish && pair >= kPairs) break;  // whole warps
    Unit unit = add_partials(partials, pair, quad);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float(&v)[4] = unit.of[half];
      const Norm norm = kNorm ? norms[half * kPairs + pair] : Norm{};
      float r[4] = {};
      if (HAS_RESIDUAL) unpack4(residual[u][half], r);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        v[i] = activate<kActivation>((NORM_X ? v[i] * norm.scale : v[i]) + bias[i]);
        v[i] += NORM_RESIDUAL ? (r[i] - norm.mean) * norm.scale * gamma[i] : r[i];
        v[i] = activate<kLastActivation>(v[i]);
      }
      const int y_row = row_of(pair, half);
      const bool inside = y_row < args.rows && column_inside;
      uint2 result = {pack<T>(v[0], v[1]), pack<T>(v[2], v[3])};
      if (kOfPairs) result = {gelu_f16x2(result.x), gelu_f16x2(result.y)};
      if (inside) *reinterpret_cast<uint2*>(static_cast<T*>(args.y) + y_index(y_row)) = result;
      if (MOMENTS) {
        const Moments m = join_lanes<kMomentsPanel / 4>(moments_of(v), 4);
        if (inside && quad % (kMomentsPanel / 4) == 0)
          static_cast<Moments*>(args.y_moments)[static_cast<int64_t>(y_row) * kPanels + y_column / kMomentsPanel] = m;
      }
    }
  }
}
