// Softmax and normalisations.
#include "onnx/ops.h"

namespace tenon::onnx {

template <Op op>
Status softmax_flat(Call& c) {
  Value* x = c.input(0);
  const Shape shape = x->shape();
  TENON_ASSIGN(const int axis, c.axis(c.integer("axis", 1), x->rank()));
  if (axis == x->rank() - 1) return c.yield(op, {x}, {{"axis", -1}});
  const Shape outer(shape.begin(), shape.begin() + axis), inner(shape.begin() + axis, shape.end());
  TENON_ASSIGN(x, c.reshape(x, {ir::numel(outer), ir::numel(inner)}));
  TENON_ASSIGN(x, c.emit(op, {x}, {{"axis", -1}}));
  return c.yield(c.reshape(x, shape));
}
template Status softmax_flat<Op::k_softmax>(Call&);
template Status softmax_flat<Op::k_log_softmax>(Call&);

template <Op op>
Status softmax(Call& c) {
  return c.yield(op, {c.input(0)}, {{"axis", c.integer("axis", -1)}});
}
template Status softmax<Op::k_softmax>(Call&);
template Status softmax<Op::k_log_softmax>(Call&);

namespace {

// gamma and beta usually have the normalised axes' shape; they may also broadcast against it.
bool has_shape_of(const Value* parameter, const Shape& x, int axis) {
  return parameter == nullptr || parameter->shape() == Shape(x.begin() + axis, x.end());
}

Result<Value*> apply(Call& c, Op op, Value* x, Value* parameter) {
  return parameter == nullptr ? Result<Value*>(x) : c.emit(op, {x, parameter});
}

// Half-precision statistics are taken in f32 (stash_type 1, the default of every exporter).
Result<Value*> widen(Call& c, Value* x) {
  const bool half = x->dtype() == DType::kF16 || x->dtype() == DType::kBF16;
  return half ? c.cast(x, DType::kF32) : Result<Value*>(x);
}

// Mean and 1 / standard deviation, where a model asks for them.
Status yield_statistics(Call& c, Value* x, int axis, double epsilon) {
  std::vector<int64_t> axes;
  for (int i = axis; i < x->rank(); ++i) axes.push_back(i);
  TENON_ASSIGN(x, widen(c, x));
  TENON_ASSIGN(auto* mean, c.emit(Op::k_reduce_mean, {x}, {{"axes", axes}, {"keepdims", 1}}));
  TENON_ASSIGN(auto* centred, c.emit(Op::k_sub, {x, mean}));
  TENON_ASSIGN(auto* t, c.emit(Op::k_mul, {centred, centred}));
  TENON_ASSIGN(t, c.emit(Op::k_reduce_mean, {t}, {{"axes", axes}, {"keepdims", 1}}));
  TENON_ASSIGN(t, c.emit(Op::k_add, {t, c.scalar(t->dtype(), epsilon)}));
  TENON_TRY(c.yield(mean, 1));
  return c.yield(c.emit(Op::k_rsqrt, {t}), 2);
}

}  // namespace

Status import_layer_norm(Call& c) {
  Value *x = c.input(0), *gamma = c.input(1), *beta = c.input(2);
  TENON_ASSIGN(const int axis, c.axis(c.integer("axis", -1), x->rank()));
  const double epsilon = c.number("epsilon", 1e-5);
  if (c.wants(1) || c.wants(2)) TENON_TRY(yield_statistics(c, x, axis, epsilon));
  const ir::Attrs attrs{{"axis", int64_t{axis}}, {"epsilon", epsilon}};
  if (has_shape_of(gamma, x->shape(), axis) && has_shape_of(beta, x->shape(), axis)) {
    return c.yield(Op::k_layer_norm, {x, gamma, beta}, attrs);
  }
  TENON_ASSIGN(auto* y, c.emit(Op::k_layer_norm, {x}, attrs));
  TENON_ASSIGN(y, apply(c, Op::k_mul, y, gamma));
  return c.yield(apply(c, Op::k_add, y, beta));
}

Status import_rms_norm(Call& c) {
  Value *x = c.input(0), *gamma = c.input(1);
  TENON_ASSIGN(const int axis, c.axis(c.integer("axis", -1), x->rank()));
  const ir::Attrs attrs{{"axis", int64_t{axis}}, {"epsilon", c.number("epsilon", 1e-5)}};
  if (has_shape_of(gamma, x->shape(), axis) && gamma->dtype() == x->dtype())
    return c.yield(Op::k_rms_norm, {x, gamma}, attrs);
  TENON_ASSIGN(auto* y, c.emit(Op::k_rms_norm, {x}, attrs));
  TENON_ASSIGN(y, c.cast(y, gamma->dtype()));
  return c.yield(apply(c, Op::k_mul, y, gamma));
}

// y = x / |x|_p along one axis; 0 where the norm is 0.
Status import_lp_norm(Call& c) {
  Value* x = c.input(0);
  const int64_t p = c.integer("p", 2);
  if (p != 1 && p != 2) return error(ErrorCode::kUnsupported, "p = {}", p);
  TENON_ASSIGN(const int axis, c.axis(c.integer("axis", -1), x->rank()));
  Value* t = x;
  if (p == 1) {
    TENON_ASSIGN(t, c.emit(Op::k_abs, {x}));
  }
  TENON_ASSIGN(auto* norm, c.emit(p == 1 ? Op::k_reduce_sum : Op::k_reduce_l2, {t},
                                  {{"axes", std::vector<int64_t>{axis}}, {"keepdims", 1}}));
  Value* zero = c.scalar(x->dtype(), 0);
  TENON_ASSIGN(auto* empty, c.emit(Op::k_equal, {norm, zero}));
  TENON_ASSIGN(norm, c.emit(Op::k_where, {empty, c.scalar(x->dtype(), 1), norm}));
  return c.yield(Op::k_div, {x, norm});
}

}  // namespace tenon::onnx
