// Attention over packed rows by wgmma and TMA: head_dim 32, 64, 96 or 128, any length, no bias and no positions.
//
// A tile is one head of GROUPS * 64 packed query rows, whatever sequences they belong to; each warpgroup computes 64 of
// them. As in attention_sm80.cu a warpgroup meets its sequences one after the other: all its rows attend to the
// sequence's keys, and the sequence's own rows are stored. A block of threads does many tiles: one warp finds the
// tile's sequences and loads its queries and, block by block, its keys and values into rings, as far ahead as these
// reach. The warpgroups share what is loaded, each at its own pace. While one makes probabilities, its own product with
// the values of the block before and those of the other warpgroups run.
//
// Macros: ELEMENT, HEAD_DIM, KEYS (in a block of keys), STAGES (blocks of keys in the ring), GROUPS (warpgroups that
// compute), REGISTERS (of a thread at the launch).
#include "matrix.cuh"
#include "pdl.cuh"
#include "registers.cuh"
#include "ring.cuh"
#include "sequences.cuh"
#include "softmax.cuh"
#include "tma.cuh"
#include "wgmma_registers.cuh"

namespace {

using T = ELEMENT;

constexpr int kDim = HEAD_DIM, kKeys = KEYS, kStages = STAGES, kGroups = GROUPS;
constexpr int kGroupRows = 64, kWarpRows = 16, kGroupThreads = 128;
constexpr int kRows = kGroups * kGroupRows, kWarps = kRows / kWarpRows, kComputing = kGroups * kGroupThreads;
constexpr int kRowBytes = kDim % 64 == 0 ? 128 : 64;  // of a panel: as many columns as one swizzled row holds
constexpr int kPanels = kDim * 2 / kRowBytes, kPanelColumns = kRowBytes / 2;
constexpr int kPanelBytes = kKeys * kRowBytes, kTileBytes = kPanels * kPanelBytes, kStageBytes = 2 * kTileBytes;
constexpr int kQueryPanelBytes = kRows * kRowBytes, kQueryBytes = kPanels * kQueryPanelBytes;
constexpr int kChunks = kDim / 8, kPanelChunks = kRowBytes / 16;  // of 16 bytes in a row
constexpr unsigned kAllLanes = 0xffffffffu;

// Of one more group a warp loads, and its other warps end at once: it hands most of its registers on.
constexpr int kLoadingRegisters = 32;
constexpr int kLeftRegisters = (REGISTERS * (kGroups + 1) - kLoadingRegisters) / kGroups / 8 * 8;
constexpr int kComputingRegisters = kLeftRegisters < 240 ? kLeftRegisters : 240;
// As many threads would fill a multiprocessor: this bound keeps the compiler to REGISTERS.
constexpr int kMostThreads = 65536 / REGISTERS / kGroupThreads * kGroupThreads;

// Shared memory. Queries move to registers at once, so their slots run ahead of the sequences that they meet: these are
// read until the tile's end, when the queries of the tile after the next may be on their way.
constexpr int kQuerySlots = 2, kMetSlots = 3;
struct Shared {
  alignas(1024) unsigned char blocks[kStages][kStageBytes];
  alignas(1024) unsigned char queries[kQuerySlots][kQueryBytes];
  alignas(1024) unsigned char results[kQueryBytes];
  MetSequences<kRows> met[kMetSlots];
  alignas(8) uint64_t block_full[kStages], block_empty[kStages], queries_full[kQuerySlots], queries_empty[kQuerySlots];

  TENON_DEVICE uint32_t keys(int slot) const { return shared_address(blocks) + slot * kStageBytes; }
  TENON_DEVICE uint32_t values(int slot) const { return keys(slot) + kTileBytes; }
};

struct Tile {
  int head, begin, end;
  TENON_DEVICE Tile(const AttentionArgs& a, int index)
      : head(index % a.heads), begin(index / a.heads * kRows), end(min(begin + kRows, a.q_rows)) {}
  // 16 bytes of a row of results.
  TENON_DEVICE uint4* chunk(const AttentionArgs& a, int row, int chunk) const {
    T* const y_row = static_cast<T*>(a.y) + static_cast<int64_t>(begin + row) * a.y_stride;
    return reinterpret_cast<uint4*>(y_row + head * kDim + chunk * 8);
  }
};

// The loading warp.
struct Loader {
  const TensorMap &q, &k, &v;
  Position<kQuerySlots> query;
  Position<kMetSlots> met;
  Position<kStages> block;

