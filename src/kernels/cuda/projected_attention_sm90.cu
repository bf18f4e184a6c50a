// Attention of short sequences together with the product that makes its queries, keys and values, on Hopper:
// attention(split(x Wᵀ + bias)), x [rows, K], W [3 * heads * 64, K]. Results are those of linear_sm90.cu followed by
// attention_sm90.cu, bit for bit; what lies between them never leaves the multiprocessor.
//
// A tile is one head of one sequence of at most 128 rows: x's rows by the head's 192 rows of W. As in linear_sm90.cu
// the loader, one thread, fills a ring of stages through TMA and two warpgroups multiply; they share a tile, 64 rows
// each, or take turns (PINGPONG), so that one multiplies while the other attends. Of the product the queries stay in
// registers; keys and values go to shared memory. One more warp for each buffer of these works out the norms of a
// tile's rows while the product is still running.
//
// Macros: ELEMENT, VECTOR (the type of bias), DEPTH (K), HEADS, STAGES, PINGPONG, HAS_BIAS, NORM_X (x has moments).
#include "attention_rows.cuh"
#include "linear_args.cuh"
#include "matrix.cuh"
#include "moments.cuh"
#include "pdl.cuh"
#include "registers.cuh"
#include "ring.cuh"
#include "sequences.cuh"
#include "tma.cuh"
#include "wgmma.cuh"

using T = ELEMENT;

