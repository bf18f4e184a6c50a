// Attention over packed rows by wgmma and TMA: head_dim 32, 64 or 128, any length, no bias and no positions.
//
// A block takes one head of a tile of packed query rows, 64 for each of its one or two warpgroups; blocks of keys and values
// are loaded ahead into a ring. As in attention_sm80.cu the tile meets its sequences one after the other: all rows attend
// to the sequence's keys, and the sequence's own rows are stored. Blocks share a multiprocessor, so that one computes
// probabilities while the other multiplies.
//
// Macros: ELEMENT, HEAD_DIM, KEYS (in a block of keys), STAGES (blocks of keys in the ring), ROWS (most per block of threads),
// BLOCKS (of threads, per multiprocessor).
#include "matrix.cuh"
#include "pdl.cuh"
#include "sequences.cuh"
#include "softmax.cuh"
#include "tma.cuh"
#include "wgmma_registers.cuh"

namespace {

using T = ELEMENT;

constexpr int kDim = HEAD_DIM, kKeys = KEYS, kStages = STAGES;
constexpr int kMostRows = ROWS;  // of a block: its threads are 2 per row
constexpr int kLag = 2 < kStages ? 2 : 1;  // blocks that a warpgroup may be ahead of the other
constexpr int kWarpRows = 16, kGroupRows = 64, kGroupThreads = 128;
constexpr int kRowBytes = kDim * 2 < 128 ? kDim * 2 : 128;  // of a panel: as many columns as one swizzled row holds
constexpr int kPanels = kDim * 2 / kRowBytes, kPanelColumns = kRowBytes / 2;
constexpr int kPanelBytes = kKeys * kRowBytes, kTileBytes = kPanels * kPanelBytes, kStageBytes = 2 * kTileBytes;
constexpr int kQueryBytes = kWarpRows * kDim * 2;  // of one warp
constexpr int kRowChunks = kDim / 8;               // of 16 bytes
constexpr int kBarrierBytes = 128;
static_assert(kStages * 16 <= kBarrierBytes, "barriers");

// Shared memory: the ring, barriers, the warps' query rows.
struct Ring {
  uint32_t base, barriers;

  TENON_DEVICE uint32_t keys(int slot) const { return base + slot * kStageBytes; }
  TENON_DEVICE uint32_t values(int slot) const { return keys(slot) + kTileBytes; }
  TENON_DEVICE uint32_t full(int slot) const { return barriers + slot * 16; }
  TENON_DEVICE uint32_t empty(int slot) const { return full(slot) + 8; }
};

// Where one side of the ring stands. Parities are of the phases that complete next.
struct Position {
  int slot = 0;
  uint32_t parity = 0;
  TENON_DEVICE void advance() {
    if (++slot == kStages) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// Fills the ring with all blocks of keys that the tile meets, in the order in which they are used. One thread of the block.
struct Loader {
  Position at;
  int sequence = -1, first = 0, end = 0;

  TENON_DEVICE void load_next(const MetSequences<kMostRows>& met, const Ring& ring, const TensorMap& k_map, const TensorMap& v_map,
                              int column) {
    while (first >= end) {
      if (sequence + 1 >= met.count) return;
      ++sequence;
      first = met.sequences[sequence].k_begin;
      end = met.sequences[sequence].k_end;
    }
    barrier_wait(ring.empty(at.slot), at.parity ^ 1);
    barrier_expect(ring.full(at.slot), kStageBytes);
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel) {
      const int panel_column = column + panel * kPanelColumns;
      load_box(ring.keys(at.slot) + panel * kPanelBytes, k_map, panel_column, first, ring.full(at.slot));
      load_box(ring.values(at.slot) + panel * kPanelBytes, v_map, panel_column, first, ring.full(at.slot));
    }
    first += kKeys;
    at.advance();
  }
};

// Byte address of a 16-byte chunk of a warp's 16 rows, permuted so that eight rows meet all banks.
TENON_DEVICE uint32_t chunk_address(uint32_t rows, int row, int chunk) {
  constexpr int kMixed = kRowChunks < 8 ? kRowChunks : 8;
  return rows + row * (kDim * 2) + (chunk ^ row * kMixed / 8 % kMixed) * 16;
}

// The 64 query rows of a warpgroup; this thread's are `lane / 4` and 8 further of its warp's 16.
struct Rows {
  uint32_t q[kDim / 16][4];
  float y[kDim / 2];
  RunningSoftmax softmax[2];

