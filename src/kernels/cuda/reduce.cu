// Reductions: reduce_rows over neighbours in memory, reduce_columns over rows, all or those of a sequence.
//
//   ELEMENT   f16, bf16 or f32
//   KIND      Total, Mean, Most, Least, Product or Norm2, below
//   LANES     per row, of reduce_rows
//   VECTOR    columns of a thread, of reduce_columns
#include "pdl.cuh"
#include "row.cuh"
#include "row_args.cuh"

using T = ELEMENT;

struct Total : Sum {
  TENON_DEVICE static float enter(float x) { return x; }
  TENON_DEVICE static float finish(float sum, long long) { return sum; }
};
struct Mean : Total {
  TENON_DEVICE static float finish(float sum, long long n) { return sum / static_cast<float>(n); }
};
struct Norm2 : Total {
  TENON_DEVICE static float enter(float x) { return x * x; }
  TENON_DEVICE static float finish(float sum, long long) { return sqrtf(sum); }
};
struct Product : Total {
  TENON_DEVICE static float start() { return 1.f; }
  TENON_DEVICE static float join(float a, float b) { return a * b; }
};
struct Most : Total {
  TENON_DEVICE static float start() { return -infinity(); }
  TENON_DEVICE static float join(float a, float b) { return a > b || a != a ? a : b; }  // a NaN stays
};
struct Least : Total {
  TENON_DEVICE static float start() { return infinity(); }
  TENON_DEVICE static float join(float a, float b) { return a < b || a != a ? a : b; }
};

#ifdef LANES
extern "C" __global__ void reduce_rows(const ReduceRowsArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const int row = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  const bool exists = row < args.rows;  // lanes of the others still take part in the warp's reductions
  const T* x = static_cast<const T*>(args.x) + static_cast<long long>(exists ? row : args.rows - 1) * args.size;
  float sum = KIND::start();
  for (long long i = threadIdx.x; i < args.size; i += LANES) sum = KIND::join(KIND::enter(to_float(x[i])), sum);
  sum = reduce_group<LANES, KIND>(sum);
  if (exists && threadIdx.x == 0) static_cast<T*>(args.y)[row] = from_float<T>(KIND::finish(sum, args.size));
}
#else

// A block reduces kColumns columns of a segment: thread (c, r) takes rows r, r + kRows, …
constexpr int kThreads = 8, kRows = 32, kColumns = kThreads * VECTOR;

extern "C" __global__ void reduce_columns(const ReduceColumnsArgs args) {
  using V = Vector<T, VECTOR>;
  __shared__ float partial[kRows][kColumns];
  allow_next_kernel();
  wait_for_previous_kernels();
  const int segment = static_cast<int>(blockIdx.x), c = static_cast<int>(threadIdx.x),
            r = static_cast<int>(threadIdx.y);
  const int column = static_cast<int>(blockIdx.y) * kColumns + c * VECTOR;
  long long begin = segment * args.size, end = begin + args.size;
  if (args.begin != nullptr) {  // segments behind the last sequence hold anything
    begin = min(max(args.begin[segment], 0), args.rows);
    end = min(max(args.end[segment], 0), args.rows);
  }
  float sum[VECTOR];
#pragma unroll
  for (int j = 0; j < VECTOR; ++j) sum[j] = KIND::start();
  if (column < args.width) {
#pragma unroll 4
    for (long long row = begin + r; row < end; row += kRows) {
      float x[VECTOR];
      reinterpret_cast<const V*>(static_cast<const T*>(args.x) + row * args.width + column)->unpack(x);
#pragma unroll
      for (int j = 0; j < VECTOR; ++j) sum[j] = KIND::join(KIND::enter(x[j]), sum[j]);
    }
  }
#pragma unroll
  for (int j = 0; j < VECTOR; ++j) partial[r][c * VECTOR + j] = sum[j];
  __syncthreads();
  const int own = r * kThreads + c;  // of the block's columns
  const int first = static_cast<int>(blockIdx.y) * kColumns;
  if (own >= kColumns || first + own >= args.width) return;
  float result = partial[0][own];
  for (int i = 1; i < kRows; ++i) result = KIND::join(partial[i][own], result);
  const bool empty_sequence = args.begin != nullptr && end <= begin;
  result = empty_sequence ? 0.f : KIND::finish(result, end - begin);
  static_cast<T*>(args.y)[static_cast<long long>(segment) * args.width + first + own] = from_float<T>(result);
}
#endif