namespace {

constexpr int kConsumers = 2, kThreads = 128 * (1 + kConsumers);
constexpr int kRows = 128, kDim = 64, kKeys = 64, kWarpRows = 16;
constexpr int kColumns = 3 * kDim;  // of a tile's product: queries, keys, values
constexpr int kChunk = 64, kChunks = (DEPTH + kChunk - 1) / kChunk;
constexpr int kTurns = PINGPONG ? kConsumers : 1;         // a consumer's tiles lie so many apart
constexpr int kBlocks = kRows / 64 / (kConsumers / kTurns);  // of 64 rows: one consumer's part of a tile
constexpr int kSharing = 128 * kConsumers / kTurns;       // threads that share a tile's keys and values
constexpr uint32_t kBlockBytes = 64 * 128;                // 64 rows of 64 columns
constexpr uint32_t kXBytes = kRows * 128, kStageBytes = kXBytes + kColumns * 128, kHeadBytes = kRows * 128;
static_assert(STAGES > 1 || kChunks == 1, "a stage is released while the next is multiplied");

// Shared memory, all by address; the launcher asks for as much (projected_attention_sm90.cc). Buffers of keys and
// values, and what belongs to them, are one for each tile in work.
struct Layout {
  uint32_t stages, heads, full, empty, norms_full, norms_empty, turn;
  TENON_DEVICE explicit Layout(const void* memory) {
    stages = shared_address(memory);
    heads = stages + STAGES * kStageBytes;    // [kTurns][keys, values]
    full = heads + kTurns * 2 * kHeadBytes;   // [STAGES] a stage has its bytes
    empty = full + 8 * STAGES;                // [STAGES] it has been multiplied
    norms_full = empty + 8 * STAGES;          // [kTurns]
    norms_empty = norms_full + 8 * kTurns;    // [kTurns]
    turn = norms_empty + 8 * kTurns;          // [kConsumers] the other consumer has seen its tile's stages
  }
};

using Norms = Norm[NORM_X ? kRows : 1];
using Ring = Position<STAGES>;

TENON_DEVICE void skip_tile(Ring& ring) {
  ring.slot += kChunks % STAGES;
  ring.parity ^= (kChunks / STAGES) & 1;
  if (ring.slot >= STAGES) {
    ring.slot -= STAGES;
    ring.parity ^= 1;
  }
}

// Heads of a sequence stand together: they read the same rows of x.
struct Tiles {
  int index = static_cast<int>(blockIdx.x), count;
  bool backwards;
  TENON_DEVICE explicit Tiles(const AttentionArgs& a) : count(a.batch * HEADS), backwards(a.backwards) {}
  TENON_DEVICE bool valid() const { return index < count; }
  TENON_DEVICE void next(int turns = 1) {
    int blocks;  // opaque, as thread_here()
    asm volatile("mov.u32 %0, %%nctaid.x;" : "=r"(blocks));
    index += turns * uniform(blocks);
  }
  TENON_DEVICE int place() const { return backwards ? count - 1 - index : index; }
  TENON_DEVICE int head() const { return place() % HEADS; }
  TENON_DEVICE Sequence sequence(const AttentionArgs& a) const { return read_sequence(a, place() / HEADS); }
};

TENON_DEVICE void load_w(const Layout& s, const TensorMap& w, int slot, int chunk, int head) {
  const uint32_t to = s.stages + slot * kStageBytes + kXBytes, full = s.full + 8 * slot;
  barrier_expect(full, kStageBytes);
#pragma unroll
  for (int part = 0; part < 3; ++part) {
    load_box(to + part * kBlockBytes, w, chunk * kChunk, (part * HEADS + head) * kDim, full);
  }
}

// One thread.
TENON_DEVICE void load_tiles(const Layout& s, const TensorMap& x, const TensorMap& w, const AttentionArgs& a) {
  Tiles tile(a);
  // Weights do not wait for the kernels ahead.
  constexpr int kEarly = STAGES < kChunks ? STAGES : kChunks;
  if (tile.valid()) {
    for (int k = 0; k < kEarly; ++k) load_w(s, w, k, k, tile.head());
  }
  wait_for_previous_kernels();
  Ring ring;
  for (bool first = true; tile.valid(); tile.next(), first = false) {
    const int head = tile.head(), row = tile.sequence(a).q_begin;
#pragma unroll 1
    for (int k = 0; k < kChunks; ++k) {
      if (!first || k >= kEarly) {
        barrier_wait(s.empty + 8 * ring.slot, ring.parity ^ 1);
        load_w(s, w, ring.slot, k, head);
      }
      load_box(s.stages + ring.slot * kStageBytes, x, k * kChunk, row, s.full + 8 * ring.slot);
      ring.advance();
    }
  }
}

// One warp for each buffer.
TENON_DEVICE void find_norms(const Layout& s, const AttentionArgs& a, const LinearArgs& linear, Norms& norms, int buffer) {
  wait_for_previous_kernels();
  Tiles tile(a);
  tile.next(buffer);
  const auto* moments = static_cast<const Moments*>(linear.x_moments);
  constexpr int kPanels = (DEPTH + kMomentsPanel - 1) / kMomentsPanel;
  for (uint32_t parity = 1; tile.valid(); tile.next(kTurns), parity ^= 1) {
    const int first = tile.sequence(a).q_begin;
    barrier_wait(s.norms_empty + 8 * buffer, parity);
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x % 32); i < kRows; i += 32) {
      const int64_t row = first + i;
      norms[i] = row < a.q_rows ? row_norm<kPanels>(moments + row * kPanels, linear.epsilon) : Norm{};
    }
    barrier_arrive(s.norms_full + 8 * buffer);  // every lane, which has written norms
  }
}

using Accumulators = float[kBlocks][kColumns / 2];

// Products of the other warpgroup's attention queue behind these: so few are on their way, in groups of half a stage.
TENON_DEVICE void multiply_tile(const Layout& s, Ring& ring, Accumulators& sums, int consumer) {
  constexpr int kSteps = kChunk / 16, kGroup = PINGPONG ? kSteps / 2 : kSteps;
  const bool arrives = threadIdx.x % 128 == 0;
  int previous = 0;
#pragma unroll 1
  for (int k = 0; k < kChunks; ++k) {
    barrier_wait(s.full + 8 * ring.slot, ring.parity);
    const uint32_t x = s.stages + ring.slot * kStageBytes + (PINGPONG ? 0 : consumer * kBlocks * kBlockBytes);
    const uint32_t w = s.stages + ring.slot * kStageBytes + kXBytes;
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b)
        Wgmma<T, kColumns>::multiply(sums[b], wgmma_tile(x, b * kBlockBytes + i * 32), wgmma_tile(w, i * 32), true);
      if ((i + 1) % kGroup != 0) continue;
      wgmma_commit();
      wgmma_wait<1>();
      if (i + 1 == kGroup && k > 0 && arrives) barrier_arrive(s.empty + 8 * previous);
    }
    previous = ring.slot;
    ring.advance();
  }
  if (PINGPONG && arrives) barrier_arrive(s.turn + 8 * (1 - consumer));
  wgmma_wait<0>();
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) wgmma_result(sums[b]);
  if (arrives) barrier_arrive(s.empty + 8 * previous);
}