  TENON_DEVICE void load(const AttentionArgs& a, const Tile& tile, Shared& shared) {
    const bool issues = threadIdx.x % 32 == 0;
    const uint32_t full = shared_address(&shared.queries_full[query.slot]);
    barrier_wait_long(shared_address(&shared.queries_empty[query.slot]), query.parity ^ 1);
    if (issues) {
      barrier_expect(full, kQueryBytes);
#pragma unroll
      for (int panel = 0; panel < kPanels; ++panel) {
        load_box(shared_address(shared.queries[query.slot]) + panel * kQueryPanelBytes, q,
                 tile.head * kDim + panel * kPanelColumns, tile.begin, full);
      }
    }
    __syncwarp();
    MetSequences<kRows>& sequences = shared.met[met.slot];
    sequences.collect(a, tile.begin, tile.end);
    barrier_arrive(full);  // every lane, which may have written a sequence
    __syncwarp();
    if (issues) {
      for (int i = 0; i < sequences.count; ++i) {
        const Sequence& s = sequences.sequences[i];
        for (int first = s.k_begin; first < s.k_end; first += kKeys) {
          load_block(shared, tile.head / a.group * kDim, first);
        }
      }
    }
    __syncwarp();
    query.advance();
    met.advance();
  }

 private:
  TENON_DEVICE void load_block(Shared& shared, int column, int first) {
    const uint32_t full = shared_address(&shared.block_full[block.slot]);
    barrier_wait_long(shared_address(&shared.block_empty[block.slot]), block.parity ^ 1);
    barrier_expect(full, kStageBytes);
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel) {
      load_box(shared.keys(block.slot) + panel * kPanelBytes, k, column + panel * kPanelColumns, first, full);
      load_box(shared.values(block.slot) + panel * kPanelBytes, v, column + panel * kPanelColumns, first, full);
    }
    block.advance();
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

using Operand = WgmmaRows<kRowBytes>;  // a block's keys or values

// The 64 query rows of a warpgroup; this thread's are `lane / 4` and 8 further of its warp's 16.
//
// Probabilities are measured against a reference that lags behind the greatest score: it is raised only by scores that
// exceed it by a factor of 2^8, which neither overflows nor loses precision. So a block's probabilities need not wait
// for its greatest score.
struct Rows {
  uint32_t q[kDim / 16][4];
  float y[kDim / 2];
  float reference[2], sum[2];
  float unit;  // scores times this are in units of log 2

  TENON_DEVICE void load(uint32_t queries) {
    const int row = static_cast<int>(threadIdx.x / 32 * kWarpRows + threadIdx.x % 16),
              odd = static_cast<int>(threadIdx.x % 32 / 16);
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) load_matrices(q[k], chunk_address(queries, row, 2 * k + odd));
  }

