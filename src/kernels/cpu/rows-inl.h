// Functions of one row, of one block of attention scores, and of blocks of elements.
#pragma once

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

void softmax_block(const SoftmaxBlock& s) {
  const V scale_by = set(s.scale), lowest = set(-HUGE_VALF);
  for (int64_t w = 0; w < s.width; w += kLanes) {
    float* column = s.scores + w;
    const V before = load(s.maximum + w);
    V top = before;
    for (int64_t k = 0; k < s.keys; ++k) {
      const V x = hn::Mul(load(column + k * s.width), scale_by);
      // NaN wins, so that it reaches the output.
      top = hn::IfThenElse(hn::Or(hn::Gt(x, top), hn::IsNaN(x)), x, top);
    }
    // Where all scores are -inf so far, subtracting 0 keeps the weights at 0 instead of NaN.
    const V base = hn::IfThenElse(hn::Eq(top, lowest), hn::Zero(d), top);
    V total = hn::Zero(d);
    for (int64_t k = 0; k < s.keys; ++k) {
      const V p = exp(hn::MulSub(load(column + k * s.width), scale_by, base));
      total = hn::Add(total, p);
      store(p, column + k * s.width);
    }
    const V factor = exp(hn::Sub(before, base));
    store(top, s.maximum + w);
    store(hn::MulAdd(load(s.sum + w), factor, total), s.sum + w);
    store(factor, s.correction + w);
  }
}

// All maxima come first, then all weights: the sums across lanes at a row's end wait for much, and the next row should
// not wait for them.
template <bool kNative>
void softmax_rows(const SoftmaxRows& s) {
  const V scale_by = set(s.scale), lowest = set(-HUGE_VALF);
  const int64_t whole = s.keys / kLanes * kLanes, rest = s.keys - whole;
  const auto last = hn::FirstN(d, static_cast<size_t>(rest));
  float* const highest = s.correction;  // of this block, until the corrections are known
  for (int64_t r = 0; r < s.rows; ++r) {
    const float* x = s.scores + r * s.score_stride;
    V most = lowest;  // NaN is passed over here, and reaches the output by its weight
    for (int64_t k = 0; k < whole; k += kLanes) most = hn::Max(hn::Mul(load(x + k), scale_by), most);
    if (rest > 0) most = hn::Max(hn::IfThenElse(last, hn::Mul(load(x + whole, rest), scale_by), lowest), most);
    highest[r] = hn::GetLane(hn::MaxOfLanes(d, most));
  }
  // Where all scores are -inf so far, subtracting 0 keeps the weights at 0 instead of NaN.
  const auto base_of = [&](V top) { return hn::IfThenElse(hn::Eq(top, lowest), hn::Zero(d), top); };
  for (int64_t r = 0; r < s.rows; r += kLanes) {
    const int64_t n = s.rows - r < kLanes ? s.rows - r : kLanes;
    const auto read = [&](const float* p) { return n < kLanes ? load(p + r, n) : load(p + r); };
    const auto write = [&](V v, float* p) { n < kLanes ? store(v, p + r, n) : store(v, p + r); };
    const V before = read(s.maximum), top = hn::Max(before, read(highest));
    const V factor = exp(hn::Sub(before, base_of(top)));
    write(top, s.maximum);
    write(hn::Mul(read(s.sum), factor), s.sum);
    write(factor, s.correction);
  }
  for (int64_t r = 0; r < s.rows; ++r) {
    const float* x = s.scores + r * s.score_stride;
    uint16_t* weights = s.weights + r * s.weight_stride;
    const V base = base_of(set(s.maximum[r]));
    V total = hn::Zero(d);
    for (int64_t k = 0; k < whole; k += kLanes) {
      const V p = exp(hn::MulSub(load(x + k), scale_by, base));
      total = hn::Add(total, p);
      store_sums<kNative>(p, weights + k);
    }
    int64_t end = whole;
    if (rest > 0) {
      const V p = hn::IfThenElseZero(last, exp(hn::MulSub(load(x + whole, rest), scale_by, base)));
      total = hn::Add(total, p);
      store_sums<kNative>(p, weights + whole);
      end += kLanes;
    }
    for (; end < s.padded; ++end) weights[end] = 0;
    s.sum[r] += hn::GetLane(hn::SumOfLanes(d, total));
  }
}