  // The warp's rows from `first` on, through `staging`. Rows behind the last repeat it.
  TENON_DEVICE void request(const T* q_head, int stride, int first, int rows, uint32_t staging) {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int i = lane; i < kWarpRows * kRowChunks; i += 32) {
      const int row = i / kRowChunks, chunk = i % kRowChunks;
      copy_async(chunk_address(staging, row, chunk), q_head + static_cast<int64_t>(min(first + row, rows - 1)) * stride + chunk * 8, true);
    }
    copy_async_commit();
  }
  TENON_DEVICE void receive(uint32_t staging) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    copy_async_wait<0>();
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) load_matrices(q[k], chunk_address(staging, lane % 16, 2 * k + lane / 16));
    __syncwarp();
  }

  TENON_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) y[i] = 0;
    softmax[0] = softmax[1] = RunningSoftmax();
  }

  TENON_DEVICE void multiply_keys(float (&scores)[kKeys / 2], uint32_t keys) {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      const uint32_t at = keys + k * 32 / kRowBytes * kPanelBytes + k * 32 % kRowBytes;
      WgmmaRegisters<T, kKeys, false>::multiply(scores, q[k], wgmma_rows<kRowBytes>(at), k > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
  }

  // Probabilities of a block, taken into the statistics, as fragments for add_values.
  TENON_DEVICE void absorb(float (&scores)[kKeys / 2], float unit, uint32_t (&p)[kKeys / 16][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float greatest = minus_infinity();
#pragma unroll
      for (int i = 2 * half; i < kKeys / 2; i += 4) greatest = fmaxf(greatest, fmaxf(scores[i], scores[i + 1]));
      const float factor = softmax[half].rise(quad_max(greatest), unit), reference = softmax[half].reference(unit);
#pragma unroll
      for (int i = 2 * half; i < kDim / 2; i += 4) {
        y[i] *= factor;
        y[i + 1] *= factor;
      }
#pragma unroll
      for (int i = 2 * half; i < kKeys / 2; i += 4) {
        const float low = exp2_approx(fmaf(scores[i], unit, -reference)), high = exp2_approx(fmaf(scores[i + 1], unit, -reference));
        softmax[half].sum += low + high;
        p[i / 8][i / 4 % 2 * 2 + half] = pack<T>(low, high);
      }
    }
  }

  TENON_DEVICE void add_values(const uint32_t (&p)[kKeys / 16][4], uint32_t values) {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      WgmmaRegisters<T, kDim, true>::multiply(y, p[k], wgmma_rows<kRowBytes>(values + k * 16 * kRowBytes, kPanelBytes), true);
    }
    wgmma_commit();
    wgmma_wait<0>();
  }

  // The warp's rows among [begin, end), through `staging` so that whole rows are written.
  TENON_DEVICE void store(T* y_head, int stride, int first, int begin, int end, uint32_t staging) const {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const float normalizer[2] = {softmax[0].normalizer(), softmax[1].normalizer()};
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t m[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = 8 * k + i / 2 * 4 + i % 2 * 2;
        m[i] = pack<T>(y[at] * normalizer[i % 2], y[at + 1] * normalizer[i % 2]);
      }
      store_matrices(chunk_address(staging, lane % 16, 2 * k + lane / 16), m);
    }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < kWarpRows * kRowChunks; i += 32) {
      const int row = i / kRowChunks, chunk = i % kRowChunks;
      if (first + row < begin || first + row >= end) continue;
      uint4 v;
      asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(chunk_address(staging, row, chunk)) : "memory");
      *reinterpret_cast<uint4*>(y_head + static_cast<int64_t>(first + row) * stride + chunk * 8) = v;
    }
    __syncwarp();
  }
};

