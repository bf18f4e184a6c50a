// Signals: windows, Fourier transforms as matrix products, mel filters.
#include <cmath>
#include <numbers>

#include "onnx/ops.h"
#include "onnx/tensors.h"

namespace tenon::onnx {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;
constexpr int64_t kMostPoints = 4096;  // of a transform: its matrix has their square

Result<int64_t> scalar_of(Call& c, int i) {
  TENON_ASSIGN(const auto values, c.integers_of(i));
  if (values.size() != 1) return error(ErrorCode::kBadModel, "input {} has {} elements", i, values.size());
  return values[0];
}

// a0 - a1 cos(t) + a2 cos(2 t), t one turn over the window.
Status window(Call& c, double a0, double a1, double a2) {
  TENON_ASSIGN(const int64_t size, scalar_of(c, 0));
  if (size < 0 || size > (int64_t{1} << 24)) return error(ErrorCode::kBadModel, "a window of {} elements", size);
  TENON_ASSIGN(const DType dtype, dtype_of(static_cast<int32_t>(c.integer("output_datatype", 1))));
  const auto period = static_cast<double>(c.integer("periodic", 1) != 0 ? size : size - 1);
  std::vector<double> values;
  for (int64_t i = 0; i < size; ++i) {
    const double t = period > 0 ? kTurn * static_cast<double>(i) / period : 0;
    values.push_back(size == 1 ? 1 : a0 - a1 * std::cos(t) + a2 * std::cos(2 * t));
  }
  return c.yield(c.cast(c.literal(Tensor::from(DType::kF64, {size}, values)), dtype));
}

struct Complex {
  Value *re = nullptr, *im = nullptr;  // null: zero
};

// [n, bins]: cos or sin of a turn's parts, over `points` for an inverse transform.
Value* twiddles(Call& c, DType dtype, int64_t n, int64_t points, int64_t bins, bool sine, double scale) {
  std::vector<double> values;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < bins; ++k) {
      const double t = kTurn * static_cast<double>(i * k % points) / static_cast<double>(points);
      values.push_back(scale * (sine ? std::sin(t) : std::cos(t)));
    }
  }
  std::vector<float> narrow(values.begin(), values.end());
  if (dtype == DType::kF64) return c.literal(Tensor::from(DType::kF64, {n, bins}, values));
  return c.literal(Tensor::from(DType::kF32, {n, bins}, narrow));
}

Result<Value*> product(Call& c, Value* x, Value* w) {
  TENON_ASSIGN(w, c.cast(w, x->dtype()));
  return c.emit(Op::k_matmul, {x, w});
}

Result<Value*> join(Call& c, Op op, Value* a, Value* b) {
  if (b == nullptr) return a;
  return c.emit(op, {a, b});
}

// Over the last axis, whose first `points` elements (or zeros behind them) are transformed.
Result<Complex> transform(Call& c, Complex x, int64_t points, int64_t bins, bool inverse) {
  const Dim& size = x.re->shape().back();
  if (!size.is_const())
    return error(ErrorCode::kUnsupported, "a transform over the symbolic size {}", size.to_string());
  if (points < 1 || points > kMostPoints) return error(ErrorCode::kUnsupported, "a transform of {} points", points);
  const int64_t n = std::min(size.value(), points);
  for (Value** part : {&x.re, &x.im}) {
    if (*part == nullptr) continue;
    TENON_ASSIGN(*part, c.slice(*part, (*part)->rank() - 1, Dim(0), Dim(n)));
  }
  const double scale = inverse ? 1 / static_cast<double>(points) : 1;
  const DType dtype = x.re->dtype();
  Value* cosines = twiddles(c, dtype, n, points, bins, false, scale);
  Value* sines = twiddles(c, dtype, n, points, bins, true, scale);
  // (re + i im) (cos -+ i sin)
  Complex y;
  Value *re_sin = nullptr, *im_cos = nullptr, *im_sin = nullptr;
  TENON_ASSIGN(y.re, product(c, x.re, cosines));
  TENON_ASSIGN(re_sin, product(c, x.re, sines));
  if (x.im != nullptr) {
    TENON_ASSIGN(im_cos, product(c, x.im, cosines));
    TENON_ASSIGN(im_sin, product(c, x.im, sines));
  }
  TENON_ASSIGN(y.re, join(c, inverse ? Op::k_sub : Op::k_add, y.re, im_sin));
  if (!inverse) {
    TENON_ASSIGN(re_sin, c.emit(Op::k_neg, {re_sin}));
  }
  TENON_ASSIGN(y.im, join(c, Op::k_add, re_sin, im_cos));
  return y;
}

