// y[i] = x[0] + … + x[i] along an axis: a warp walks a line, 32 elements at a time.
//
//   ELEMENT              f16, bf16, f32, i32 or i64
//   EXCLUSIVE, REVERSE   1: without x[i] itself; from the end
#include "grid_args.cuh"
#include "pdl.cuh"
#include "scalar.cuh"

using T = ELEMENT;

extern "C" __global__ void cumsum(const CumsumArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const int lane = static_cast<int>(threadIdx.x);
  const long long line = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (line >= args.lines) return;
  const long long first = line / args.inner * args.size * args.inner + line % args.inner;
  Held<T> before = 0;  // the sum of what lies ahead
  for (long long begin = 0; begin < args.size; begin += 32) {
    const long long i = begin + lane;
    const bool exists = i < args.size;
    const long long at = first + (REVERSE ? args.size - 1 - i : i) * args.inner;
    const Held<T> x = exists ? static_cast<const Stored<T>*>(args.x)[at].held() : Held<T>{};
    Held<T> sum = x;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const Held<T> left = __shfl_up_sync(0xffffffffu, sum, step);
      if (lane >= step) sum = fn::add(sum, left);
    }
    // Not sum - x, which would lose a float's digits.
    Held<T> ahead = __shfl_up_sync(0xffffffffu, sum, 1);
    if (lane == 0) ahead = 0;
    if (exists) static_cast<Stored<T>*>(args.y)[at] = Stored<T>::of(fn::add(before, EXCLUSIVE ? ahead : sum));
    before = fn::add(before, __shfl_sync(0xffffffffu, sum, 31));
  }
}