// A block that reaches behind the sequence's last key: those scores vanish, and so do those values, which are the next
// sequence's or garbage (0 times NaN is NaN). Each warpgroup clears them for itself; both write the same zeros.
TENON_DEVICE void cut_off(float (&scores)[kKeys / 2], uint32_t values, int keys, int group) {
  const int column = static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    if (i / 4 * 8 + column + i % 2 >= keys) scores[i] = minus_infinity();
  }
  const int behind = (kKeys - keys) * (kRowBytes / 16);
  for (int i = static_cast<int>(threadIdx.x % kGroupThreads); i < behind * kPanels; i += kGroupThreads) {
    const uint32_t at = values + i / behind * kPanelBytes + keys * kRowBytes + i % behind * 16;
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
  }
  fence_async_shared();
  named_barrier(1 + group, kGroupThreads);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(2 * kMostRows, BLOCKS)
    attention(const AttentionArgs a, const __grid_constant__ TensorMap k_map, const __grid_constant__ TensorMap v_map) {
  extern __shared__ __align__(1024) unsigned char shared[];
  __shared__ MetSequences<kMostRows> met;
  const int warp = static_cast<int>(threadIdx.x) / 32, group = warp / 4, tile_rows = static_cast<int>(blockDim.x) / 2;
  const Ring ring{shared_address(shared), shared_address(shared) + kStages * kStageBytes};
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < kStages; ++slot) {
      barrier_init(ring.full(slot), 1);
      barrier_init(ring.empty(slot), blockDim.x / 32);
    }
    barrier_init_done();
    prefetch_map(k_map);
    prefetch_map(v_map);
  }
  allow_next_kernel();
  wait_for_previous_kernels();

  const int head = static_cast<int>(blockIdx.x), tile_begin = static_cast<int>(blockIdx.y) * tile_rows;
  const int group_begin = tile_begin + group * kGroupRows, group_end = min(group_begin + kGroupRows, a.q_rows);
  const int warp_begin = tile_begin + warp * kWarpRows, kv_column = head / a.group * kDim;
  const uint32_t staging = ring.barriers + kBarrierBytes + warp * kQueryBytes;
  Rows rows;
  rows.request(static_cast<const T*>(a.q) + static_cast<int64_t>(head) * kDim, a.q_stride, warp_begin, a.q_rows, staging);
  if (warp == 0) met.collect(a, tile_begin, min(tile_begin + tile_rows, a.q_rows));
  __syncthreads();

  Loader loader;
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < kStages; ++slot) loader.load_next(met, ring, k_map, v_map, kv_column);
  }
  __syncwarp();
  rows.receive(staging);
  const float unit = a.scale * kLog2E;
  T* const y_head = static_cast<T*>(a.y) + static_cast<int64_t>(head) * kDim;
  Position at;
  int done = 0;
  for (int i = 0; i < met.count; ++i) {
    const Sequence s = met.sequences[i];
    const bool concerned = s.q_begin < group_end && s.q_end > group_begin;
    rows.clear();
    for (int first = s.k_begin; first < s.k_end; first += kKeys, at.advance(), ++done) {
      // The slot before last, so that one warpgroup may lag behind the other.
      if (threadIdx.x == 0 && done >= kLag) loader.load_next(met, ring, k_map, v_map, kv_column);
      __syncwarp();
      barrier_wait(ring.full(at.slot), at.parity);
      if (concerned) {
        float scores[kKeys / 2];
        uint32_t p[kKeys / 16][4];
        rows.multiply_keys(scores, ring.keys(at.slot));
        if (first + kKeys > s.k_end) cut_off(scores, ring.values(at.slot), s.k_end - first, group);
        rows.absorb(scores, unit, p);
        rows.add_values(p, ring.values(at.slot));
      }
      if (threadIdx.x % 32 == 0) barrier_arrive(ring.empty(at.slot));
    }
    if (concerned) rows.store(y_head, a.y_stride, warp_begin, max(s.q_begin, group_begin), min(s.q_end, group_end), staging);
  }
  if (met.first_row > group_begin || met.last_row < group_end) {  // rows of no sequence
    rows.clear();
    rows.store(y_head, a.y_stride, warp_begin, group_begin, min(met.first_row, group_end), staging);
    rows.store(y_head, a.y_stride, warp_begin, max(met.last_row, group_begin), group_end, staging);
  }
}