  TENON_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) y[i] = 0;
    sum[0] = sum[1] = 0;
  }

  // Begins the product with a block of keys.
  TENON_DEVICE void multiply_keys(float (&scores)[kKeys / 2], const Operand& keys) {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      const int bytes = k * 32 / kRowBytes * kPanelBytes + k * 32 % kRowBytes;
      WgmmaRegisters<T, kKeys, false>::multiply(scores, q[k], (keys + bytes).descriptor(), k > 0);
    }
    wgmma_commit();
  }

  // Begins to add the values of a block, weighted with its probabilities.
  TENON_DEVICE void add_values(const uint32_t (&p)[kKeys / 16][4], const Operand& values) {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      WgmmaRegisters<T, kDim, true>::multiply(y, p[k], (values + k * 16 * kRowBytes).descriptor(), true);
    }
    wgmma_commit();
  }

  // Probabilities, as fragments for add_values, of the first block of keys that a sequence's rows meet.
  TENON_DEVICE void absorb_first(const float (&scores)[kKeys / 2], uint32_t (&p)[kKeys / 16][4]) {
    float sums[4] = {}, probabilities[kKeys / 2];
    own_greatest(scores, reference);
    share_greatest(reference, 1);
    share_greatest(reference, 2);
    exponentials<0, kKeys>(scores, probabilities, sums);
    round(probabilities, p);
    sum[0] = sums[0] + sums[2];
    sum[1] = sums[1] + sums[3];
  }

  // The same for a further block, while the values of the block before are still being added: waits for them.
  TENON_DEVICE void absorb(const float (&scores)[kKeys / 2], uint32_t (&p)[kKeys / 16][4]) {
    float sums[4] = {}, greatest[2], probabilities[kKeys / 2];
    own_greatest(scores, greatest);
    exponentials<0, kKeys / 4>(scores, probabilities, sums);
    share_greatest(greatest, 1);
    exponentials<kKeys / 4, kKeys / 2>(scores, probabilities, sums);
    share_greatest(greatest, 2);
    wgmma_wait<0>();
    wgmma_result(y);
    if (__any_sync(kAllLanes, exceeds(greatest, 0) || exceeds(greatest, 1))) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {  // rows that stay below keep their reference, and every bit
        if (exceeds(greatest, half)) raise(half, greatest[half]);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[i] = 0;
      exponentials<0, kKeys / 2>(scores, probabilities, sums);
    }
    exponentials<kKeys / 2, kKeys>(scores, probabilities, sums);
    round(probabilities, p);
    sum[0] += sums[0] + sums[2];
    sum[1] += sums[1] + sums[3];
  }

  // Stores rows [begin, end) of the tile, of the warp's 16, through shared memory so that whole rows are written.
  TENON_DEVICE void store(const AttentionArgs& a, const Tile& tile, int begin, int end, uint32_t results,
                          const TensorMap& map) const {
    const int thread = thread_here(), lane = thread % 32, warp_row = thread / 32 * kWarpRows;
    const float factor[2] = {normalizer(0), normalizer(1)};
    if (lane == 0) wait_stores_read();  // of what was stored before
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t m[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = 8 * k + i / 2 * 4 + i % 2 * 2;
        m[i] = pack<T>(y[at] * factor[i % 2], y[at + 1] * factor[i % 2]);
      }
      store_matrices(chunk_address(results, warp_row + lane % 16, 2 * k + lane / 16), m);
    }
    fence_async_shared();
    __syncwarp();
    if (begin <= warp_row && end >= warp_row + kWarpRows) {
      if (lane == 0) {
#pragma unroll
        for (int panel = 0; panel < kPanels; ++panel) {
          store_box(map, results + panel * kQueryPanelBytes + warp_row * kRowBytes,
                    tile.head * kDim + panel * kPanelColumns, tile.begin + warp_row);
        }
        commit_stores();
      }
    } else {
#pragma unroll 1
      for (int i = lane; i < kWarpRows * kChunks; i += 32) {
        const int row = warp_row + i / kChunks, chunk = i % kChunks;
        if (row >= begin && row < end) *tile.chunk(a, row, chunk) = load_shared(chunk_address(results, row, chunk));
      }
      __syncwarp();
    }
  }

 private:
  TENON_DEVICE static void own_greatest(const float (&scores)[kKeys / 2], float (&greatest)[2]) {
    float parts[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) parts[i] = fmaxf(scores[2 * i], scores[2 * i + 1]);
#pragma unroll
    for (int i = 4; i < kKeys / 4; ++i) parts[i % 4] = fmaxf(parts[i % 4], fmaxf(scores[2 * i], scores[2 * i + 1]));
    greatest[0] = fmaxf(parts[0], parts[2]);
    greatest[1] = fmaxf(parts[1], parts[3]);
  }
  // With the lane `step` away. After steps 1 and 2 the quad agrees.
  TENON_DEVICE static void share_greatest(float (&greatest)[2], int step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      greatest[half] = fmaxf(greatest[half], __shfl_xor_sync(kAllLanes, greatest[half], step));
    }
  }

  // Of the scores of keys kFirst to kEnd.
  template <int kFirst, int kEnd>
  TENON_DEVICE void exponentials(const float (&scores)[kKeys / 2], float (&p)[kKeys / 2], float (&sums)[4]) const {
    const float references[2] = {reference[0] * unit, reference[1] * unit};
#pragma unroll
    for (int i = kFirst / 2; i < kEnd / 2; ++i) {
      p[i] = exp2_approx(fmaf(scores[i], unit, -references[i / 2 % 2]));
      sums[i / 2 % 4] += p[i];
    }
  }
  TENON_DEVICE static void round(const float (&p)[kKeys / 2], uint32_t (&fragments)[kKeys / 16][4]) {
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) fragments[i / 4][i % 4] = pack<T>(p[2 * i], p[2 * i + 1]);
  }

  TENON_DEVICE bool exceeds(const float (&greatest)[2], int half) const {
    constexpr float kMostRise = 8;
    return (greatest[half] - reference[half]) * unit > kMostRise;
  }
  TENON_DEVICE void raise(int half, float greatest) {
    const float factor = exp2_approx((reference[half] - greatest) * unit);
    reference[half] = greatest;
    sum[half] *= factor;
#pragma unroll
    for (int i = 2 * half; i < kDim / 2; i += 4) {
      y[i] *= factor;
      y[i + 1] *= factor;
    }
  }
  // 0 without a key, so that such rows become zeros.
  TENON_DEVICE float normalizer(int half) const {
    const float total = quad_sum(sum[half]);
    return total == 0.0f ? 0.0f : reciprocal_approx(total);
  }
};

