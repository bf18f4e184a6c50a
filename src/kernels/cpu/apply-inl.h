// Elementwise functions over blocks of elements.
#pragma once

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

template <class Mask>
HWY_INLINE V truth(Mask m) {
  return hn::IfThenElse(m, set(1.0f), hn::Zero(d));
}
HWY_INLINE hn::Mask<D> is_true(V x) { return hn::Ne(x, hn::Zero(d)); }

// The lesser (greater) one; NaN when either is.
HWY_INLINE V minimum(V a, V b) { return hn::IfThenElse(hn::Or(hn::Lt(a, b), hn::IsNaN(a)), a, b); }
HWY_INLINE V maximum(V a, V b) { return hn::IfThenElse(hn::Or(hn::Gt(a, b), hn::IsNaN(a)), a, b); }

template <Function kFunction>
HWY_INLINE V evaluate(V a, V b, V c) {
  const V one = set(1.0f);
  switch (kFunction) {
    case Function::kNeg:
      return hn::Neg(a);
    case Function::kAbs:
      return hn::Abs(a);
    case Function::kSign:
      return hn::Sub(truth(hn::Gt(a, hn::Zero(d))), truth(hn::Lt(a, hn::Zero(d))));
    case Function::kExp:
      return exp(a);
    case Function::kSqrt:
      return hn::Sqrt(a);
    case Function::kRsqrt:
      return hn::Div(one, hn::Sqrt(a));
    case Function::kReciprocal:
      return hn::Div(one, a);
    case Function::kErf:
      return erf(a);
    case Function::kTanh:
      return tanh(a);
    case Function::kSigmoid:
      return sigmoid(a);
    case Function::kRelu:
      return relu(a);
    case Function::kGelu:
      return gelu(a);
    case Function::kGeluTanh:
      return gelu_tanh(a);
    case Function::kGeluSigmoid:
      return gelu_sigmoid(a);
    case Function::kSilu:
      return silu(a);
    case Function::kFloor:
      return hn::Floor(a);
    case Function::kCeil:
      return hn::Ceil(a);
    case Function::kRound:
      return hn::Round(a);
    case Function::kAdd:
      return hn::Add(a, b);
    case Function::kSub:
      return hn::Sub(a, b);
    case Function::kMul:
      return hn::Mul(a, b);
    case Function::kDiv:
      return hn::Div(a, b);
    case Function::kMin:
      return minimum(a, b);
    case Function::kMax:
      return maximum(a, b);
    case Function::kLeakyRelu:
      return hn::IfThenElse(hn::Lt(a, hn::Zero(d)), hn::Mul(a, b), a);
    case Function::kNot:
      return truth(hn::Eq(a, hn::Zero(d)));
    case Function::kIsNan:
      return truth(hn::IsNaN(a));
    case Function::kEqual:
      return truth(hn::Eq(a, b));
    case Function::kLess:
      return truth(hn::Lt(a, b));
    case Function::kLessEqual:
      return truth(hn::Le(a, b));
    case Function::kGreater:
      return truth(hn::Gt(a, b));
    case Function::kGreaterEqual:
      return truth(hn::Ge(a, b));
    case Function::kAnd:
      return truth(hn::And(is_true(a), is_true(b)));
    case Function::kOr:
      return truth(hn::Or(is_true(a), is_true(b)));
    case Function::kXor:
      return truth(hn::Xor(is_true(a), is_true(b)));
    case Function::kWhere:
      return hn::IfThenElse(is_true(a), b, c);
  }
  return a;
}

template <Function kFunction>
void apply_block(const float* a, const float* b, const float* c, float* y, int64_t count) {
  constexpr bool kTwo = kFunction >= Function::kAdd && kFunction != Function::kNot && kFunction != Function::kIsNan;
  constexpr bool kThree = kFunction == Function::kWhere;
  const V zero = hn::Zero(d);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes)
    store(evaluate<kFunction>(load(a + j), kTwo ? load(b + j) : zero, kThree ? load(c + j) : zero), y + j);
  if (const int64_t n = count - j; n > 0)
    store(evaluate<kFunction>(load(a + j, n), kTwo ? load(b + j, n) : zero, kThree ? load(c + j, n) : zero), y + j, n);
}

using Apply = void (*)(const float*, const float*, const float*, float*, int64_t);

// One instance per function, in the order of the enum.
template <int... kIndex>
struct Applies {
  static constexpr Apply kTable[] = {apply_block<static_cast<Function>(kIndex)>...};
};
template <int kCount, int... kIndex>
struct CountUp : CountUp<kCount - 1, kCount - 1, kIndex...> {};
template <int... kIndex>
struct CountUp<0, kIndex...> : Applies<kIndex...> {};

void apply(Function f, const float* a, const float* b, const float* c, float* y, int64_t count) {
  CountUp<static_cast<int>(Function::kWhere) + 1>::kTable[static_cast<int>(f)](a, b, c, y, count);
}

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
