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
#include "attention_rows.cuh"
#include "matrix.cuh"
#include "pdl.cuh"
#include "registers.cuh"
#include "ring.cuh"
#include "sequences.cuh"
#include "tma.cuh"

namespace {

using T = ELEMENT;

constexpr int kDim = HEAD_DIM, kKeys = KEYS, kStages = STAGES, kGroups = GROUPS;
constexpr int kGroupRows = 64, kWarpRows = 16, kGroupThreads = 128;
constexpr int kRows = kGroups * kGroupRows, kWarps = kRows / kWarpRows, kComputing = kGroups * kGroupThreads;
constexpr int kRowBytes = AttentionRows<T, kDim, kKeys>::kRowBytes;  // of a panel: as many columns as one swizzled row holds
constexpr int kPanels = kDim * 2 / kRowBytes, kPanelColumns = kRowBytes / 2;
constexpr int kPanelBytes = kKeys * kRowBytes, kTileBytes = kPanels * kPanelBytes, kStageBytes = 2 * kTileBytes;
constexpr int kQueryPanelBytes = kRows * kRowBytes, kQueryBytes = kPanels * kQueryPanelBytes;
constexpr int kChunks = kDim / 8, kPanelChunks = kRowBytes / 16;  // of 16 bytes in a row

// Of one more group a warp loads, and its other warps end at once: it hands most of its registers on.
constexpr int kLoadingRegisters = 32;
constexpr int kLeftRegisters = (REGISTERS * (kGroups + 1) - kLoadingRegisters) / kGroups / 8 * 8;
constexpr int kComputingRegisters = kLeftRegisters < 240 ? kLeftRegisters : 240;
// As many threads would fill a multiprocessor: this bound keeps the compiler to REGISTERS.
constexpr int kMostThreads = 65536 / REGISTERS / kGroupThreads * kGroupThreads;

// Shared memory. Queries move to registers at once, so their slots run ahead of the sequences that they meet, which are
// read until the tile's end.
constexpr int kQuerySlots = 2, kMetSlots = 3;
struct Shared {
  alignas(1024) unsigned char blocks[kStages][kStageBytes];
  alignas(1024) unsigned char queries[kQuerySlots][kQueryBytes];
  alignas(1024) unsigned char results[kQueryBytes];
  MetSequences<kRows> met[kMetSlots];
  alignas(8) uint64_t block_full[kStages], block_empty[kStages], queries_full[kQuerySlots], queries_empty[kQuerySlots],
      met_empty[kMetSlots];

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
    barrier_wait_long(shared_address(&shared.met_empty[met.slot]), met.parity ^ 1);
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

TENON_DEVICE uint4 load_shared(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
  return v;
}

using Rows = AttentionRows<T, kDim, kKeys>;
using Operand = Rows::Operand;

TENON_DEVICE void load_queries(Rows& rows, uint32_t queries) {
  const int row = static_cast<int>(threadIdx.x / 32 * kWarpRows + threadIdx.x % 16),
            odd = static_cast<int>(threadIdx.x % 32 / 16);
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) load_matrices(rows.q[k], chunk_address(queries, row, 2 * k + odd));
}

// Stores rows [begin, end) of the tile, of the warp's 16, through shared memory so that whole rows are written.
TENON_DEVICE void store_rows(const Rows& rows, const AttentionArgs& a, const Tile& tile, int begin, int end,
                             uint32_t results, const TensorMap& map) {
  const int thread = thread_here(), lane = thread % 32, warp_row = uniform(thread / 32) * kWarpRows;
  uint32_t m[kDim / 16][4];
  rows.results(m);
  if (lane == 0) wait_stores_read();  // of what was stored before
  __syncwarp();
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    store_matrices(chunk_address(results, warp_row + lane % 16, 2 * k + lane / 16), m[k]);
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
    load_queries(rows, shared_address(shared.queries[query.slot]));
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(shared_address(&shared.queries_empty[query.slot]));

    const MetSequences<kRows>& sequences = shared.met[met.slot];
    const int group_begin = tile.begin + uniform(static_cast<int>(threadIdx.x) / kGroupThreads) * kGroupRows;
    for (int i = 0, count = uniform(sequences.count); i < count; ++i) {
      const Sequence s = uniform(sequences.sequences[i]);
      if (s.q_begin < group_begin + kGroupRows && s.q_end > group_begin) {
        rows.clear();
        if (s.k_begin < s.k_end) attend(rows, shared, s);
        store_rows(rows, a, tile, s.q_begin - tile.begin, min(s.q_end, tile.end) - tile.begin,
                   shared_address(shared.results), y);
      } else {
        skip(shared, s);
      }
    }
    clear_rows(a, tile, 0, sequences.first_row - tile.begin);
    clear_rows(a, tile, sequences.last_row - tile.begin, tile.end - tile.begin);
    barrier_arrive(shared_address(&shared.met_empty[met.slot]));
    query.advance();
    met.advance();
  }

 private:
  TENON_DEVICE void attend(Rows& rows, Shared& shared, const Sequence& s) {
    const Operand keys(shared.keys(0)), values(shared.values(0), kPanelBytes);  // of slot 0
    float scores[kKeys / 2];
    Rows::Block made;
    uint32_t p[kKeys / 16][4];
    barrier_wait(shared_address(&shared.block_full[block.slot]), block.parity);
    rows.multiply_keys(scores, keys + block.slot * kStageBytes);
    wgmma_wait<0>();
    wgmma_result(scores);
    if (s.k_begin + kKeys > s.k_end) cut_off(scores, shared.values(block.slot), s.k_end - s.k_begin);
    rows.absorb_first(scores, made);
    Rows::round(made, p);
    for (int first = s.k_begin + kKeys; first < s.k_end; first += kKeys) {
      Position<kStages> next = block;
      next.advance();
      barrier_wait(shared_address(&shared.block_full[next.slot]), next.parity);
      rows.multiply_keys(scores, keys + next.slot * kStageBytes);
      rows.add_values(p, values + block.slot * kStageBytes);
      wgmma_wait<1>();
      wgmma_result(scores);
      if (first + kKeys > s.k_end) cut_off(scores, shared.values(next.slot), s.k_end - first);
      // This branch keeps the compiler from moving the probabilities behind the wait.
      if (__any_sync(0xffffffffu, rows.measure(scores, made))) {
        wgmma_wait<0>();
        wgmma_result(rows.y);
        rows.raise(scores, made);
      }
      wgmma_wait<0>();
      wgmma_result(rows.y);
      rows.absorb(made);
      Rows::round(made, p);
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
    for (int slot = 0; slot < kMetSlots; ++slot) barrier_init(shared_address(&shared.met_empty[slot]), kComputing);
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
  if (uniform(static_cast<int>(threadIdx.x)) >= kComputing) {
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