// Two neighbours of a vector, the pair-th ones.
TENON_DEVICE float2 load_pair(const void* vector, unsigned pair) {
  if constexpr (sizeof(VECTOR) == sizeof(T)) return unpack<T>(__ldg(static_cast<const uint32_t*>(vector) + pair));
  return __ldg(static_cast<const float2*>(vector) + pair);
}

using Rows = AttentionRows<T, kDim, kKeys>;
using Fragments = uint32_t[kDim / 16][4];  // 64 rows of a head, 16 columns in each entry

// Rows of a sequence, counted from its first.
struct Visible {
  int rows, first_key, keys_end;
};

TENON_DEVICE float norm_scale(uint32_t norms, int row) {
  float scale;
  asm volatile("ld.shared.f32 %0, [%1 + 4];" : "=f"(scale) : "r"(norms + row * 8) : "memory");
  return scale;
}

// Norms and bias; rounded: queries stay, keys and values go to the tile's buffer.
TENON_DEVICE void split_tile(uint32_t buffer, const LinearArgs& linear, uint32_t norms, const Accumulators& sums,
                             Fragments (&queries)[kBlocks], int first_row, int head) {
  const int thread = thread_here(), warp = uniform(thread / 32) % 4, lane = thread % 32;
  const uint32_t in_block = swizzle_128b(warp * kWarpRows + lane % 16, lane / 16 * 16);
  if (lane == 0) wait_stores_read();  // of the tile before, out of this warp's rows
  __syncwarp();
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    const int row = first_row + b * 64 + warp * kWarpRows + lane / 4;
    float scale[2] = {1, 1};
    if (NORM_X) scale[0] = norm_scale(norms, row), scale[1] = norm_scale(norms, row + 8);
#pragma unroll
    for (int turn = 0; turn < 3; ++turn) {
      const int part = (turn + 1) % 3;  // what stays in registers comes last
      const unsigned pair = (part * HEADS + head) * (kDim / 2) + lane % 4;
#pragma unroll
      for (int j = 0; j < kDim / 16; ++j) {
        uint32_t result[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) {  // rows 0-7 and 8-15 of the left eight columns, then of the right eight
          const float2 bias = HAS_BIAS ? load_pair(linear.bias, pair + j * 8 + q / 2 * 4) : float2{};
          float low = sums[b][part * 32 + j * 8 + q * 2], high = sums[b][part * 32 + j * 8 + q * 2 + 1];
          if (NORM_X) low *= scale[q % 2], high *= scale[q % 2];
          result[q] = pack<T>(low + bias.x, high + bias.y);
        }
        if (part == 0) {
#pragma unroll
          for (int q = 0; q < 4; ++q) queries[b][j][q] = result[q];
        } else {
          const uint32_t block = buffer + (part - 1) * kHeadBytes + first_row * 128 + b * kBlockBytes;
          store_matrices(block + (in_block ^ j * 32), result);
        }
      }
    }
  }
}

// Hidden keys have no weight, but their values may be anything: 0 times NaN is NaN. Of the warp's own rows.
TENON_DEVICE void clear_hidden(uint32_t values, const Visible& visible, int first_row) {
  if (visible.first_key == 0 && visible.keys_end == kRows) return;
  const int thread = thread_here(), lane = thread % 32;
  __syncwarp();
#pragma unroll 1
  for (int i = lane; i < kBlocks * kWarpRows * 8; i += 32) {
    const int row = first_row + i / (kWarpRows * 8) * 64 + thread / 32 % 4 * kWarpRows + i / 8 % kWarpRows;
    if (row >= visible.first_key && row < visible.keys_end) continue;
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(values + row * 128 + i % 8 * 16), "r"(0) : "memory");
  }
}

