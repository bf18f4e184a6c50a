// Attention over packed rows for any GPU from sm_80 on: any length, head_dim a multiple of 16 up to 128, with bias,
// causal and window.
//
// A block takes one head of a tile of packed query rows, whatever sequences they belong to, 16 rows per warp. It meets
// those sequences one after the other: all its rows attend to the sequence's keys, and the sequence's own rows are
// stored. So the grid needs no lengths, a row's result depends on nothing but its sequence, and rows of other sequences
// need no mask.
//
// Macros: ELEMENT, HEAD_DIM, CAUSAL, WINDOW (0: none), BIAS (0: none, 1: as q, 2: f32).
#include "matrix.cuh"
#include "mbarrier.cuh"
#include "pdl.cuh"
#include "visibility.cuh"

namespace {

using T = ELEMENT;

constexpr int kDim = HEAD_DIM;
constexpr int kKeys = 64;  // per block of keys
constexpr int kPitch =
    kDim * 2 + 16;  // bytes from a row to the next: an odd number of 16, so that eight rows meet all banks
constexpr int kTile = kKeys * kPitch;
constexpr int kMostRows = 64;      // of a block: its threads are 2 per row
constexpr int kChunks = kDim / 8;  // of 16 bytes per row

// One head's rows of k and v, copied block by block into two slots.
struct KeyBlocks {
  const T *k, *v;
  int k_stride, v_stride;
  uint32_t shared;

  TENON_DEVICE uint32_t keys(int slot) const { return shared + slot * 2 * kTile; }
  TENON_DEVICE uint32_t values(int slot) const { return keys(slot) + kTile; }

  TENON_DEVICE void copy(int slot, int first, int end) const {
    for (int i = static_cast<int>(threadIdx.x); i < kKeys * kChunks; i += static_cast<int>(blockDim.x)) {
      const int row = i / kChunks, chunk = i % kChunks;
      const bool valid =
          first + row < end;  // zeros behind the last key: a garbage value times probability 0 may be NaN
      const int64_t from = valid ? first + row : first;
      const uint32_t to = row * kPitch + chunk * 16;
      copy_async(keys(slot) + to, k + from * k_stride + chunk * 8, valid);
      copy_async(values(slot) + to, v + from * v_stride + chunk * 8, valid);
    }
    copy_async_commit();
  }
};

// The 16 query rows of a warp; this thread's are `row` and `row + 8`.
struct Rows {
  int row;
  uint32_t q[kDim / 16][4];
  float y[kDim / 8][4];
  RunningSoftmax softmax[2];

  TENON_DEVICE void load(const T* q_head, int stride, int rows) {
    const int column = static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t r = min(row + i % 2 * 8, rows - 1);
        q[k][i] = *reinterpret_cast<const uint32_t*>(q_head + r * stride + k * 16 + i / 2 * 8 + column);
      }
    }
  }

  TENON_DEVICE void clear() {
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) y[n][i] = 0;
    softmax[0] = softmax[1] = RunningSoftmax();
  }

  // scores[n] are of keys 8 n .. 8 n + 8.
  TENON_DEVICE void multiply_keys(float (&scores)[kKeys / 8][4], uint32_t keys) const {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[n][i] = 0;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        uint32_t b[4];
        load_matrices(b, keys + (n * 8 + lane / 16 * 8 + lane % 8) * kPitch + k * 32 + lane / 8 % 2 * 16);
        multiply_16x8x16<T>(scores[n], q[k], b[0], b[1]);
        multiply_16x8x16<T>(scores[n + 1], q[k], b[2], b[3]);
      }
    }
  }

  // Probabilities of a block, taken into the statistics.
  TENON_DEVICE void absorb(float (&scores)[kKeys / 8][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float greatest = minus_infinity();
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
        greatest = fmaxf(greatest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
      const float factor = softmax[half].rise(quad_max(greatest), 1.0f), reference = softmax[half].reference(1.0f);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        y[n][2 * half] *= factor;
        y[n][2 * half + 1] *= factor;
      }
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[n][i] = exp2_approx(scores[n][i] - reference);
          softmax[half].sum += scores[n][i];
        }
      }
    }
  }

  TENON_DEVICE void add_values(const float (&p)[kKeys / 8][4], uint32_t values) {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const uint32_t a[4] = {pack<T>(p[2 * k][0], p[2 * k][1]), pack<T>(p[2 * k][2], p[2 * k][3]),
                             pack<T>(p[2 * k + 1][0], p[2 * k + 1][1]), pack<T>(p[2 * k + 1][2], p[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < kDim / 8; n += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, values + (k * 16 + lane % 16) * kPitch + n * 16 + lane / 16 * 16);
        multiply_16x8x16<T>(y[n], a, b[0], b[1]);
        multiply_16x8x16<T>(y[n + 1], a, b[2], b[3]);
      }
    }
  }

  TENON_DEVICE void store(T* y_head, int stride, int begin, int end) const {
    const int column = static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float normalizer = softmax[half].normalizer();
      const int64_t r = row + half * 8;
      if (r < begin || r >= end) continue;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        *reinterpret_cast<uint32_t*>(y_head + r * stride + n * 8 + column) =
            pack<T>(y[n][2 * half] * normalizer, y[n][2 * half + 1] * normalizer);
      }
    }
  }
};

