// The activations of ops/activation.h, numbered as there, in float for 16-bit results.
#pragma once

#include "base.cuh"
#include "half.cuh"

enum Activation : int {
  kNone = 0,
  kRelu = 1,
  kGelu = 2,
  kGeluTanh = 3,
  kGeluSigmoid = 4,
  kTanh = 5,
  kSigmoid = 6,
  kSilu = 7,
  kRelu6 = 8,
  kHardSigmoid = 9,
  kHardSwish = 10,
};

// One instruction, relative error 2^-11: for results that are rounded to 16 bits anyway.
TENON_DEVICE float tanh_approx(float x) {
  float r;
  asm("tanh.approx.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
TENON_DEVICE float exp2_approx(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
TENON_DEVICE float reciprocal_approx(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
TENON_DEVICE float hard_sigmoid(float x) { return fminf(fmaxf(x * (1.f / 6) + 0.5f, 0.f), 1.f); }
TENON_DEVICE float sigmoid(float x) { return reciprocal_approx(1.f + exp2_approx(-1.4426950408889634f * x)); }

// 0.5x(1 + erf(x/√2)) in a form with one tanh: within 2.5e-5 of it (fitted over all x; beyond 6 both are 0 or x).
TENON_DEVICE float gelu(float x) {
  const float half_x = 0.5f * x, s = fminf(half_x * half_x, 9.f);
  const float t = half_x * (1.595016f + s * (0.2960448f - 0.011248544f * s));
  return half_x + half_x * tanh_approx(t);
}

// Of two f16, in f16: half the instructions, which is what an epilogue's time goes into. Over |x| < 8 its rounding errors
// and those of the result come to 6.5e-4 (root of the mean square), where gelu()'s result alone has 6.0e-4.
TENON_DEVICE uint32_t gelu_f16x2(uint32_t x) {
  constexpr uint32_t kHalf = 0x38003800, kNine = 0x48804880;                          // 0.5, 9
  constexpr uint32_t kLinear = 0x3e613e61, kCubic = 0x34bd34bd, kQuintic = 0xa1c2a1c2;  // gelu()'s coefficients
  uint32_t half_x, s, t, y;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(half_x) : "r"(x), "r"(kHalf));
  asm("mul.rn.f16x2 %0, %1, %1;" : "=r"(s) : "r"(half_x));
  asm("min.f16x2 %0, %0, %1;" : "+r"(s) : "r"(kNine));
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(t) : "r"(s), "r"(kQuintic), "r"(kCubic));
  asm("fma.rn.f16x2 %0, %0, %1, %2;" : "+r"(t) : "r"(s), "r"(kLinear));
  asm("mul.rn.f16x2 %0, %0, %1;" : "+r"(t) : "r"(half_x));
  asm("tanh.approx.f16x2 %0, %0;" : "+r"(t));
  asm("fma.rn.f16x2 %0, %1, %2, %1;" : "=r"(y) : "r"(half_x), "r"(t));
  return y;
}

TENON_DEVICE float gelu_tanh(float x) {
  const float t = x * (0.7978845608f + 0.0356774081f * x * x);
  const float half_x = 0.5f * x;
  return half_x + half_x * tanh_approx(t);
}

// 0.5x(1 + erf(x/√2)) within 4e-7 (Abramowitz and Stegun, 7.1.26), in a third of the instructions that the last bits take.
TENON_DEVICE float gelu_wide(float x) {
  const float z = fabsf(x) * 0.70710678118654752f, t = reciprocal_approx(fmaf(0.3275911f, z, 1.f));
  const float p = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float tail = 0.5f * p * exp2_approx(-0.72134752044448170f * x * x);  // 0 from 16 on
  return x > 0 ? x - fminf(x, 16.f) * tail : x * tail;
}

// To the last bits of f32.
template <int kActivation>
TENON_DEVICE float activate_exactly(float x) {
  const auto logistic = [](float t) { return 1.f / (1.f + ::expf(-t)); };
  if (kActivation == kRelu) return fmaxf(x, 0.f);
  if (kActivation == kGelu) return 0.5f * x * ::erfcf(-0.70710678118654752f * x);
  if (kActivation == kGeluTanh) return 0.5f * x * (1.f + ::tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  if (kActivation == kGeluSigmoid) return x * logistic(1.702f * x);
  if (kActivation == kTanh) return ::tanhf(x);
  if (kActivation == kSigmoid) return logistic(x);
  if (kActivation == kSilu) return x * logistic(x);
  if (kActivation == kRelu6) return fminf(fmaxf(x, 0.f), 6.f);
  if (kActivation == kHardSigmoid) return hard_sigmoid(x);
  if (kActivation == kHardSwish) return x * hard_sigmoid(x);
  return x;
}

// Whether results of type T are rounded before their activation, two at once (gelu_f16x2). Only where nothing else needs
// them unrounded.
template <class T, int kActivation>
constexpr bool kActivatesPairs = false;
template <>
constexpr bool kActivatesPairs<f16, kGelu> = true;

// For results that are rounded to 16 bits.
template <int kActivation>
TENON_DEVICE float activate(float x) {
  if (kActivation == kRelu) return fmaxf(x, 0.f);
  if (kActivation == kGelu) return gelu(x);
  if (kActivation == kGeluTanh) return gelu_tanh(x);
  if (kActivation == kGeluSigmoid) return x * sigmoid(1.702f * x);
  if (kActivation == kTanh) return tanh_approx(x);
  if (kActivation == kSigmoid) return sigmoid(x);
  if (kActivation == kSilu) return x * sigmoid(x);
  if (kActivation == kRelu6) return fminf(fmaxf(x, 0.f), 6.f);
  if (kActivation == kHardSigmoid) return hard_sigmoid(x);
  if (kActivation == kHardSwish) return x * hard_sigmoid(x);
  return x;
}