// Hides the scores of keys outside [first, end), counted from the block's first.
TENON_DEVICE void hide_keys(float (&scores)[kKeys / 2], int first, int end) {
  const int column = thread_here() % 4 * 2;
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    const int key = i / 4 * 8 + column + i % 2;
    if (key < first || key >= end) scores[i] = minus_infinity();
  }
}

// Queries become results, with the sums of attention_sm90.cu in its order; there are two blocks of keys (kSecond), or
// the one in which the first key lies. Products queue behind those of the other warpgroup, whose tile is not done: so
// few are waited for. Both blocks' scores are made at once, and both blocks' values are added at once, with the next
// rows' scores, unless a reference rises between the two.
template <bool kSecond>
TENON_DEVICE void attend(Fragments (&fragments)[kBlocks], uint32_t buffer, const Visible& visible, float unit,
                         int vote) {
  const int first = kSecond ? 0 : visible.first_key / kKeys * kKeys;
  const Rows::Operand keys(buffer + first * 128), values(buffer + kHeadBytes + first * 128, kBlockBytes);
  constexpr int kFurther = static_cast<int>(kBlockBytes);
  Rows rows[kBlocks];
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    float scores[1 + kSecond][kKeys / 2];
    uint32_t p[1 + kSecond][kKeys / 16][4];
    Rows::Block made;
    rows[b].unit = unit;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) rows[b].q[k][i] = fragments[b][k][i];
#pragma unroll
    for (int i = 0; i <= kSecond; ++i) rows[b].multiply_keys(scores[i], keys + i * kFurther);
    wgmma_wait<0>();
    if (b > 0) wgmma_result(rows[b - 1].y);
#pragma unroll
    for (int i = 0; i <= kSecond; ++i) {
      wgmma_result(scores[i]);
      const int block = first + i * kKeys;
      if (visible.first_key > block || visible.keys_end < block + kKeys)
        hide_keys(scores[i], visible.first_key - block, visible.keys_end - block);
    }
    if (b > 0) rows[b - 1].results(fragments[b - 1]);
    rows[b].clear();
    rows[b].absorb_first(scores[0], made);
    Rows::round(made, p[0]);
    if constexpr (kSecond) {
      const bool rises = rows[b].measure(scores[1], made);
      rows[b].add_values(p[0], values);
      if (named_barrier_any(vote, 128, rises)) {
        wgmma_wait<0>();
        wgmma_result(rows[b].y);
        rows[b].raise(scores[1], made);
      }
      rows[b].absorb(made);
      Rows::round(made, p[1]);
    }
    rows[b].add_values(p[kSecond], values + kSecond * kFurther);
  }
  wgmma_wait<0>();
  wgmma_result(rows[kBlocks - 1].y);
  rows[kBlocks - 1].results(fragments[kBlocks - 1]);
}

// What rows without a visible key get.
TENON_DEVICE void clear(Fragments (&fragments)[kBlocks]) {
#pragma unroll
  for (int b = 0; b < kBlocks; ++b)
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) fragments[b][k][i] = 0;
}

// 64 rows of results through the warp's own rows of `staging`, so that whole rows are written.
TENON_DEVICE void store_rows(const Fragments& results, uint32_t staging, const TensorMap& y, const AttentionArgs& a,
                             int q_begin, int first_row, int rows, int head) {
  const int thread = thread_here(), warp = uniform(thread / 32) % 4, lane = thread % 32;
  const int row = first_row + warp * kWarpRows;  // the warp's first, in the sequence
  const uint32_t block = staging + first_row * 128;
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    store_matrices(block + (swizzle_128b(warp * kWarpRows + lane % 16, lane / 16 * 16) ^ k * 32), results[k]);
  }
  fence_async_shared();
  __syncwarp();
  if (row + kWarpRows <= rows) {
    if (lane == 0) {
      store_box(y, staging + row * 128, head * kDim, q_begin + row);
      commit_stores();
    }
    return;
  }
#pragma unroll 1
  for (int i = lane; i < (rows - row) * 8; i += 32) {
    const int r = row + i / 8, chunk = i % 8;
    uint4 v;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(staging + swizzle_128b(r, chunk * 16))
                 : "memory");
    T* const to = static_cast<T*>(a.y) + static_cast<int64_t>(q_begin + r) * a.y_stride + head * kDim + chunk * 8;
    *reinterpret_cast<uint4*>(to) = v;
  }
  __syncwarp();
}

