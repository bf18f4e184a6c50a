// Attention over packed rows by wgmma and TMA: head_dim 32, 64 or 128, any length, no bias and no positions.
//
// A tile is one head of 64 packed query rows, whatever sequences they belong to. As in attention_sm80.cu it meets those
// one after the other: all its rows attend to the sequence's keys, and the sequence's own rows are stored. A block of
// threads does many tiles: one warp finds the tile's sequences and loads its queries and, block by block, its keys and
// values into rings, up to a tile ahead; a warpgroup computes. Blocks of threads share a multiprocessor, so that one
// makes probabilities while another multiplies.
//
// Macros: ELEMENT, HEAD_DIM, KEYS (in a block of keys), STAGES (blocks of keys in the ring), BLOCKS (of threads, per
// multiprocessor).
#include "matrix.cuh"
#include "pdl.cuh"
#include "sequences.cuh"
#include "softmax.cuh"
#include "tma.cuh"
#include "wgmma_registers.cuh"

namespace {

using T = ELEMENT;

constexpr int kDim = HEAD_DIM, kKeys = KEYS, kStages = STAGES;
constexpr int kRows = 64, kWarpRows = 16, kWarps = kRows / kWarpRows, kComputing = 32 * kWarps,
              kThreads = kComputing + 32;
constexpr int kRowBytes = kDim * 2 < 128 ? kDim * 2 : 128;  // of a panel: as many columns as one swizzled row holds
constexpr int kPanels = kDim * 2 / kRowBytes, kPanelColumns = kRowBytes / 2;
constexpr int kPanelBytes = kKeys * kRowBytes, kTileBytes = kPanels * kPanelBytes, kStageBytes = 2 * kTileBytes;
constexpr int kQueryPanelBytes = kRows * kRowBytes, kQueryBytes = kPanels * kQueryPanelBytes;
constexpr int kChunks = kDim / 8, kPanelChunks = kRowBytes / 16;  // of 16 bytes in a row

// Where one side of a ring stands.
template <int kSlots>
struct Position {
  int slot = 0;
  uint32_t parity = 0;
  TENON_DEVICE void advance() {
    if (++slot == kSlots) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// Shared memory. A slot of queries comes with the sequences that they meet, and holds the tile's results at its end.
constexpr int kQuerySlots = 2;
struct Shared {
  alignas(1024) unsigned char blocks[kStages][kStageBytes];
  alignas(1024) unsigned char queries[kQuerySlots][kQueryBytes];
  MetSequences<kRows> met[kQuerySlots];
  alignas(8) uint64_t block_full[kStages], block_empty[kStages], queries_full[kQuerySlots], queries_empty[kQuerySlots];

  TENON_DEVICE uint32_t keys(int slot) const { return shared_address(blocks[slot]); }
  TENON_DEVICE uint32_t values(int slot) const { return keys(slot) + kTileBytes; }
};

struct Maps {
  const TensorMap &q, &k, &v;
};

struct Tile {
  int head, begin, end;
  TENON_DEVICE Tile(const AttentionArgs& a, int index)
      : head(index % a.heads), begin(index / a.heads * kRows), end(min(begin + kRows, a.q_rows)) {}
};

// The loading warp's part of a tile.
struct Loader {
  Position<kStages> at;

  TENON_DEVICE void load(const AttentionArgs& a, const Tile& tile, Shared& shared, int query_slot, const Maps& maps) {
    MetSequences<kRows>& met = shared.met[query_slot];
    met.collect(a, tile.begin, tile.end);
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      const uint32_t full = shared_address(&shared.queries_full[query_slot]),
                     queries = shared_address(shared.queries[query_slot]);
      barrier_expect(full, kQueryBytes);
#pragma unroll
      for (int panel = 0; panel < kPanels; ++panel) {
        load_box(queries + panel * kQueryPanelBytes, maps.q, tile.head * kDim + panel * kPanelColumns, tile.begin,
                 full);
      }
      for (int i = 0; i < met.count; ++i) {
        for (int first = met.sequences[i].k_begin; first < met.sequences[i].k_end; first += kKeys) {
          load_block(shared, maps, tile.head / a.group * kDim, first);
        }
      }
    }
    __syncwarp();
  }

 private:
  TENON_DEVICE void load_block(Shared& shared, const Maps& maps, int column, int first) {
    const uint32_t full = shared_address(&shared.block_full[at.slot]);
    barrier_wait(shared_address(&shared.block_empty[at.slot]), at.parity ^ 1);
    barrier_expect(full, kStageBytes);
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel) {
      load_box(shared.keys(at.slot) + panel * kPanelBytes, maps.k, column + panel * kPanelColumns, first, full);
      load_box(shared.values(at.slot) + panel * kPanelBytes, maps.v, column + panel * kPanelColumns, first, full);
    }
    at.advance();
  }
};

// Byte address of a 16-byte chunk of a row of queries, swizzled as TMA does.
TENON_DEVICE uint32_t chunk_address(uint32_t queries, int row, int chunk) {
  const int column = chunk % kPanelChunks ^ row * kPanelChunks / 8 % kPanelChunks;
  return queries + chunk / kPanelChunks * kQueryPanelBytes + row * kRowBytes + column * 16;
}

// The thread's index in its block, opaque: what is computed from it is not hoisted out of loops, where it would take
// registers.
TENON_DEVICE int thread_here() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}

