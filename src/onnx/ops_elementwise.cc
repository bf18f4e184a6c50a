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

Status import_cast(Call& c) {
  TENON_ASSIGN(const DType to, dtype_of(static_cast<int32_t>(c.integer("to", 0))));
  return c.yield(c.cast(c.input(0), to));
}

Status import_cast_like(Call& c) { return c.yield(c.cast(c.input(0), c.input(1)->dtype())); }

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
