// Attention in f32 over packed rows: any length, head_dim a multiple of 4 up to 128, with bias, causal and window. For the
// precision that it keeps, not for speed: products are ordinary multiply-adds. Rows of 16 bits, in which head_dim is a
// multiple of 8, become f32 on the way to shared memory.
//
// A block takes one head of a tile of packed query rows, whatever sequences they belong to, eight rows per warp, and meets
// those sequences one after the other, as attention_sm80.cu does. Scores: a lane takes a key of the block of 32. Context: a
// lane takes every 32nd column. The probabilities change hands through shared memory.
//
// Macros: ELEMENT, HEAD_DIM, CAUSAL, WINDOW (0: none), BIAS (0: none, 1: as q, 2: f32).
#include "matrix.cuh"
#include "mbarrier.cuh"
#include "pdl.cuh"
#include "row.cuh"
#include "visibility.cuh"

namespace {

using T = ELEMENT;

constexpr int kDim = HEAD_DIM, kColumns = (kDim + 31) / 32;  // of a lane
constexpr int kKeys = 32, kWarps = 8, kRowsOfWarp = 8, kRows = kWarps * kRowsOfWarp;
constexpr int kPitch = (kDim / 4 | 1) * 4;  // floats from a row to the next: an odd number of 16 bytes meets all banks
constexpr unsigned kAllLanes = 0xffffffffu;

// Shared memory; the launcher asks for as much (attention_f32.cc).
struct Shared {
  float q[kRows][kPitch];
  float k[2][kKeys][kPitch], v[2][kKeys][kPitch];
  float p[kRows][kKeys];
};

// Four neighbours to shared memory, zeros where `valid` is false.
template <class U>
TENON_DEVICE void copy_four(float* to, const U* from, bool valid) {
  const uint2 bits = valid ? *reinterpret_cast<const uint2*>(from) : uint2{};
  const float2 low = unpack<U>(bits.x), high = unpack<U>(bits.y);
  *reinterpret_cast<float4*>(to) = {low.x, low.y, high.x, high.y};
}
TENON_DEVICE void copy_four(float* to, const f32* from, bool valid) { copy_async(shared_address(to), from, valid); }

// The block of keys from `first` on; zeros behind the last: a garbage value times probability 0 may be NaN.
TENON_DEVICE void copy_keys(Shared& s, int slot, const T* k, const T* v, const AttentionArgs& a, int first, int end) {
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * kDim / 4; i += kWarps * 32) {
    const int row = i / (kDim / 4), column = i % (kDim / 4) * 4;
    const bool valid = first + row < end;
    const int64_t from = valid ? first + row : first;
    copy_four(&s.k[slot][row][column], k + from * a.k_stride + column, valid);
    copy_four(&s.v[slot][row][column], v + from * a.v_stride + column, valid);
  }
  copy_async_commit();
}

TENON_DEVICE float warp_max(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, step));
  return x;
}
TENON_DEVICE float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

// A warp's rows: what they have seen of a sequence.
struct Rows {
  int row;  // of the tile
  float max[kRowsOfWarp], sum[kRowsOfWarp], y[kRowsOfWarp][kColumns];

  TENON_DEVICE void clear() {
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      max[r] = minus_infinity();
      sum[r] = 0;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) y[r][c] = 0;
    }
  }

  // q . k for this lane's key.
  TENON_DEVICE void multiply_keys(const Shared& s, int slot, float (&scores)[kRowsOfWarp]) const {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) scores[r] = 0;
#pragma unroll 4
    for (int d = 0; d < kDim; d += 4) {
      const float4 key = *reinterpret_cast<const float4*>(&s.k[slot][lane][d]);
#pragma unroll
      for (int r = 0; r < kRowsOfWarp; ++r) {
        const float4 q = *reinterpret_cast<const float4*>(&s.q[row + r][d]);
        scores[r] = fmaf(q.x, key.x, fmaf(q.y, key.y, fmaf(q.z, key.z, fmaf(q.w, key.w, scores[r]))));
      }
    }
  }

  // Probabilities into shared memory and into the statistics.
  TENON_DEVICE void absorb(Shared& s, const float (&scores)[kRowsOfWarp]) {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const float risen = fmaxf(max[r], warp_max(scores[r]));
      const float reference = risen == minus_infinity() ? 0.f : risen;
      const float factor = max[r] == minus_infinity() ? 0.f : exp2f(max[r] - reference), p = exp2f(scores[r] - reference);
      max[r] = risen;
      sum[r] = fmaf(sum[r], factor, p);
      s.p[row + r][lane] = p;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) y[r][c] *= factor;
    }
    __syncwarp();
  }

  TENON_DEVICE void add_values(const Shared& s, int slot) {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int key = 0; key < kKeys; key += 4) {
      float values[4][kColumns];
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const int column = lane + 32 * c;
          values[i][c] = column < kDim ? s.v[slot][key + i][column] : 0.f;
        }