// The last axis holds real and, where it has two elements, imaginary parts.
Result<Complex> parts_of(Call& c, Value* x) {
  const Dim& size = x->shape().back();
  Shape shape(x->shape().begin(), x->shape().end() - 1);
  const int axis = x->rank() - 1;
  Complex parts;
  if (size != Dim(1) && size != Dim(2))
    return error(ErrorCode::kBadModel, "a last axis of {}, expected 1 or 2", size.to_string());
  TENON_ASSIGN(parts.re, c.slice(x, axis, Dim(0), Dim(1)));
  TENON_ASSIGN(parts.re, c.reshape(parts.re, shape));
  if (size == Dim(1)) return parts;
  TENON_ASSIGN(parts.im, c.slice(x, axis, Dim(1), Dim(2)));
  TENON_ASSIGN(parts.im, c.reshape(parts.im, shape));
  return parts;
}

Result<Value*> pair(Call& c, const Complex& x) {
  Shape shape = x.re->shape();
  shape.emplace_back(1);
  TENON_ASSIGN(auto* re, c.reshape(x.re, shape));
  TENON_ASSIGN(auto* im, c.reshape(x.im, shape));
  return c.emit(Op::k_concat, {re, im}, {{"axis", int64_t{-1}}});
}

// From half of a spectrum to all of it: the other half is its conjugate, backwards.
Result<Value*> mirror(Call& c, Value* half, int64_t points, bool conjugate) {
  if (half == nullptr) return half;
  const int axis = half->rank() - 1;
  const int64_t others = points - half->shape().back().value();
  if (others <= 0) return c.slice(half, axis, Dim(0), Dim(points));
  TENON_ASSIGN(auto* rest, c.emit(Op::k_slice, {half},
                                  {{"axes", std::vector<int64_t>{axis}},
                                   {"starts", Shape{Dim(others)}},
                                   {"ends", Shape{Dim(0)}},
                                   {"steps", std::vector<int64_t>{-1}}}));
  if (conjugate) {
    TENON_ASSIGN(rest, c.emit(Op::k_neg, {rest}));
  }
  return c.emit(Op::k_concat, {half, rest}, {{"axis", int64_t{axis}}});
}

Result<Value*> swap_last(Call& c, Value* x, int axis) {
  if (x == nullptr || axis == x->rank() - 1) return x;
  std::vector<int64_t> perm;
  for (int i = 0; i < x->rank(); ++i) perm.push_back(i);
  std::swap(perm[static_cast<size_t>(axis)], perm.back());
  return c.transpose(x, std::move(perm));
}

}  // namespace

Status import_hann_window(Call& c) { return window(c, 0.5, 0.5, 0); }
Status import_hamming_window(Call& c) { return window(c, 25.0 / 46, 1 - 25.0 / 46, 0); }
Status import_blackman_window(Call& c) { return window(c, 0.42, 0.5, 0.08); }

// x [..., n, ..., 1 or 2] -> [..., bins, ..., 2]; the inverse of half a spectrum is real: [..., 1].
Status import_dft(Call& c) {
  Value* x = c.input(0);
  int64_t axis = c.opset() < 20 ? c.integer("axis", 1) : -2;
  if (c.input(2) != nullptr) {
    TENON_ASSIGN(axis, scalar_of(c, 2));
  }
  TENON_ASSIGN(const int at, c.axis(axis, x->rank()));
  if (at == x->rank() - 1) return error(ErrorCode::kBadModel, "the last axis holds real and imaginary parts");
  const bool inverse = c.integer("inverse", 0) != 0, one_sided = c.integer("onesided", 0) != 0;
  const Dim& size = x->shape()[static_cast<size_t>(at)];
  if (!size.is_const())
    return error(ErrorCode::kUnsupported, "a transform over the symbolic size {}", size.to_string());
  int64_t points = inverse && one_sided ? 2 * (size.value() - 1) : size.value();
  if (c.input(1) != nullptr) {
    TENON_ASSIGN(points, scalar_of(c, 1));
  }
  TENON_ASSIGN(Complex parts, parts_of(c, x));
  TENON_ASSIGN(parts.re, swap_last(c, parts.re, at));
  TENON_ASSIGN(parts.im, swap_last(c, parts.im, at));
  if (inverse && one_sided) {
    TENON_ASSIGN(parts.re, mirror(c, parts.re, points, false));
    TENON_ASSIGN(parts.im, mirror(c, parts.im, points, true));
  }
  const int64_t bins = one_sided && !inverse ? points / 2 + 1 : points;
  TENON_ASSIGN(Complex y, transform(c, parts, points, bins, inverse));
  TENON_ASSIGN(y.re, swap_last(c, y.re, at));
  if (inverse && one_sided) {
    Shape shape = y.re->shape();
    shape.emplace_back(1);
    return c.yield(c.reshape(y.re, std::move(shape)));
  }
  TENON_ASSIGN(y.im, swap_last(c, y.im, at));
  return c.yield(pair(c, y));
}

