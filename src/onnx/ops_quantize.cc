// Quantised numbers: scales and zero points are applied by ordinary arithmetic, for passes to recognise.
#include "onnx/ops.h"
#include "onnx/quantize.h"
#include "onnx/tensors.h"

namespace tenon::onnx {
namespace {

struct Range {
  double lo = 0, hi = 0;
};

Range range_of(DType t) {
  switch (t) {
    case DType::kI8:
      return {-128, 127};
    case DType::kU8:
      return {0, 255};
    case DType::kI16:
      return {-32768, 32767};
    case DType::kU16:
      return {0, 65535};
    case DType::kI32:
      return {-2147483648.0, 2147483647.0};
    default:
      return {static_cast<double>(narrow_range(t).lo), static_cast<double>(narrow_range(t).hi)};
  }
}

bool is_quantized_integer(DType t) {
  return t == DType::kI8 || t == DType::kU8 || t == DType::kI16 || t == DType::kU16 || t == DType::kI4 ||
         t == DType::kU4 || t == DType::kI2 || t == DType::kU2;
}

// A scale or zero point as it broadcasts against x: one number, one per index along axis, or one per block of it.
Result<Value*> align_parameter(Call& c, Value* p, const Value* x, int64_t attr_axis, int64_t block) {
  if (p->rank() == 0 || ir::numel(p->shape()) == Dim(1)) return c.reshape(p, {});
  TENON_ASSIGN(const int at, c.axis(attr_axis, x->rank()));
  const auto axis = static_cast<size_t>(at);
  if (block == 0) {
    if (p->rank() != 1) return error(ErrorCode::kBadModel, "a scale or zero point of rank {}", p->rank());
    Shape shape(x->shape().size(), Dim(1));
    shape[axis] = p->shape()[0];
    return c.reshape(p, std::move(shape));
  }
  if (p->rank() != x->rank())
    return error(ErrorCode::kBadModel, "block scales of rank {} for rank {}", p->rank(), x->rank());
  // Each block's number is repeated; the last block may be shorter.
  Shape wide = p->shape(), flat = p->shape();
  wide.insert(wide.begin() + at + 1, Dim(1));
  TENON_ASSIGN(p, c.reshape(p, wide));
  wide[axis + 1] = Dim(block);
  TENON_ASSIGN(p, c.expand(p, wide));
  flat[axis] = flat[axis] * Dim(block);
  TENON_ASSIGN(p, c.reshape(p, flat));
  return c.slice(p, at, Dim(0), x->shape()[axis]);
}

Result<Value*> clip_and_cast(Call& c, Value* x, DType to) {
  const Range range = range_of(to);
  TENON_ASSIGN(x, c.with(Op::k_max, x, range.lo));
  TENON_ASSIGN(x, c.with(Op::k_min, x, range.hi));
  return c.cast(x, to);
}

// Of weights [F, …] or of y [N, F, …]: one per filter.
Result<Value*> per_filter(Call& c, Value* p, size_t rank, size_t axis) {
  if (p == nullptr || p->rank() == 0) return p;
  if (p->shape()[0] == Dim(1)) return c.reshape(p, {});
  Shape shape(rank, Dim(1));
  shape[axis] = p->shape()[0];
  return c.reshape(p, std::move(shape));
}

}  // namespace

Result<Value*> quantize(Call& c, Value* x, Value* scale, Value* zero, DType to, bool saturate) {
  if (scale == nullptr) return error(ErrorCode::kBadModel, "numbers without a scale");
  TENON_ASSIGN(x, c.emit(Op::k_div, {x, scale}));
  if (is_narrow_float(to)) return c.emit(Op::k_cast, {x}, {{"to", to}, {"saturate", int64_t{saturate}}});
  TENON_ASSIGN(x, c.emit(Op::k_round, {x}));
  if (zero != nullptr) {
    TENON_ASSIGN(zero, c.cast(zero, DType::kF32));
    TENON_ASSIGN(x, c.emit(Op::k_add, {x, zero}));
  }
  return clip_and_cast(c, x, to);
}

Result<Value*> centre(Call& c, Value* x, Value* zero) {
  TENON_ASSIGN(x, c.cast(x, DType::kI32));
  if (zero == nullptr) return x;
  TENON_ASSIGN(zero, c.cast(zero, DType::kI32));
  return c.emit(Op::k_sub, {x, zero});
}

Result<Value*> dequantize(Call& c, Value* x, Value* scale, Value* zero) {
  if (x == nullptr || scale == nullptr) return error(ErrorCode::kBadModel, "numbers without a scale");
  TENON_ASSIGN(x, centre(c, x, zero));
  TENON_ASSIGN(x, c.cast(x, DType::kF32));
  TENON_ASSIGN(scale, c.cast(scale, DType::kF32));
  return c.emit(Op::k_mul, {x, scale});
}

Result<Value*> per_row(Call& c, Value* p) {
  if (p == nullptr || p->rank() != 1) return p;
  if (p->shape()[0] == Dim(1)) return c.reshape(p, {});
  return c.reshape(p, {p->shape()[0], Dim(1)});
}

Result<Value*> requantize(Call& c, Value* sums, Value* a, Value* b, Value* y, Value* zero) {
  TENON_ASSIGN(a, c.cast(a, DType::kF32));
  TENON_ASSIGN(b, c.cast(b, DType::kF32));
  TENON_ASSIGN(y, c.cast(y, DType::kF32));
  TENON_ASSIGN(auto* scale, c.emit(Op::k_mul, {a, b}));
  TENON_ASSIGN(sums, c.cast(sums, DType::kF32));
  TENON_ASSIGN(sums, c.emit(Op::k_mul, {sums, scale}));
  return quantize(c, sums, y, zero, zero->dtype());
}

Status import_quantize_linear(Call& c) {
  Value *x = c.input(0), *scale = c.input(1), *zero = c.input(2);
  DType to = zero != nullptr ? zero->dtype() : DType::kU8;
  if (const int64_t given = c.integer("output_dtype", 0); given != 0) {
    TENON_ASSIGN(to, dtype_of(static_cast<int32_t>(given)));
  }
  if (!is_quantized_integer(to) && !is_narrow_float(to))
    return error(ErrorCode::kUnsupported, "output type {}", dtype_name(to));
  const int64_t axis = c.integer("axis", 1), block = c.integer("block_size", 0);
  TENON_ASSIGN(scale, align_parameter(c, scale, x, axis, block));
  if (zero != nullptr) {
    TENON_ASSIGN(zero, align_parameter(c, zero, x, axis, block));
  }
  TENON_ASSIGN(x, c.cast(x, DType::kF32));
  TENON_ASSIGN(scale, c.cast(scale, DType::kF32));
  return c.yield(quantize(c, x, scale, zero, to, c.integer("saturate", 1) != 0));
}

// (x - zero) * scale
Status import_dequantize_linear(Call& c) {
  Value *x = c.input(0), *scale = c.input(1), *zero = c.input(2);
  DType to = scale->dtype();
  if (const int64_t given = c.integer("output_dtype", 0); given != 0) {
    TENON_ASSIGN(to, dtype_of(static_cast<int32_t>(given)));
  }
  const int64_t axis = c.integer("axis", 1), block = c.integer("block_size", 0);
  TENON_ASSIGN(scale, align_parameter(c, scale, x, axis, block));
  if (!is_narrow_float(x->dtype())) {
    if (zero != nullptr) {
      TENON_ASSIGN(zero, align_parameter(c, zero, x, axis, block));
    }
    TENON_ASSIGN(x, centre(c, x, zero));
  }
  TENON_ASSIGN(x, c.cast(x, DType::kF32));
  TENON_ASSIGN(scale, c.cast(scale, DType::kF32));
  TENON_ASSIGN(x, c.emit(Op::k_mul, {x, scale}));
  return c.yield(c.cast(x, to));
}

Result<Quantized> quantize_dynamically(Call& c, Value* x) {
  std::vector<int64_t> axes;
  for (int i = 0; i < x->rank(); ++i) axes.push_back(i);
  const ir::Attrs all{{"axes", axes}, {"keepdims", 0}};
  TENON_ASSIGN(auto* high, c.emit(Op::k_reduce_max, {x}, all));
  TENON_ASSIGN(high, c.with(Op::k_max, high, 0));
  TENON_ASSIGN(auto* low, c.emit(Op::k_reduce_min, {x}, all));
  TENON_ASSIGN(low, c.with(Op::k_min, low, 0));
  TENON_ASSIGN(auto* scale, c.emit(Op::k_sub, {high, low}));
  TENON_ASSIGN(scale, c.with(Op::k_div, scale, 255));
  TENON_ASSIGN(auto* empty, c.with(Op::k_equal, scale, 0));
  TENON_ASSIGN(scale, c.emit(Op::k_where, {empty, c.scalar(DType::kF32, 1), scale}));
  TENON_ASSIGN(auto* zero, c.emit(Op::k_div, {low, scale}));
  TENON_ASSIGN(zero, c.emit(Op::k_neg, {zero}));
  TENON_ASSIGN(zero, c.emit(Op::k_round, {zero}));
  TENON_ASSIGN(zero, clip_and_cast(c, zero, DType::kU8));
  TENON_ASSIGN(auto* values, quantize(c, x, scale, zero, DType::kU8));
  return Quantized{values, scale, zero};
}

Status import_dynamic_quantize_linear(Call& c) {
  TENON_ASSIGN(const Quantized q, quantize_dynamically(c, c.input(0)));
  TENON_TRY(c.yield(q.values));
  TENON_TRY(c.yield(q.scale, 1));
  return c.yield(q.zero, 2);
}

Status import_matmul_integer(Call& c) {
  TENON_ASSIGN(auto* a_zero, per_row(c, c.input(2)));
  TENON_ASSIGN(auto* a, centre(c, c.input(0), a_zero));
  TENON_ASSIGN(auto* b, centre(c, c.input(1), c.input(3)));
  return c.yield(Op::k_matmul, {a, b});
}

// a, its scale and zero point, b, its scale and zero point, y's scale and zero point.
Status import_qlinear_matmul(Call& c) {
  TENON_ASSIGN(auto* a_scale, per_row(c, c.input(1)));
  TENON_ASSIGN(auto* a_zero, per_row(c, c.input(2)));
  TENON_ASSIGN(auto* a, centre(c, c.input(0), a_zero));
  TENON_ASSIGN(auto* b, centre(c, c.input(3), c.input(5)));
  TENON_ASSIGN(auto* sums, c.emit(Op::k_matmul, {a, b}));
  return c.yield(requantize(c, sums, a_scale, c.input(4), c.input(6), c.input(7)));
}

Status import_conv_integer(Call& c) {
  TENON_ASSIGN(auto* x, centre(c, c.input(0), c.input(2)));
  const auto rank = static_cast<size_t>(c.input(1)->rank());
  TENON_ASSIGN(auto* w_zero, per_filter(c, c.input(3), rank, 0));
  TENON_ASSIGN(auto* w, centre(c, c.input(1), w_zero));
  return c.yield(convolve(c, x, w, nullptr));
}

// x, its scale and zero point, w, its scale and zero point, y's scale and zero point, bias in units of both scales.
Status import_qlinear_conv(Call& c) {
  const auto rank = static_cast<size_t>(c.input(3)->rank());
  TENON_ASSIGN(auto* x, centre(c, c.input(0), c.input(2)));
  TENON_ASSIGN(auto* w_zero, per_filter(c, c.input(5), rank, 0));
  TENON_ASSIGN(auto* w, centre(c, c.input(3), w_zero));
  TENON_ASSIGN(auto* sums, convolve(c, x, w, c.input(8)));
  TENON_ASSIGN(auto* w_scale, per_filter(c, c.input(4), rank, 1));
  return c.yield(requantize(c, sums, c.input(1), w_scale, c.input(6), c.input(7)));
}

}  // namespace tenon::onnx
