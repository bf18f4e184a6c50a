// Elementwise arithmetic, comparisons, casts and the operators that do nothing at inference.
#include <limits>

#include "onnx/ops.h"
#include "onnx/tensors.h"

namespace tenon::onnx {

template <Op op>
Status fold_inputs(Call& c) {
  Value* sum = c.input(0);
  for (int i = 1; i < c.num_inputs(); ++i) {
    if (c.input(i) == nullptr) return error(ErrorCode::kBadModel, "input {} is missing", i);
    TENON_ASSIGN(sum, c.emit(op, {sum, c.input(i)}));
  }
  return c.yield(sum);
}
template Status fold_inputs<Op::k_add>(Call&);
template Status fold_inputs<Op::k_max>(Call&);
template Status fold_inputs<Op::k_min>(Call&);

Status import_mean(Call& c) {
  TENON_TRY(fold_inputs<Op::k_add>(c));
  Value* sum = c.results()[0].value;
  return c.yield(Op::k_div, {sum, c.scalar(sum->dtype(), c.num_inputs())});
}

Status import_mod(Call& c) { return c.yield(Op::k_mod, {c.input(0), c.input(1)}, {{"fmod", c.integer("fmod", 0)}}); }

// The exponent may be of another type than the base, whose type the result has.
Status import_pow(Call& c) {
  Value* base = c.input(0);
  if (is_float(base->dtype()) || c.input(1)->dtype() == base->dtype()) {
    TENON_ASSIGN(auto* exponent, c.cast(c.input(1), base->dtype()));
    return c.yield(Op::k_pow, {base, exponent});
  }
  TENON_ASSIGN(auto* wide, c.cast(base, c.input(1)->dtype()));
  TENON_ASSIGN(auto* power, c.emit(Op::k_pow, {wide, c.input(1)}));
  return c.yield(c.cast(power, base->dtype()));
}

// y = min(max(x, low), high); either bound may be absent. Opset 10 has them as attributes.
Status import_clip(Call& c) {
  Value* x = c.input(0);
  Value *low = c.input(1), *high = c.input(2);
  if (low == nullptr && c.has("min")) low = c.scalar(x->dtype(), c.number("min", 0));
  if (high == nullptr && c.has("max")) high = c.scalar(x->dtype(), c.number("max", 0));
  if (low != nullptr) {
    TENON_ASSIGN(x, c.emit(Op::k_max, {x, low}));
  }
  if (high != nullptr) {
    TENON_ASSIGN(x, c.emit(Op::k_min, {x, high}));
  }
  return c.yield(x);
}

Status import_is_inf(Call& c) {
  Value* x = c.input(0);
  const bool negative = c.integer("detect_negative", 1) != 0, positive = c.integer("detect_positive", 1) != 0;
  const double infinity = std::numeric_limits<double>::infinity();
  if (negative && positive) {
    TENON_ASSIGN(x, c.emit(Op::k_abs, {x}));
  }
  if (!negative && !positive) return c.yield(c.expand(c.scalar(DType::kBool, 0), x->shape()));
  return c.yield(Op::k_equal, {x, c.scalar(x->dtype(), positive ? infinity : -infinity)});
}

namespace {

// Narrow floats have rules for what lies beyond their range or between their values.
Result<Value*> cast_by_rule(Call& c, Value* x, DType to) {
  if (!is_narrow_float(to) || x->dtype() == to) return c.cast(x, to);
  const std::string rounding = to == DType::kF8E8M0 ? c.text("round_mode", "up") : "nearest";
  return c.emit(Op::k_cast, {x}, {{"to", to}, {"saturate", c.integer("saturate", 1)}, {"rounding", rounding}});
}

}  // namespace

Status import_cast(Call& c) {
  TENON_ASSIGN(const DType to, dtype_of(static_cast<int32_t>(c.integer("to", 0))));
  return c.yield(cast_by_rule(c, c.input(0), to));
}

Status import_cast_like(Call& c) { return c.yield(cast_by_rule(c, c.input(0), c.input(1)->dtype())); }

Status import_bit_cast(Call& c) {
  TENON_ASSIGN(const DType to, dtype_of(static_cast<int32_t>(c.integer("to", 0))));
  if (to == c.input(0)->dtype()) return c.yield(c.input(0));
  return c.yield(Op::k_bit_cast, {c.input(0)}, {{"to", to}});
}

Status import_bit_shift(Call& c) {
  const std::string direction = c.text("direction", "");
  if (direction != "LEFT" && direction != "RIGHT") return error(ErrorCode::kBadModel, "direction '{}'", direction);
  return c.yield(direction == "LEFT" ? Op::k_shift_left : Op::k_shift_right, {c.input(0), c.input(1)});
}

// 1 where x > threshold, else 0.
Status import_binarizer(Call& c) {
  TENON_ASSIGN(auto* above, c.with(Op::k_greater, c.input(0), c.number("threshold", 0)));
  return c.yield(c.cast(above, c.input(0)->dtype()));
}

// Columns of the last axis.
Status import_array_feature_extractor(Call& c) {
  Value* index = c.input(1);
  TENON_ASSIGN(index, c.reshape(index, {ir::numel(index->shape())}));
  TENON_ASSIGN(auto* y, c.emit(Op::k_gather, {c.input(0), index}, {{"axis", int64_t{-1}}}));
  Shape shape = y->shape();
  if (shape.size() == 1) shape.insert(shape.begin(), Dim(1));
  return c.yield(c.reshape(y, std::move(shape)));
}

Status import_where(Call& c) { return c.yield(Op::k_where, {c.input(0), c.input(1), c.input(2)}); }

Status import_identity(Call& c) { return c.yield(c.input(0)); }

// Inference only: y = x, and a mask of ones where somebody asks for it.
Status import_dropout(Call& c) {
  Value* x = c.input(0);
  if (c.input(2) != nullptr) {
    TENON_ASSIGN(const auto training, c.integers_of(2));
    if (training.size() == 1 && training[0] != 0) {
      TENON_ASSIGN(const Tensor ratio,
                   c.input(1) ? c.constant_of(1) : Result<Tensor>(Tensor::scalar(DType::kF32, 0.5)));
      if (ratio.uniform_value() != 0.0) return error(ErrorCode::kUnsupported, "training_mode is true");
    }
  }
  if (c.wants(1)) TENON_TRY(c.yield(c.expand(c.scalar(DType::kBool, 1), x->shape()), 1));
  return c.yield(x);
}

}  // namespace tenon::onnx