void pick(const PickedRow& r) {
  const DI di;
  const V factor = set(r.factor);
  const auto steps = hn::Mul(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(r.step)));
  for (int64_t j = 0; j < r.count; j += kLanes) {
    const int64_t n = r.count - j < kLanes ? r.count - j : kLanes;
    const auto used = hn::FirstN(di, static_cast<size_t>(n));
    const auto base = hn::Add(steps, hn::Set(di, static_cast<int32_t>(j * r.step) - r.first));
    const auto at = hn::MaskedLoad(used, di, r.index + j);
    const V x = hn::GatherIndex(d, r.x, hn::IfThenElseZero(used, hn::Add(base, at)));
    const auto read = [&] { return n < kLanes ? load(r.y + j, n) : load(r.y + j); };
    const V y = r.accumulate ? hn::MulAdd(x, factor, read()) : hn::Mul(x, factor);
    n < kLanes ? store(y, r.y + j, n) : store(y, r.y + j);
  }
}

void scale(float* o, int64_t columns, float factor) {
  const V f = set(factor);
  int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) store(hn::Mul(load(o + j), f), o + j);
  if (const int64_t n = columns - j; n > 0) store(hn::Mul(load(o + j, n), f), o + j, n);
}

void add_scaled(float* o, const float* x, int64_t columns, float factor) {
  const V f = set(factor);
  int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) store(hn::MulAdd(load(x + j), f, load(o + j)), o + j);
  if (const int64_t n = columns - j; n > 0) store(hn::MulAdd(load(x + j, n), f, load(o + j, n)), o + j, n);
}

template <Reduction kKind>
HWY_INLINE V fold(V sum, V x) {
  switch (kKind) {
    case Reduction::kSum:
      return hn::Add(sum, x);
    case Reduction::kSumSquares:
      return hn::MulAdd(x, x, sum);
    case Reduction::kMax:
      return hn::IfThenElse(hn::Or(hn::Gt(x, sum), hn::IsNaN(x)), x, sum);
    case Reduction::kMin:
      return hn::IfThenElse(hn::Or(hn::Lt(x, sum), hn::IsNaN(x)), x, sum);
  }
  return sum;
}

template <Reduction kKind>
float reduce_row(const float* x, int64_t columns) {
  constexpr bool kAdds = kKind == Reduction::kSum || kKind == Reduction::kSumSquares;
  const V start = set(kAdds ? 0.0f : kKind == Reduction::kMax ? -HUGE_VALF : HUGE_VALF);
  V sum = start;
  int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) sum = fold<kKind>(sum, load(x + j));
  if (const int64_t n = columns - j; n > 0) {
    const V rest = hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(n)), load(x + j, n), start);
    sum = fold<kKind>(sum, rest);
  }
  if (kAdds) return hn::GetLane(hn::SumOfLanes(d, sum));
  float lanes[kLanes];
  store(sum, lanes);
  float best = lanes[0];
  for (int64_t i = 1; i < kLanes; ++i) {
    const bool better = kKind == Reduction::kMax ? lanes[i] > best : lanes[i] < best;
    if (better || lanes[i] != lanes[i]) best = lanes[i];
  }
  return best;
}

float reduce(Reduction kind, const float* x, int64_t columns) {
  switch (kind) {
    case Reduction::kSum:
      return reduce_row<Reduction::kSum>(x, columns);
    case Reduction::kSumSquares:
      return reduce_row<Reduction::kSumSquares>(x, columns);
    case Reduction::kMax:
      return reduce_row<Reduction::kMax>(x, columns);
    case Reduction::kMin:
      return reduce_row<Reduction::kMin>(x, columns);
  }
  return 0;
}