// A block that reaches behind the sequence's last key: those scores vanish, and so do those values, which are the next
// sequence's or garbage (0 times NaN is NaN). Every warpgroup writes the zeros that it relies on.
TENON_DEVICE void cut_off(float (&scores)[kKeys / 2], uint32_t values, int keys) {
  const int thread = thread_here(), column = thread % 4 * 2;
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    if (i / 4 * 8 + column + i % 2 >= keys) scores[i] = minus_infinity();
  }
#pragma unroll
  for (int panel = 0; panel < kPanels; ++panel) {
    const uint32_t begin = values + panel * kPanelBytes;
#pragma unroll 1
    for (int byte = keys * kRowBytes + thread % kGroupThreads * 16; byte < kPanelBytes; byte += kGroupThreads * 16) {
      asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(begin + byte), "r"(0) : "memory");
    }
  }
  fence_async_shared();
  named_barrier(1 + thread / kGroupThreads, kGroupThreads);
}

// A computing warp.
struct Computer {
  const TensorMap& y;
  Position<kQuerySlots> query;
  Position<kMetSlots> met;
  Position<kStages> block;

  // The warpgroup's part of a tile.
  TENON_DEVICE void compute(const AttentionArgs& a, const Tile& tile, Shared& shared) {
    Rows rows;
    rows.unit = a.scale * kLog2E;
    barrier_wait(shared_address(&shared.queries_full[query.slot]), query.parity);
    rows.load(shared_address(shared.queries[query.slot]));
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(shared_address(&shared.queries_empty[query.slot]));

    const MetSequences<kRows>& sequences = shared.met[met.slot];
    const int group_begin = tile.begin + static_cast<int>(threadIdx.x) / kGroupThreads * kGroupRows;
    for (int i = 0; i < sequences.count; ++i) {
      const Sequence s = sequences.sequences[i];
      if (s.q_begin < group_begin + kGroupRows && s.q_end > group_begin) {
        rows.clear();
        if (s.k_begin < s.k_end) attend(rows, shared, s);
        rows.store(a, tile, s.q_begin - tile.begin, min(s.q_end, tile.end) - tile.begin, shared_address(shared.results),
                   y);
      } else {
        skip(shared, s);
      }
    }
    clear_rows(a, tile, 0, sequences.first_row - tile.begin);
    clear_rows(a, tile, sequences.last_row - tile.begin, tile.end - tile.begin);
    query.advance();
    met.advance();
  }

