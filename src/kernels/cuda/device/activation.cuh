// The activations of ops/activation.h, numbered as there, in float for 16-bit results.
#pragma once

#include "base.cuh"

enum Activation : int {
  kNone = 0,
  kRelu = 1,
  kGelu = 2,
  kGeluTanh = 3,
  kGeluSigmoid = 4,
  kTanh = 5,
  kSigmoid = 6,
  kSilu = 7,
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
TENON_DEVICE float sigmoid(float x) { return reciprocal_approx(1.f + exp2_approx(-1.4426950408889634f * x)); }

// 0.5x(1 + erf(x/√2)) in a form with one tanh: within 2.5e-5 of it (fitted over all x; beyond 6 both are 0 or x).
TENON_DEVICE float gelu(float x) {
  const float half_x = 0.5f * x, s = fminf(half_x * half_x, 9.f);
  const float t = half_x * (1.595016f + s * (0.2960448f - 0.011248544f * s));
  return half_x + half_x * tanh_approx(t);
}

TENON_DEVICE float gelu_tanh(float x) {
  const float t = x * (0.7978845608f + 0.0356774081f * x * x);
  const float half_x = 0.5f * x;
  return half_x + half_x * tanh_approx(t);
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
  return x;
}

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
  return x;
}