TENON_DEVICE uint4 load_shared(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
  return v;
}

// The 64 query rows of the warpgroup; this thread's are `lane / 4` and 8 further of its warp's 16.
struct Rows {
  uint32_t q[kDim / 16][4];
  float y[kDim / 2];
  RunningSoftmax softmax[2];

  TENON_DEVICE void load(uint32_t queries) {
    const int row = static_cast<int>(threadIdx.x / 32 * kWarpRows + threadIdx.x % 16),
              odd = static_cast<int>(threadIdx.x % 32 / 16);
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) load_matrices(q[k], chunk_address(queries, row, 2 * k + odd));
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
    wgmma_result(scores);
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
        const float low = exp2_approx(fmaf(scores[i], unit, -reference)),
                    high = exp2_approx(fmaf(scores[i + 1], unit, -reference));
        softmax[half].sum += low + high;
        p[i / 8][i / 4 % 2 * 2 + half] = pack<T>(low, high);
      }
    }
  }

  TENON_DEVICE void add_values(const uint32_t (&p)[kKeys / 16][4], uint32_t values) {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      WgmmaRegisters<T, kDim, true>::multiply(y, p[k], wgmma_rows<kRowBytes>(values + k * 16 * kRowBytes, kPanelBytes),
                                              true);
    }
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_result(y);
  }

  // Rows [begin, end) of the tile, through the shared memory of its queries so that whole rows are written.
  TENON_DEVICE void store(T* y_tile, int stride, int begin, int end, uint32_t queries) const {
    const int thread = thread_here(), lane = thread % 32, warp_row = thread / 32 * kWarpRows;
    const float normalizer[2] = {softmax[0].normalizer(), softmax[1].normalizer()};
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t m[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = 8 * k + i / 2 * 4 + i % 2 * 2;
        m[i] = pack<T>(y[at] * normalizer[i % 2], y[at + 1] * normalizer[i % 2]);
      }
      store_matrices(chunk_address(queries, warp_row + lane % 16, 2 * k + lane / 16), m);
    }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < kWarpRows * kChunks; i += 32) {
      const int row = warp_row + i / kChunks, chunk = i % kChunks;
      if (row >= begin && row < end) {
        *reinterpret_cast<uint4*>(y_tile + static_cast<int64_t>(row) * stride + chunk * 8) =
            load_shared(chunk_address(queries, row, chunk));
      }
    }
  }
};