TENON_DEVICE void consume_tiles(const Layout& s, const TensorMap& y, const AttentionArgs& a, const LinearArgs& linear,
                                uint32_t norms, int consumer) {
  wait_for_previous_kernels();  // sequences are read here, too
  const int own = PINGPONG ? consumer : 0, first_row = PINGPONG ? 0 : consumer * 64;
  const uint32_t buffer = s.heads + own * 2 * kHeadBytes;
  Ring ring;
  Tiles tile(a);
  if (PINGPONG && consumer == 1) {
    tile.next();
    skip_tile(ring);
  }
  for (uint32_t turn = 0; tile.valid(); turn ^= 1, tile.next(kTurns)) {
    // Zeros: if the first product overwrote the sums, the compiler would keep the last tile's until then, and spill.
    Accumulators sums = {};
    if (PINGPONG) barrier_wait(s.turn + 8 * consumer, consumer == 0 ? turn ^ 1 : turn);
    multiply_tile(s, ring, sums, consumer);
    if (PINGPONG) skip_tile(ring);

    Fragments fragments[kBlocks];  // queries, then results
    if (NORM_X) barrier_wait(s.norms_full + 8 * own, turn);
    split_tile(buffer, linear, norms + own * kRows * 8, sums, fragments, first_row, tile.head());
    asm volatile("" : "+r"(tile.index)::"memory");  // what follows is not computed while the sums are alive
    tile.index = uniform(tile.index);
    const Sequence sequence = tile.sequence(a);
    const int q_begin = sequence.q_begin, head = tile.head();
    const Visible visible = {min(sequence.q_end - q_begin, kRows), max(sequence.k_begin - q_begin, 0),
                             min(sequence.k_end - q_begin, kRows)};
    clear_hidden(buffer + kHeadBytes, visible, first_row);
    fence_async_shared();
    if (NORM_X) barrier_arrive(s.norms_empty + 8 * own);
    named_barrier(1 + own, kSharing);  // keys and values are there
    if (first_row < visible.rows) {
      const float unit = a.scale * kLog2E;
      const int vote = 2 + consumer + 1;
      if (visible.first_key >= visible.keys_end) {
        clear(fragments);
      } else if (visible.first_key < kKeys && visible.keys_end > kKeys) {
        attend<true>(fragments, buffer, visible, unit, vote);
      } else {
        attend<false>(fragments, buffer, visible, unit, vote);
      }
    }
    named_barrier(1 + own, kSharing);  // they were read: results go there
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      if (first_row + b * 64 < visible.rows)
        store_rows(fragments[b], buffer, y, a, q_begin, first_row + b * 64, visible.rows, head);
    }
  }
  if (threadIdx.x % 32 == 0) wait_stores_read();  // shared memory stays until the results are read from it
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    projected_attention(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
                        const __grid_constant__ TensorMap y, const AttentionArgs a, const LinearArgs linear) {
  extern __shared__ __align__(1024) unsigned char memory[];
  __shared__ Norms norms[kTurns];
  const Layout s(memory);
  const int thread = threadIdx.x, warp = uniform(thread / 32), group = warp / 4;
  if (thread == 0) {
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(s.full + 8 * i, 1);
      barrier_init(s.empty + 8 * i, kConsumers / kTurns);
    }
    for (int i = 0; i < kTurns; ++i) {
      barrier_init(s.norms_full + 8 * i, 32);
      barrier_init(s.norms_empty + 8 * i, kSharing);
    }
    for (int i = 0; i < kConsumers; ++i) barrier_init(s.turn + 8 * i, 1);
    barrier_init_done();
    prefetch_map(x);
    prefetch_map(w);
    prefetch_map(y);
  }
  allow_next_kernel();
  __syncthreads();
  if (group == 0) {
    release_registers<40>();
    if (thread == 0) load_tiles(s, x, w, a);
    if (NORM_X && warp >= 1 && warp <= kTurns) find_norms(s, a, linear, norms[warp - 1], warp - 1);
  } else {
    take_registers<232>();
    consume_tiles(s, y, a, linear, shared_address(norms), group - 1);
  }
}