#pragma unroll
      for (int r = 0; r < kRowsOfWarp; ++r) {
        const float4 p = *reinterpret_cast<const float4*>(&s.p[row + r][key]);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          y[r][c] = fmaf(p.x, values[0][c], fmaf(p.y, values[1][c], fmaf(p.z, values[2][c], fmaf(p.w, values[3][c], y[r][c]))));
        }
      }
    }
  }
};

}  // namespace

extern "C" __global__ void __launch_bounds__(32 * kWarps) attention(const AttentionArgs a) {
  extern __shared__ __align__(16) unsigned char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  __shared__ MetSequences<kRows> met;
  allow_next_kernel();
  wait_for_previous_kernels();
  const int head = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x % 32);
  const int tile_begin = static_cast<int>(blockIdx.y) * kRows, tile_end = min(tile_begin + kRows, a.q_rows);
  const int64_t kv_column = static_cast<int64_t>(head / a.group) * kDim;
  const T* const k = static_cast<const T*>(a.k) + kv_column;
  const T* const v = static_cast<const T*>(a.v) + kv_column;
  const T* const q = static_cast<const T*>(a.q) + static_cast<int64_t>(head) * kDim;
  T* const y = static_cast<T*>(a.y) + static_cast<int64_t>(head) * kDim;

  for (int i = static_cast<int>(threadIdx.x); i < kRows * kDim / 4; i += kWarps * 32) {
    const int row = i / (kDim / 4), column = i % (kDim / 4) * 4;
    const bool valid = tile_begin + row < tile_end;
    copy_four(&s.q[row][column], q + static_cast<int64_t>(valid ? tile_begin + row : tile_begin) * a.q_stride + column, valid);
  }
  copy_async_commit();
  if (threadIdx.x < 32) met.collect(a, tile_begin, tile_end);
  __syncthreads();

  Rows rows;
  rows.row = static_cast<int>(threadIdx.x) / 32 * kRowsOfWarp;
  const int warp_begin = tile_begin + rows.row;
  for (int i = 0; i < met.count; ++i) {
    const Sequence sequence = met.sequences[i];
    const bool concerned = sequence.q_begin < warp_begin + kRowsOfWarp && sequence.q_end > warp_begin;
    rows.clear();
    if (sequence.k_begin < sequence.k_end) copy_keys(s, 0, k, v, a, sequence.k_begin, sequence.k_end);
    int slot = 0;
    for (int first = sequence.k_begin; first < sequence.k_end; first += kKeys, slot ^= 1) {
      const bool more = first + kKeys < sequence.k_end;
      if (more) copy_keys(s, slot ^ 1, k, v, a, first + kKeys, sequence.k_end);
      if (more) copy_async_wait<1>();
      if (!more) copy_async_wait<0>();
      __syncthreads();
      if (concerned) {
        float scores[kRowsOfWarp];
        rows.multiply_keys(s, slot, scores);
#pragma unroll
        for (int r = 0; r < kRowsOfWarp; ++r) {
          scores[r] = visible_score(a, sequence, head, query_position(a, sequence, warp_begin + r), first + lane, scores[r]);
        }
        rows.absorb(s, scores);
        rows.add_values(s, slot);
      }
      __syncthreads();  // the slot is filled again
    }
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const float total = warp_sum(rows.sum[r]);
      const int64_t row = warp_begin + r;
      if (!concerned || row < sequence.q_begin || row >= min(sequence.q_end, tile_end)) continue;
      const float normalizer = total == 0.f ? 0.f : 1.f / total;  // no visible key: zeros
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        if (lane + 32 * c < kDim) y[row * a.y_stride + lane + 32 * c] = from_float<T>(rows.y[r][c] * normalizer);
      }
    }
  }
#pragma unroll 1
  for (int i = lane; i < kRowsOfWarp * kDim; i += 32) {
    const int row = warp_begin + i / kDim;
    const bool lost = row < tile_end && (row < met.first_row || row >= met.last_row);  // of no sequence
    if (lost) y[static_cast<int64_t>(row) * a.y_stride + i % kDim] = from_float<T>(0.f);
  }
}