// A block that reaches behind the sequence's last key: those scores vanish, and so do those values, which are the next
// sequence's or garbage (0 times NaN is NaN).
TENON_DEVICE void cut_off(float (&scores)[kKeys / 2], uint32_t values, int keys) {
  const int thread = thread_here(), column = thread % 4 * 2;
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    if (i / 4 * 8 + column + i % 2 >= keys) scores[i] = minus_infinity();
  }
  const int behind = (kKeys - keys) * (kRowBytes / 16);
  for (int i = thread; i < behind * kPanels; i += kComputing) {
    const uint32_t at = values + i / behind * kPanelBytes + keys * kRowBytes + i % behind * 16;
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
  }
  fence_async_shared();
  named_barrier(1, kComputing);
}

// The computing warpgroup's part of a tile.
TENON_DEVICE void compute(const AttentionArgs& a, const Tile& tile, Shared& shared, int query_slot,
                          Position<kStages>& at) {
  const uint32_t queries = shared_address(shared.queries[query_slot]);
  const MetSequences<kRows>& met = shared.met[query_slot];
  T* const y_tile = static_cast<T*>(a.y) + static_cast<int64_t>(tile.begin) * a.y_stride + tile.head * kDim;
  const float unit = a.scale * kLog2E;
  Rows rows;
  rows.load(queries);
  for (int i = 0; i < met.count; ++i) {
    const Sequence s = met.sequences[i];
    rows.clear();
    for (int first = s.k_begin; first < s.k_end; first += kKeys, at.advance()) {
      float scores[kKeys / 2];
      uint32_t p[kKeys / 16][4];
      barrier_wait(shared_address(&shared.block_full[at.slot]), at.parity);
      rows.multiply_keys(scores, shared.keys(at.slot));
      if (first + kKeys > s.k_end) cut_off(scores, shared.values(at.slot), s.k_end - first);
      rows.absorb(scores, unit, p);
      rows.add_values(p, shared.values(at.slot));
      if (threadIdx.x % 32 == 0) barrier_arrive(shared_address(&shared.block_empty[at.slot]));
    }
    rows.store(y_tile, a.y_stride, s.q_begin - tile.begin, min(s.q_end, tile.end) - tile.begin, queries);
  }
  if (met.first_row > tile.begin || met.last_row < tile.end) {  // rows of no sequence
    rows.clear();
    rows.store(y_tile, a.y_stride, 0, met.first_row - tile.begin, queries);
    rows.store(y_tile, a.y_stride, met.last_row - tile.begin, tile.end - tile.begin, queries);
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS)
    attention(const AttentionArgs a, const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap k_map,
              const __grid_constant__ TensorMap v_map) {
  extern __shared__ __align__(1024) unsigned char dynamic[];
  Shared& shared = *reinterpret_cast<Shared*>(dynamic);
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < kStages; ++slot) {
      barrier_init(shared_address(&shared.block_full[slot]), 1);
      barrier_init(shared_address(&shared.block_empty[slot]), kWarps);
    }
    for (int slot = 0; slot < kQuerySlots; ++slot) {
      barrier_init(shared_address(&shared.queries_full[slot]), 1);
      barrier_init(shared_address(&shared.queries_empty[slot]), kWarps);
    }
    barrier_init_done();
    prefetch_map(q_map);
    prefetch_map(k_map);
    prefetch_map(v_map);
  }
  __syncthreads();
  allow_next_kernel();
  wait_for_previous_kernels();

  const bool loads = threadIdx.x >= kComputing;
  Loader loader;
  Position<kStages> block;
  Position<kQuerySlots> query;
  const int tiles = (a.q_rows + kRows - 1) / kRows * a.heads;
  for (int i = static_cast<int>(blockIdx.x); i < tiles; i += static_cast<int>(gridDim.x), query.advance()) {
    const Tile tile(a, i);
    if (loads) {
      barrier_wait(shared_address(&shared.queries_empty[query.slot]), query.parity ^ 1);
      loader.load(a, tile, shared, query.slot, {q_map, k_map, v_map});
    } else {
      barrier_wait(shared_address(&shared.queries_full[query.slot]), query.parity);
      compute(a, tile, shared, query.slot, block);
      fence_async_shared();  // results were staged where the next queries arrive
      __syncwarp();
      if (threadIdx.x % 32 == 0) barrier_arrive(shared_address(&shared.queries_empty[query.slot]));
    }
  }
}