// Frames of the signal [batch, length, 1 or 2], a step apart, each multiplied by the window and transformed.
Status import_stft(Call& c) {
  Value* signal = c.input(0);
  TENON_ASSIGN(const int64_t step, scalar_of(c, 1));
  Value* shape_of_window = c.input(2);
  int64_t width = 0;
  if (c.input(3) != nullptr) {
    TENON_ASSIGN(width, scalar_of(c, 3));
  } else if (shape_of_window != nullptr && shape_of_window->rank() == 1 && shape_of_window->shape()[0].is_const()) {
    width = shape_of_window->shape()[0].value();
  }
  if (width < 1 || step < 1) return error(ErrorCode::kBadModel, "frames of {} elements, {} apart", width, step);
  if (signal->rank() == 2) {
    TENON_ASSIGN(signal, c.reshape(signal, {signal->shape()[0], signal->shape()[1], Dim(1)}));
  }
  if (signal->rank() != 3) return error(ErrorCode::kBadModel, "a signal of rank {}", signal->rank());
  const Dim frames = Dim::floordiv(signal->shape()[1] - Dim(width), Dim(step)) + Dim(1);
  TENON_ASSIGN(auto* first, c.iota(Dim(0), frames));
  TENON_ASSIGN(first, c.with(Op::k_mul, first, static_cast<double>(step)));
  TENON_ASSIGN(first, c.reshape(first, {frames, Dim(1)}));
  TENON_ASSIGN(auto* inner, c.iota(Dim(0), Dim(width)));
  TENON_ASSIGN(auto* indices, c.emit(Op::k_add, {first, inner}));
  TENON_ASSIGN(Complex parts, parts_of(c, signal));
  for (Value** part : {&parts.re, &parts.im}) {
    if (*part == nullptr) continue;
    TENON_ASSIGN(*part, c.emit(Op::k_gather, {*part, indices}, {{"axis", int64_t{1}}}));
    if (c.input(2) == nullptr) continue;
    TENON_ASSIGN(*part, c.emit(Op::k_mul, {*part, c.input(2)}));
  }
  const int64_t bins = c.integer("onesided", 1) != 0 ? width / 2 + 1 : width;
  TENON_ASSIGN(const Complex y, transform(c, parts, width, bins, false));
  return c.yield(pair(c, y));
}

// Triangular filters, evenly spaced on the mel scale: [dft_length / 2 + 1, bins].
Status import_mel_weight_matrix(Call& c) {
  TENON_ASSIGN(const int64_t bins, scalar_of(c, 0));
  TENON_ASSIGN(const int64_t points, scalar_of(c, 1));
  TENON_ASSIGN(const int64_t rate, scalar_of(c, 2));
  TENON_ASSIGN(const Tensor low, c.constant_of(3));
  TENON_ASSIGN(const Tensor high, c.constant_of(4));
  TENON_ASSIGN(const DType dtype, dtype_of(static_cast<int32_t>(c.integer("output_datatype", 1))));
  if (bins < 1 || bins > kMostPoints || points < 1 || points > (1 << 20) || rate < 1 || low.numel() != 1 ||
      high.numel() != 1) {
    return error(ErrorCode::kBadModel, "{} filters over {} points at {} Hz", bins, points, rate);
  }
  const auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double start = mel(low.at(0)), step = (mel(high.at(0)) - start) / static_cast<double>(bins + 2);
  std::vector<int64_t> edges;
  for (int64_t i = 0; i < bins + 2; ++i) {
    const double hertz = 700 * (std::pow(10, (start + step * static_cast<double>(i)) / 2595) - 1);
    edges.push_back(
        static_cast<int64_t>(std::floor(static_cast<double>(points + 1) * hertz / static_cast<double>(rate))));
  }
  const int64_t rows = points / 2 + 1;
  std::vector<double> values(static_cast<size_t>(rows * bins), 0.0);
  const auto at = [&](int64_t row, int64_t bin) -> double& { return values[static_cast<size_t>(row * bins + bin)]; };
  for (int64_t bin = 0; bin < bins; ++bin) {
    const auto b = static_cast<size_t>(bin);
    const int64_t left = edges[b], centre = edges[b + 1], right = edges[b + 2];
    if (left < 0 || right > rows) return error(ErrorCode::kBadModel, "filter {} reaches beyond the spectrum", bin);
    if (left == centre && centre < rows) at(centre, bin) = 1;
    for (int64_t j = left; j < centre; ++j)
      at(j, bin) = static_cast<double>(j - left) / static_cast<double>(centre - left);
    if (left != centre && centre < rows) at(centre, bin) = 1;
    for (int64_t j = centre; j < right; ++j)
      at(j, bin) = static_cast<double>(right - j) / static_cast<double>(right - centre);
  }
  return c.yield(c.cast(c.literal(Tensor::from(DType::kF64, {rows, bins}, values)), dtype));
}

}  // namespace tenon::onnx
