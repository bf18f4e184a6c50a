// Quantised operators of ONNX Runtime's com.microsoft domain: what its quantisation tools and its optimiser leave in a
// model.
#include "onnx/ops.h"
#include "onnx/window.h"
#include "onnx/quantize.h"

namespace tenon::onnx {
namespace {

Result<Value*> add_bias(Call& c, Value* x, Value* bias) {
  return bias == nullptr ? Result<Value*>(x) : c.emit(Op::k_add, {x, bias});
}

// (a - a_zero) (b - b_zero) * a_scale * b_scale; factors are integers, the result f32.
Result<Value*> scaled_product(Call& c, Value* a, Value* a_scale, Value* a_zero, Value* b, Value* b_scale,
                              Value* b_zero) {
  TENON_ASSIGN(a_zero, per_row(c, a_zero));
  TENON_ASSIGN(a_scale, per_row(c, a_scale));
  TENON_ASSIGN(a, centre(c, a, a_zero));
  TENON_ASSIGN(b, centre(c, b, b_zero));
  TENON_ASSIGN(auto* sums, c.emit(Op::k_matmul, {a, b}));
  TENON_ASSIGN(sums, c.cast(sums, DType::kF32));
  TENON_ASSIGN(auto* scale, c.emit(Op::k_mul, {a_scale, b_scale}));
  return c.emit(Op::k_mul, {sums, scale});
}

// What a missing zero point of a type stands for: 0.
Result<Value*> quantize_as(Call& c, Value* y, Value* scale, Value* zero, DType fallback) {
  return quantize(c, y, scale, zero, zero != nullptr ? zero->dtype() : fallback);
}

}  // namespace

// Inputs: a of f32, b, its scale, its zero point?, bias?. a is quantised on the way.
Status import_dynamic_quantize_matmul(Call& c) {
  TENON_ASSIGN(const auto a, quantize_dynamically(c, c.input(0)));
  TENON_ASSIGN(auto* y, scaled_product(c, a.values, a.scale, a.zero, c.input(1), c.input(2), c.input(3)));
  return c.yield(add_bias(c, y, c.input(4)));
}

// Inputs: a, b, their scales, their zero points?, bias?.
Status import_matmul_integer_to_float(Call& c) {
  TENON_ASSIGN(auto* y, scaled_product(c, c.input(0), c.input(2), c.input(4), c.input(1), c.input(3), c.input(5)));
  return c.yield(add_bias(c, y, c.input(6)));
}

// Inputs: a, scale, zero, b, scale, zero, bias of i32?, y's scale?, y's zero point?. Without y's scale the result is
// f32.
Status import_qgemm(Call& c) {
  TENON_ASSIGN(auto* a, centre(c, c.input(0), c.input(2)));
  Value *b = c.input(3), *b_scale = c.input(4), *b_zero = c.input(5);
  const bool turned = c.integer("transB", 0) != 0;
  if (a->rank() != 2 || b->rank() != 2)
    return error(ErrorCode::kBadModel, "factors of ranks {} and {}", a->rank(), b->rank());
  if (c.integer("transA", 0) != 0) {
    TENON_ASSIGN(a, c.transpose(a, {1, 0}));
  }
  if (turned) {
    TENON_ASSIGN(b, c.transpose(b, {1, 0}));
  }
  TENON_ASSIGN(b, centre(c, b, b_zero));
  TENON_ASSIGN(auto* sums, c.emit(Op::k_matmul, {a, b}));
  TENON_ASSIGN(sums, add_bias(c, sums, c.input(6)));
  TENON_ASSIGN(sums, c.cast(sums, DType::kF32));
  TENON_ASSIGN(auto* scale, c.emit(Op::k_mul, {c.input(1), b_scale}));
  TENON_ASSIGN(scale, c.with(Op::k_mul, scale, c.number("alpha", 1)));
  TENON_ASSIGN(auto* y, c.emit(Op::k_mul, {sums, scale}));
  if (c.input(7) == nullptr) return c.yield(y);
  return c.yield(quantize_as(c, y, c.input(7), c.input(8), c.input(0)->dtype()));
}

// Inputs: x, the merged Q/K/V weight, its bias, their scales, mask?, their zero points?, past?.
Status import_qattention(Call& c) {
  if (c.input(8) != nullptr || c.wants(1)) return error(ErrorCode::kUnsupported, "past keys and values");
  TENON_ASSIGN(auto* qkv, scaled_product(c, c.input(0), c.input(3), c.input(6), c.input(1), c.input(4), c.input(7)));
  TENON_ASSIGN(qkv, add_bias(c, qkv, c.input(2)));
  return c.yield(attend_packed(c, qkv, c.input(5), nullptr));
}

// Inputs: a, scale, zero?, b, scale, zero?, y's scale, y's zero point?.
template <Op op>
Status qlinear_binary(Call& c) {
  TENON_ASSIGN(auto* a, dequantize(c, c.input(0), c.input(1), c.input(2)));
  TENON_ASSIGN(auto* b, dequantize(c, c.input(3), c.input(4), c.input(5)));
  TENON_ASSIGN(auto* y, c.emit(op, {a, b}));
  return c.yield(quantize_as(c, y, c.input(6), c.input(7), c.input(0)->dtype()));
}
template Status qlinear_binary<Op::k_add>(Call&);
template Status qlinear_binary<Op::k_mul>(Call&);

namespace {

// Inputs: x, scale, zero?, y's scale, y's zero point?.
Status qlinear_unary(Call& c, Op op, ir::Attrs attrs = {}) {
  TENON_ASSIGN(auto* x, dequantize(c, c.input(0), c.input(1), c.input(2)));
  TENON_ASSIGN(auto* y, c.emit(op, {x}, std::move(attrs)));
  return c.yield(quantize_as(c, y, c.input(3), c.input(4), c.input(0)->dtype()));
}

}  // namespace

Status import_qlinear_sigmoid(Call& c) { return qlinear_unary(c, Op::k_sigmoid); }
Status import_qlinear_leaky_relu(Call& c) {
  return qlinear_unary(c, Op::k_leaky_relu, {{"alpha", c.number("alpha", 0.01)}});
}

Status import_qlinear_softmax(Call& c) {
  const int rank = c.input(0)->rank();
  TENON_ASSIGN(const int axis, c.axis(c.integer("axis", -1), rank));
  if (c.integer("opset", 13) < 13 && axis != rank - 1)
    return error(ErrorCode::kUnsupported, "axis {} as of opset 12", axis);
  return qlinear_unary(c, Op::k_softmax, {{"axis", int64_t{axis}}});
}

Status import_qlinear_global_average_pool(Call& c) {
  const bool last = c.integer("channels_last", 0) != 0;
  std::vector<int64_t> axes;
  for (int i = last ? 1 : 2; i < c.input(0)->rank() - (last ? 1 : 0); ++i) axes.push_back(i);
  return qlinear_unary(c, Op::k_reduce_mean, {{"axes", std::move(axes)}, {"keepdims", 1}});
}

Status import_qlinear_average_pool(Call& c) {
  if (c.integer("channels_last", 0) != 0) return error(ErrorCode::kUnsupported, "channels that stand last");
  TENON_ASSIGN(ir::Attrs attrs, average_pool_attributes(c));
  return qlinear_unary(c, Op::k_average_pool, std::move(attrs));
}

// Inputs: condition, then x and y, each with scale and zero point, then those of the result.
Status import_qlinear_where(Call& c) {
  TENON_ASSIGN(auto* x, dequantize(c, c.input(1), c.input(2), c.input(3)));
  TENON_ASSIGN(auto* y, dequantize(c, c.input(4), c.input(5), c.input(6)));
  TENON_ASSIGN(auto* z, c.emit(Op::k_where, {c.input(0), x, y}));
  return c.yield(quantize_as(c, z, c.input(7), c.input(8), c.input(1)->dtype()));
}

// Inputs: y's scale and zero point, then x, scale and zero point of each part.
Status import_qlinear_concat(Call& c) {
  std::vector<Value*> parts;
  for (int i = 2; i + 2 < c.num_inputs(); i += 3) {
    if (c.input(i) == nullptr || c.input(i + 1) == nullptr)
      return error(ErrorCode::kBadModel, "input {} is missing", i);
    TENON_ASSIGN(auto* part, dequantize(c, c.input(i), c.input(i + 1), c.input(i + 2)));
    parts.push_back(part);
  }
  if (parts.empty()) return error(ErrorCode::kBadModel, "nothing to join");
  TENON_ASSIGN(auto* y, c.emit(Op::k_concat, parts, {{"axis", c.integer("axis", 0)}}));
  return c.yield(quantize_as(c, y, c.input(0), c.input(1), c.input(2)->dtype()));
}

// y = a b' + bias, b [N, K] in 4 or 8 bits with a scale for each block of a row. Inputs: a, b packed [N, blocks,
// bytes], scales, zero points? (packed like b, or of a's type), group index?, bias?.
Status import_matmul_nbits(Call& c) {
  const int64_t bits = c.integer("bits", 4), block = c.integer("block_size", 0), k = c.integer("K", 0),
                n = c.integer("N", 0);
  if (bits != 4 && bits != 8) return error(ErrorCode::kUnsupported, "{} bits", bits);
  if (c.input(4) != nullptr) return error(ErrorCode::kUnsupported, "a group index");
  if (block < 16 || k < 1 || n < 1) return error(ErrorCode::kBadModel, "{} x {} in blocks of {}", k, n, block);
  Value *a = c.input(0), *zeros = c.input(3);
  const Dim blocks((k + block - 1) / block);
  // Two numbers a byte, the lower bits first; `count` of them stay.
  const auto unpack = [&](Value* packed, const Shape& rows, const Dim& count) -> Result<Value*> {
    if (packed->dtype() != DType::kU8)
      return error(ErrorCode::kUnsupported, "packed numbers of type {}", dtype_name(packed->dtype()));
    const int axis = static_cast<int>(rows.size());
    Shape pairs = rows;
    pairs.push_back(bits == 4 ? Dim::floordiv(count + Dim(1), Dim(2)) : count);
    TENON_ASSIGN(packed, c.reshape(packed, pairs));
    if (bits == 8) return c.cast(packed, DType::kF32);
    pairs.emplace_back(1);
    TENON_ASSIGN(packed, c.reshape(packed, pairs));
    TENON_ASSIGN(auto* low, c.with(Op::k_bit_and, packed, 15));
    TENON_ASSIGN(auto* high, c.with(Op::k_shift_right, packed, 4));
    TENON_ASSIGN(auto* both, c.emit(Op::k_concat, {low, high}, {{"axis", int64_t{-1}}}));
    pairs.pop_back();
    pairs.back() = pairs.back() * Dim(2);
    TENON_ASSIGN(both, c.reshape(both, pairs));
    TENON_ASSIGN(both, c.slice(both, axis, Dim(0), count));
    return c.cast(both, DType::kF32);
  };
  TENON_ASSIGN(auto* w, unpack(c.input(1), {Dim(n), blocks}, Dim(block)));
  TENON_ASSIGN(auto* scales, c.cast(c.input(2), DType::kF32));
  TENON_ASSIGN(scales, c.reshape(scales, {Dim(n), blocks, Dim(1)}));
  if (zeros == nullptr) {
    TENON_ASSIGN(w, c.with(Op::k_sub, w, bits == 4 ? 8 : 128));
  } else {
    TENON_ASSIGN(zeros, zeros->dtype() == DType::kU8 ? unpack(zeros, {Dim(n)}, blocks) : c.cast(zeros, DType::kF32));
    TENON_ASSIGN(zeros, c.reshape(zeros, {Dim(n), blocks, Dim(1)}));
    TENON_ASSIGN(w, c.emit(Op::k_sub, {w, zeros}));
  }
  TENON_ASSIGN(w, c.emit(Op::k_mul, {w, scales}));
  TENON_ASSIGN(w, c.reshape(w, {Dim(n), blocks * Dim(block)}));
  TENON_ASSIGN(w, c.slice(w, 1, Dim(0), Dim(k)));
  TENON_ASSIGN(w, c.transpose(w, {1, 0}));
  TENON_ASSIGN(w, c.cast(w, a->dtype()));
  TENON_ASSIGN(auto* y, c.emit(Op::k_matmul, {a, w}));
  return c.yield(add_bias(c, y, c.input(5)));
}

}  // namespace tenon::onnx
