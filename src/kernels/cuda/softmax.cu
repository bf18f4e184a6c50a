// y = e^x / sum e^x over rows, or its logarithm: a group of lanes walks a row three times, from the caches after the
// first.
//
//   ELEMENT   f16, bf16 or f32
//   LANES     per row
//   LOG       1: the logarithm
#include "pdl.cuh"
#include "row.cuh"
#include "row_args.cuh"

using T = ELEMENT;

extern "C" __global__ void softmax(const ReduceRowsArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const int row = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  const bool exists = row < args.rows;  // lanes of the others still take part in the warp's reductions
  const long long at = static_cast<long long>(exists ? row : args.rows - 1) * args.size;
  const T* x = static_cast<const T*>(args.x) + at;
  T* y = static_cast<T*>(args.y) + at;
  float top = Greatest::start(), sum = 0.f;
  for (long long i = threadIdx.x; i < args.size; i += LANES) top = fmaxf(top, to_float(x[i]));
  top = reduce_group<LANES, Greatest>(top);
  for (long long i = threadIdx.x; i < args.size; i += LANES) sum += expf(to_float(x[i]) - top);
  sum = reduce_group<LANES, Sum>(sum);
  if (!exists) return;
  const float factor = 1.f / sum, log_sum = logf(sum);
  for (long long i = threadIdx.x; i < args.size; i += LANES) {
    const float d = to_float(x[i]) - top;
    y[i] = from_float<T>(LOG ? d - log_sum : expf(d) * factor);
  }
}
