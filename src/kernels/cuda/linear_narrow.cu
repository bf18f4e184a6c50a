// y = activation(x W + bias) + residual for a handful of columns: a warp for each row, W held by no one. As linear_norm
// x W is divided by the standard deviation of x's row.
//
//   ELEMENT            f16 or bf16
//   VECTOR             of bias
//   COLUMNS, DEPTH     of W; DEPTH is a multiple of 8
//   ACTIVATION         as in activation.cuh
//   HAS_BIAS, HAS_RESIDUAL, NORM_X (x has moments)
#include "activation.cuh"
#include "moments.cuh"
#include "pdl.cuh"
#include "row.cuh"

using T = ELEMENT;

constexpr int kVectors = DEPTH / 8;  // of 16 bytes, in a row

extern "C" __global__ void __launch_bounds__(256)
    linear_narrow(const T* x, const T* w, const VECTOR* bias, const T* residual, const Moments* x_moments, T* y, int rows,
                  float epsilon) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const int lane = threadIdx.x % 32;
  const int row = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (row >= rows) return;
  const uint4* x_row = reinterpret_cast<const uint4*>(x + static_cast<int64_t>(row) * DEPTH);
  constexpr int kPanels = NORM_X ? DEPTH / kMomentsPanel : 1;
  const float scale = NORM_X ? row_norm<kPanels>(x_moments + static_cast<int64_t>(row) * kPanels, epsilon).scale : 1.f;
  float sum[COLUMNS];
#pragma unroll
  for (int n = 0; n < COLUMNS; ++n) sum[n] = 0.f;
#pragma unroll 2
  for (int i = lane; i < kVectors; i += 32) {
    float a[8];
    unpack8<T>(x_row[i], a);
#pragma unroll
    for (int n = 0; n < COLUMNS; ++n) {
      float b[8];
      unpack8<T>(reinterpret_cast<const uint4*>(w)[n * kVectors + i], b);
#pragma unroll
      for (int j = 0; j < 8; ++j) sum[n] += a[j] * b[j];
    }
  }
#pragma unroll
  for (int n = 0; n < COLUMNS; ++n) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum[n] += __shfl_xor_sync(0xffffffffu, sum[n], step);
    if (lane != n % 32) continue;
    float v = sum[n] * scale;
    if (HAS_BIAS) v += to_float(bias[n]);
    v = activate<ACTIVATION>(v);
    if (HAS_RESIDUAL) v += to_float(residual[static_cast<int64_t>(row) * COLUMNS + n]);
    y[static_cast<int64_t>(row) * COLUMNS + n] = from_float<T>(v);
  }
}