 private:
  TENON_DEVICE void attend(Rows& rows, Shared& shared, const Sequence& s) {
    const Operand keys(shared.keys(0)), values(shared.values(0), kPanelBytes);  // of slot 0
    float scores[kKeys / 2];
    uint32_t p[kKeys / 16][4];
    barrier_wait(shared_address(&shared.block_full[block.slot]), block.parity);
    rows.multiply_keys(scores, keys + block.slot * kStageBytes);
    wgmma_wait<0>();
    wgmma_result(scores);
    if (s.k_begin + kKeys > s.k_end) cut_off(scores, shared.values(block.slot), s.k_end - s.k_begin);
    rows.absorb_first(scores, p);
    for (int first = s.k_begin + kKeys; first < s.k_end; first += kKeys) {
      Position<kStages> next = block;
      next.advance();
      barrier_wait(shared_address(&shared.block_full[next.slot]), next.parity);
      rows.multiply_keys(scores, keys + next.slot * kStageBytes);
      rows.add_values(p, values + block.slot * kStageBytes);
      wgmma_wait<1>();
      wgmma_result(scores);
      if (first + kKeys > s.k_end) cut_off(scores, shared.values(next.slot), s.k_end - first);
      rows.absorb(scores, p);
      give_back(shared);
    }
    rows.add_values(p, values + block.slot * kStageBytes);
    wgmma_wait<0>();
    wgmma_result(rows.y);
    give_back(shared);
  }

  // A sequence of other warpgroups' rows.
  TENON_DEVICE void skip(Shared& shared, const Sequence& s) {
    for (int first = s.k_begin; first < s.k_end; first += kKeys) {
      barrier_wait(shared_address(&shared.block_full[block.slot]), block.parity);
      give_back(shared);
    }
  }

  TENON_DEVICE void give_back(Shared& shared) {
    if (threadIdx.x % 32 == 0) barrier_arrive(shared_address(&shared.block_empty[block.slot]));
    block.advance();
  }

  // Rows of no sequence.
  TENON_DEVICE static void clear_rows(const AttentionArgs& a, const Tile& tile, int begin, int end) {
#pragma unroll 1
    for (int i = begin * kChunks + static_cast<int>(threadIdx.x); i < end * kChunks; i += kComputing) {
      *tile.chunk(a, i / kChunks, i % kChunks) = {};
    }
  }
};

}  // namespace

extern "C" __global__ void __launch_bounds__(kMostThreads, 1)
    attention(const AttentionArgs a, const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap k_map,
              const __grid_constant__ TensorMap v_map, const __grid_constant__ TensorMap y_map) {
  extern __shared__ __align__(1024) unsigned char dynamic[];
  Shared& shared = *reinterpret_cast<Shared*>(dynamic);
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < kStages; ++slot) {
      barrier_init(shared_address(&shared.block_full[slot]), 1);
      barrier_init(shared_address(&shared.block_empty[slot]), kWarps);
    }
    for (int slot = 0; slot < kQuerySlots; ++slot) {
      barrier_init(shared_address(&shared.queries_full[slot]), 1 + 32);  // the queries; sequences from all lanes
      barrier_init(shared_address(&shared.queries_empty[slot]), kWarps);
    }
    barrier_init_done();
    prefetch_map(q_map);
    prefetch_map(k_map);
    prefetch_map(v_map);
    prefetch_map(y_map);
  }
  __syncthreads();
  allow_next_kernel();
  wait_for_previous_kernels();

  const int tiles = (a.q_rows + kRows - 1) / kRows * a.heads;
  if (threadIdx.x >= kComputing) {
    release_registers<kLoadingRegisters>();
    if (threadIdx.x >= kComputing + 32) return;
    Loader loader = {q_map, k_map, v_map};
    for (int i = static_cast<int>(blockIdx.x); i < tiles; i += static_cast<int>(gridDim.x)) {
      loader.load(a, Tile(a, a.backwards ? tiles - 1 - i : i), shared);
    }
  } else {
    take_registers<kComputingRegisters>();
    Computer computer = {y_map};
    for (int i = static_cast<int>(blockIdx.x); i < tiles; i += static_cast<int>(gridDim.x)) {
      computer.compute(a, Tile(a, a.backwards ? tiles - 1 - i : i), shared);
    }
    if (threadIdx.x % 32 == 0) wait_stores_read();  // shared memory stays until the results are read from it
  }
}
