// The transforms of Winograd's minimal filtering, of channels side by side (kernels/cpu/winograd.h).
#pragma once

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

constexpr float kHalfRoot = 0.70710678118654752f, kRoot = 1.41421356237309505f;

// y = B^T x: element i of y is the product of (t - p) over all points p but its own, where t^j stands for x[j].
template <int kOutputs>
HWY_INLINE void winograd_data(const V (&x)[kOutputs + 2], V (&y)[kOutputs + 2]) {
  if constexpr (kOutputs == 2) {
    y[0] = hn::Sub(x[2], x[0]);
    y[1] = hn::Add(x[2], x[1]);
    y[2] = hn::Sub(x[2], x[1]);
    y[3] = hn::Sub(x[3], x[1]);
  } else {
    const V two = set(2.0f), half = set(0.5f), both = set(2.5f), a = set(kHalfRoot), b = set(kRoot);
    const V even_a = hn::NegMulAdd(two, x[2], x[4]), odd_a = hn::NegMulAdd(two, x[1], x[3]);
    const V even_b = hn::NegMulAdd(half, x[2], x[4]), odd_b = hn::NegMulAdd(half, x[1], x[3]);
    y[0] = hn::NegMulAdd(both, x[2], hn::Add(x[0], x[4]));
    y[1] = hn::MulAdd(a, odd_a, even_a);
    y[2] = hn::NegMulAdd(a, odd_a, even_a);
    y[3] = hn::MulAdd(b, odd_b, even_b);
    y[4] = hn::NegMulAdd(b, odd_b, even_b);
    y[5] = hn::NegMulAdd(both, x[3], hn::Add(x[1], x[5]));
  }
}

// y = A^T x: element i of y is the sum over points p of p^i times the point's x, the infinite one's in the last alone.
template <int kOutputs>
HWY_INLINE void winograd_result(const V (&x)[kOutputs + 2], V (&y)[kOutputs]) {
  const V sum_a = hn::Add(x[1], x[2]), difference_a = hn::Sub(x[1], x[2]);
  if constexpr (kOutputs == 2) {
    y[0] = hn::Add(x[0], sum_a);
    y[1] = hn::Add(difference_a, x[3]);
  } else {
    const V sum_b = hn::Add(x[3], x[4]), difference_b = hn::Sub(x[3], x[4]);
    y[0] = hn::Add(x[0], hn::Add(sum_a, sum_b));
    y[1] = hn::MulAdd(set(kHalfRoot), difference_a, hn::Mul(set(kRoot), difference_b));
    y[2] = hn::MulAdd(set(0.5f), sum_a, hn::Mul(set(2.0f), sum_b));
    y[3] = hn::MulAdd(set(0.5f * kHalfRoot), difference_a, hn::MulAdd(set(2 * kRoot), difference_b, x[5]));
  }
}

// One vector of channels, or the first n < kLanes of it.
template <int kOutputs, bool kWhole>
HWY_INLINE void winograd_pixels(const float* const* rows, int64_t c, int64_t n, float* out, int64_t stride) {
  constexpr int kSide = kOutputs + 2;
  V half[kSide][kSide];  // transformed along the first axis; [second axis][point]
  HWY_UNROLL(8)
  for (int j = 0; j < kSide; ++j) {
    V x[kSide];
    HWY_UNROLL(8)
    for (int i = 0; i < kSide; ++i) x[i] = kWhole ? load(rows[i * kSide + j] + c) : load(rows[i * kSide + j] + c, n);
    winograd_data<kOutputs>(x, half[j]);
  }
  HWY_UNROLL(8)
  for (int i = 0; i < kSide; ++i) {
    V x[kSide], y[kSide];
    HWY_UNROLL(8)
    for (int j = 0; j < kSide; ++j) x[j] = half[j][i];
    winograd_data<kOutputs>(x, y);
    HWY_UNROLL(8)
    for (int j = 0; j < kSide; ++j) store(y[j], out + (i * kSide + j) * stride + c);
  }
}

template <int kOutputs>
void winograd_input(const float* const* rows, int64_t channels, float* out, int64_t stride) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) winograd_pixels<kOutputs, true>(rows, c, kLanes, out, stride);
  if (c < channels) winograd_pixels<kOutputs, false>(rows, c, channels - c, out, stride);
}

template <int kOutputs>
void winograd_output(const float* sums, int64_t stride, int64_t channels, float* out, int64_t out_stride) {
  constexpr int kSide = kOutputs + 2;
  for (int64_t c = 0; c < channels; c += kLanes) {
    V half[kSide][kOutputs];  // [second axis][pixel of the first]
    HWY_UNROLL(8)
    for (int j = 0; j < kSide; ++j) {
      V x[kSide];
      HWY_UNROLL(8)
      for (int i = 0; i < kSide; ++i) x[i] = load(sums + (i * kSide + j) * stride + c);
      winograd_result<kOutputs>(x, half[j]);
    }
    HWY_UNROLL(8)
    for (int i = 0; i < kOutputs; ++i) {
      V x[kSide], y[kOutputs];
      HWY_UNROLL(8)
      for (int j = 0; j < kSide; ++j) x[j] = half[j][i];
      winograd_result<kOutputs>(x, y);
      HWY_UNROLL(8)
      for (int j = 0; j < kOutputs; ++j) store(y[j], out + (i * kOutputs + j) * out_stride + c);
    }
  }
}

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