// What scores of a block of keys, the first of which is `first`, are still to be told. Asked for before the product is
// there.
struct BlockVisibility {
  int q_position[2], first;
  int k_position[kKeys / 8][2];
  float bias[kKeys / 8][4];

  TENON_DEVICE void load(const AttentionArgs& a, const Sequence& s, int head, int row, int first_key) {
    first = first_key + static_cast<int>(threadIdx.x % 4) * 2;
    q_position[0] = query_position(a, s, row);
    q_position[1] = query_position(a, s, row + 8);
    const BiasRow biases[2] = {{a, s, head, q_position[0]}, {a, s, head, q_position[1]}};
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) k_position[n][i] = key_position(a, s, first + n * 8 + i);
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) bias[n][i] = biases[i / 2].at(k_position[n][i % 2]);
  }

  TENON_DEVICE void apply(const AttentionArgs& a, const Sequence& s, float (&scores)[kKeys / 8][4]) const {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        scores[n][i] = visible_score(a, s, q_position[i / 2], first + n * 8 + i % 2, k_position[n][i % 2], scores[n][i],
                                     bias[n][i]);
  }
};

}  // namespace

extern "C" __global__ void __launch_bounds__(2 * kMostRows) attention(const AttentionArgs a) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ MetSequences<kMostRows> met;
  allow_next_kernel();
  wait_for_previous_kernels();
  const int head = static_cast<int>(blockIdx.x), tile_rows = static_cast<int>(blockDim.x) / 2;
  const int tile_begin = static_cast<int>(blockIdx.y) * tile_rows, tile_end = min(tile_begin + tile_rows, a.q_rows);
  const int lane = static_cast<int>(threadIdx.x % 32),
            warp_begin = tile_begin + static_cast<int>(threadIdx.x) / 32 * 16;
  const int64_t kv_column = static_cast<int64_t>(head / a.group) * kDim;
  const KeyBlocks blocks{static_cast<const T*>(a.k) + kv_column, static_cast<const T*>(a.v) + kv_column, a.k_stride,
                         a.v_stride, shared_address(shared)};
  T* const y_head = static_cast<T*>(a.y) + static_cast<int64_t>(head) * kDim;

  Rows rows;
  rows.row = warp_begin + lane / 4;
  rows.load(static_cast<const T*>(a.q) + static_cast<int64_t>(head) * kDim, a.q_stride, a.q_rows);

  if (threadIdx.x < 32) met.collect(a, tile_begin, tile_end);
  __syncthreads();
  for (int i = 0; i < met.count; ++i) {
    const Sequence s = met.sequences[i];
    const bool concerned = s.q_begin < warp_begin + 16 && s.q_end > warp_begin;
    rows.clear();
    if (s.k_begin < s.k_end) blocks.copy(0, s.k_begin, s.k_end);
    int slot = 0;
    for (int first = s.k_begin; first < s.k_end; first += kKeys, slot ^= 1) {
      if (first + kKeys < s.k_end) {
        blocks.copy(slot ^ 1, first + kKeys, s.k_end);
        copy_async_wait<1>();
      } else {
        copy_async_wait<0>();
      }
      __syncthreads();
      if (concerned) {
        BlockVisibility visibility;
        visibility.load(a, s, head, rows.row, first);
        float scores[kKeys / 8][4];
        rows.multiply_keys(scores, blocks.keys(slot));
        visibility.apply(a, s, scores);
        rows.absorb(scores);
        rows.add_values(scores, blocks.values(slot));
      }
      __syncthreads();
    }
    if (concerned) rows.store(y_head, a.y_stride, max(s.q_begin, tile_begin), min(s.q_end, tile_end));
  }

  rows.clear();
  rows.store(y_head, a.y_stride, tile_begin, met.first_row);  // rows of no sequence
  rows.store(y_head, a.y_stride, met.last_row, tile_end);
}
