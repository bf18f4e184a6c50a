// Elementary functions of f32 vectors. Errors are the largest against double over the whole range, in units of the last
// place; NaN stays NaN. Coefficients were fitted for this file (weighted least squares on Chebyshev nodes).
#pragma once

#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

// x within [lo, hi], NaN stays NaN: where one operand is NaN, the minimum and maximum of x86 give the second, those of
// Arm NaN, and those of plain C++ whatever.
HWY_INLINE V clamp(V x, float lo, float hi) {
  const V low = set(lo), high = set(hi);
#if HWY_TARGET == HWY_SCALAR
  return hn::IfThenElse(hn::Gt(x, high), high, hn::IfThenElse(hn::Lt(x, low), low, x));
#else
  return hn::Max(low, hn::Min(high, x));
#endif
}

// c[0] + c[1] t + … + c[n-1] t^(n-1)
template <int kTerms>
HWY_INLINE V polynomial(V t, const float (&c)[kTerms]) {
  V sum = set(c[kTerms - 1]);
  HWY_UNROLL(16)
  for (int i = kTerms - 2; i >= 0; --i) sum = hn::MulAdd(sum, t, set(c[i]));
  return sum;
}

// e^x: 1.5 ulp; below -87 (where results near the denormals) 0, above 88.722 infinity.
HWY_INLINE V exp(V x) {
  constexpr float kLog2e = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, found in the low bits
  constexpr float kTerms[] = {0.49999994f, 0.16666515f, 0.041668456f, 0.008369419f, 0.0013813144f};
  const hn::RebindToSigned<D> di;
  const V shifted = hn::MulAdd(x, set(kLog2e), set(kMagic));
  const V n = hn::Sub(shifted, set(kMagic));
  const V r = hn::NegMulAdd(n, set(kLn2Low), hn::NegMulAdd(n, set(kLn2High), x));
  const V p = hn::Add(hn::MulAdd(hn::Mul(r, r), polynomial(r, kTerms), r), set(1.0f));
  // 2^n as 2 * 2^(n-1), so that n = 128 has a place.
  const auto bits = hn::Add(hn::ShiftLeft<23>(hn::BitCast(di, shifted)), hn::Set(di, 126 << 23));
  const V y = hn::Mul(hn::Add(p, p), hn::BitCast(d, bits));
  const V finite = hn::IfThenElse(hn::Gt(x, set(88.7228394f)), set(HUGE_VALF), y);
  return hn::IfThenElse(hn::Lt(x, set(-87.0f)), hn::Zero(d), finite);
}

// tanh x: 6 ulp, 3.2e-7 absolute; a quotient of polynomials in x^2.
HWY_INLINE V tanh(V x) {
  constexpr float kP[] = {1.0f, 0.1337973028f, 0.003494048491f, 2.058369319e-5f, 1.331933586e-8f};
  constexpr float kQ[] = {1.0f, 0.4671304524f, 0.02587112784f, 3.283114929e-4f, 7.762133691e-7f};
  const V z = clamp(x, -9.02f, 9.02f);
  const V t = hn::Mul(z, z);
  return clamp(hn::Div(hn::Mul(z, polynomial(t, kP)), polynomial(t, kQ)), -1.0f, 1.0f);
}

// erf x: 6 ulp, 3.4e-7 absolute.
HWY_INLINE V erf(V x) {
  constexpr float kP[] = {1.128379107f,    0.1904046685f,   0.05274849385f,
                          0.003765541129f, 2.848812146e-4f, 2.050104058e-6f};
  constexpr float kQ[] = {1.0f, 0.5020744801f, 0.1141083762f, 0.01496906579f, 0.00116251735f, 3.809180635e-5f};
  const V z = clamp(x, -3.92f, 3.92f);
  const V t = hn::Mul(z, z);
  return clamp(hn::Div(hn::Mul(z, polynomial(t, kP)), polynomial(t, kQ)), -1.0f, 1.0f);
}

HWY_INLINE V sigmoid(V x) { return hn::Div(set(1.0f), hn::Add(set(1.0f), exp(hn::Neg(x)))); }

HWY_INLINE V half_of_one_plus(V x, V y) {  // x (1 + y) / 2
  const V h = hn::Mul(x, set(0.5f));
  return hn::MulAdd(h, y, h);
}
HWY_INLINE V gelu(V x) { return half_of_one_plus(x, erf(hn::Mul(x, set(0.707106781f)))); }
// For results that are rounded to 16 bits: within 1.4e-5 |x|, x and 0 (to 1e-6 |x|) beyond 4.2. The odd polynomial
// (minimax over that range, 1/2 at its end) takes half the time of erf's quotient.
HWY_INLINE V gelu_rounded(V x) {
  constexpr float kHalfErf[] = {0.398882121f,    -0.0662867278f, 0.00976921991f,   -0.0010919763f, 9.03621767e-05f,
                                -5.3125209e-06f, 2.0746937e-07f, -4.78346518e-09f, 4.89900481e-11f};
  const V z = clamp(x, -4.2f, 4.2f);
  return hn::Mul(x, hn::MulAdd(z, polynomial(hn::Mul(z, z), kHalfErf), set(0.5f)));
}
HWY_INLINE V gelu_tanh(V x) {
  const V inner = hn::MulAdd(hn::Mul(x, x), set(0.044715f * 0.797884561f), set(0.797884561f));
  return half_of_one_plus(x, tanh(hn::Mul(x, inner)));
}
HWY_INLINE V gelu_sigmoid(V x) { return hn::Mul(x, sigmoid(hn::Mul(x, set(1.702f)))); }
HWY_INLINE V silu(V x) { return hn::Mul(x, sigmoid(x)); }
HWY_INLINE V hard_sigmoid(V x) { return clamp(hn::MulAdd(x, set(1.0f / 6), set(0.5f)), 0.0f, 1.0f); }
// x for x > 0 and for NaN, else 0.
HWY_INLINE V relu(V x) { return hn::IfThenZeroElse(hn::Le(x, hn::Zero(d)), x); }

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
