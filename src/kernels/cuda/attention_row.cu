// Attention of single rows: where every sequence has about one query, as in the last layer of a classifier. Reading the
// keys and values is all the work then, and a tile of queries would do it once per sequence for one useful row.
//
// A block takes one head of one query row. Its threads are groups of HEAD_DIM / 8 lanes, each of which takes every n-th
// key with softmax statistics of its own; at the end the groups are merged in a fixed order.
//
// Macros: ELEMENT, HEAD_DIM (16, 32, 64, 128), and those of visibility.cuh.
#include "pdl.cuh"
#include "visibility.cuh"

namespace {

using T = ELEMENT;

constexpr int kDim = HEAD_DIM, kThreads = 128, kLanes = kDim / 8, kGroups = kThreads / kLanes;
constexpr int kUnroll = 4;  // keys of a group whose loads are in flight at once
constexpr unsigned kAllLanes = 0xffffffffu;

TENON_DEVICE uint4 load_8(const T* row) { return *reinterpret_cast<const uint4*>(row); }

TENON_DEVICE float group_sum(float x) {
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

// What a group has seen: the greatest score, and sums of probabilities and of values relative to it. This lane's 8
// columns.
struct Partial {
  float max = minus_infinity(), sum = 0;
  float y[8] = {};

  TENON_DEVICE void add(float score, uint4 value) {
    if (score == minus_infinity()) return;  // hidden: its value may be anything
    const float risen = fmaxf(max, score), shrink = exp2_approx(max - risen), p = exp2_approx(score - risen);
    float v[8];
    unpack8<T>(value, v);
    max = risen;
    sum = fmaf(sum, shrink, p);
#pragma unroll
    for (int i = 0; i < 8; ++i) y[i] = fmaf(y[i], shrink, p * v[i]);
  }
};

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads) attention(const AttentionArgs a) {
  __shared__ MetSequences<1> met;
  __shared__ float maxima[kGroups], sums[kGroups], columns[kGroups][kDim];
  allow_next_kernel();
  wait_for_previous_kernels();
  const int head = static_cast<int>(blockIdx.x) % a.heads, row = static_cast<int>(blockIdx.x) / a.heads;
  const int group = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  float q[8];
  unpack8<T>(load_8(static_cast<const T*>(a.q) + static_cast<int64_t>(row) * a.q_stride + head * kDim + lane * 8), q);
  if (threadIdx.x < 32) met.collect(a, row, row + 1);
  __syncthreads();
  T* const y_row = static_cast<T*>(a.y) + static_cast<int64_t>(row) * a.y_stride + head * kDim;
  Sequence s = {};
  if (met.count != 0) s = met.sequences[0];

  const int64_t column = head / a.group * kDim + lane * 8;
  const T* const k = static_cast<const T*>(a.k) + column;
  const T* const v = static_cast<const T*>(a.v) + column;
  const int q_position = query_position(a, s, row);
  Partial mine;
  for (int first = s.k_begin; first < s.k_end; first += kGroups * kUnroll) {  // all lanes take part in the sums
    uint4 keys[kUnroll], values[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const int64_t key = min(first + i * kGroups + group, s.k_end - 1);
      keys[i] = load_8(k + key * a.k_stride);
      values[i] = load_8(v + key * a.v_stride);
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      float x[8], product = 0;
      unpack8<T>(keys[i], x);
#pragma unroll
      for (int j = 0; j < 8; ++j) product = fmaf(q[j], x[j], product);
      mine.add(visible_score(a, s, head, q_position, first + i * kGroups + group, group_sum(product)), values[i]);
    }
  }

#pragma unroll
  for (int i = 0; i < 8; ++i) columns[group][lane * 8 + i] = mine.y[i];
  if (lane == 0) {
    maxima[group] = mine.max;
    sums[group] = mine.sum;
  }
  __syncthreads();
  const int pair = static_cast<int>(threadIdx.x) * 2;
  if (pair >= kDim) return;
  float max = minus_infinity(), sum = 0, low = 0, high = 0;
  for (int g = 0; g < kGroups; ++g) max = fmaxf(max, maxima[g]);
  for (int g = 0; g < kGroups; ++g) {
    if (sums[g] == 0.0f) continue;  // no visible key
    const float factor = exp2_approx(maxima[g] - max);
    sum = fmaf(sums[g], factor, sum);
    low = fmaf(columns[g][pair], factor, low);
    high = fmaf(columns[g][pair + 1], factor, high);
  }
  const float normalizer = sum == 0.0f ? 0.0f : 1.0f / sum;
  *reinterpret_cast<uint32_t*>(y_row + pair) = pack<T>(low * normalizer, high * normalizer);
}