// y = x + residual, and the sum of its elements.
HWY_INLINE float sum_with_residual(const NormRow& r) {
  if (r.residual == nullptr) return reduce_row<Reduction::kSum>(r.x, r.columns);
  V sum = hn::Zero(d);
  int64_t j = 0;
  for (; j + kLanes <= r.columns; j += kLanes) {
    const V s = hn::Add(load(r.x + j), load(r.residual + j));
    sum = hn::Add(sum, s);
    store(s, r.y + j);
  }
  if (const int64_t n = r.columns - j; n > 0) {
    const V s = hn::Add(load(r.x + j, n), load(r.residual + j, n));
    sum = hn::Add(sum, s);
    store(s, r.y + j, n);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// y = (s - mean) * factor * gamma + beta
HWY_INLINE void normalise(const NormRow& r, const float* s, float mean, float factor) {
  const V m = set(mean), f = set(factor);
  int64_t j = 0;
  for (; j + kLanes <= r.columns; j += kLanes) {
    V y = hn::Mul(hn::Sub(load(s + j), m), f);
    if (r.gamma != nullptr) y = hn::Mul(y, load(r.gamma + j));
    if (r.beta != nullptr) y = hn::Add(y, load(r.beta + j));
    store(y, r.y + j);
  }
  if (const int64_t n = r.columns - j; n > 0) {
    V y = hn::Mul(hn::Sub(load(s + j, n), m), f);
    if (r.gamma != nullptr) y = hn::Mul(y, load(r.gamma + j, n));
    if (r.beta != nullptr) y = hn::Add(y, load(r.beta + j, n));
    store(y, r.y + j, n);
  }
}

HWY_INLINE float reciprocal_root(float x) { return 1.0f / __builtin_sqrtf(x); }

// Two passes: the variance is of deviations from the mean, so large means lose nothing.
void layer_norm(const NormRow& r) {
  const float count = static_cast<float>(r.columns);
  const float mean = sum_with_residual(r) / count;
  const float* s = r.residual == nullptr ? r.x : r.y;
  const V m = set(mean);
  V squares = hn::Zero(d);
  int64_t j = 0;
  for (; j + kLanes <= r.columns; j += kLanes) {
    const V deviation = hn::Sub(load(s + j), m);
    squares = hn::MulAdd(deviation, deviation, squares);
  }
  if (const int64_t n = r.columns - j; n > 0) {
    const V deviation = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(n)), hn::Sub(load(s + j, n), m));
    squares = hn::MulAdd(deviation, deviation, squares);
  }
  const float variance = hn::GetLane(hn::SumOfLanes(d, squares)) / count;
  normalise(r, s, mean, reciprocal_root(variance + r.epsilon));
}

void rms_norm(const NormRow& r) {
  if (r.residual != nullptr) (void)sum_with_residual(r);
  const float* s = r.residual == nullptr ? r.x : r.y;
  const float mean_square = reduce_row<Reduction::kSumSquares>(s, r.columns) / static_cast<float>(r.columns);
  normalise(r, s, 0.0f, reciprocal_root(mean_square + r.epsilon));
}

void softmax(const float* x, float* y, int64_t columns) {
  const V top = set(reduce_row<Reduction::kMax>(x, columns));
  V sum = hn::Zero(d);
  int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) {
    const V p = exp(hn::Sub(load(x + j), top));
    sum = hn::Add(sum, p);
    store(p, y + j);
  }
  if (const int64_t n = columns - j; n > 0) {
    const V p = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(n)), exp(hn::Sub(load(x + j, n), top)));
    sum = hn::Add(sum, p);
    store(p, y + j, n);
  }
  scale(y, columns, 1.0f / hn::GetLane(hn::SumOfLanes(d, sum)));
}

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
