// Normalisations of [batch, channels, spatial…].
#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

// [C] as [C, 1, …], to stand beside x.
Result<Value*> along_channels(Call& c, Value* p, const Value* x) {
  Shape shape(static_cast<size_t>(std::max(x->rank() - 1, 1)), Dim(1));
  shape[0] = p->shape()[0];
  TENON_ASSIGN(p, c.reshape(p, std::move(shape)));
  return c.cast(p, x->dtype());
}

Status check_channels(const Value* x, std::initializer_list<const Value*> parameters) {
  if (x->rank() < 2) return error(ErrorCode::kBadModel, "an input of rank {}", x->rank());
  for (const Value* p : parameters)
    if (p->rank() != 1) return error(ErrorCode::kBadModel, "a parameter of rank {}, expected 1", p->rank());
  return {};
}

// Mean 0 and variance 1 over each of the given groups of channels.
Result<Value*> normalise_groups(Call& c, Value* x, const Dim& groups, double epsilon) {
  const Shape shape = x->shape();
  const Dim rest = ir::numel(Shape(shape.begin() + 1, shape.end()));
  const auto width = rest.exact_div(groups);
  if (!width)
    return error(ErrorCode::kBadModel, "{} elements do not divide into {} groups", rest.to_string(),
                 groups.to_string());
  TENON_ASSIGN(auto* y, c.reshape(x, {shape[0], groups, *width}));
  TENON_ASSIGN(y, c.emit(Op::k_layer_norm, {y}, {{"axis", int64_t{2}}, {"epsilon", epsilon}}));
  return c.reshape(y, shape);
}

Result<Value*> scale_and_shift(Call& c, Value* x, Value* scale, Value* shift) {
  TENON_ASSIGN(scale, along_channels(c, scale, x));
  TENON_ASSIGN(shift, along_channels(c, shift, x));
  TENON_ASSIGN(x, c.emit(Op::k_mul, {x, scale}));
  return c.emit(Op::k_add, {x, shift});
}

// momentum * old + (1 - momentum) * now
Result<Value*> running(Call& c, Value* old, Value* now, double momentum) {
  TENON_ASSIGN(now, c.cast(now, old->dtype()));
  TENON_ASSIGN(old, c.with(Op::k_mul, old, momentum));
  TENON_ASSIGN(now, c.with(Op::k_mul, now, 1 - momentum));
  return c.emit(Op::k_add, {old, now});
}

}  // namespace

// y = (x - mean) / sqrt(var + epsilon) * scale + bias, as one factor and one shift per channel.
Status import_batch_norm(Call& c) {
  Value *x = c.input(0), *scale = c.input(1), *bias = c.input(2), *mean = c.input(3), *var = c.input(4);
  TENON_TRY(check_channels(x, {scale, bias, mean, var}));
  if (c.integer("spatial", 1) == 0) return error(ErrorCode::kUnsupported, "spatial = 0");  // opset 8
  if (c.integer("training_mode", 0) != 0) {
    // Statistics of this batch, and the running ones.
    std::vector<int64_t> axes{0};
    for (int i = 2; i < x->rank(); ++i) axes.push_back(i);
    TENON_ASSIGN(auto* now, c.emit(Op::k_reduce_mean, {x}, {{"axes", axes}, {"keepdims", 1}}));
    TENON_ASSIGN(auto* t, c.emit(Op::k_sub, {x, now}));
    TENON_ASSIGN(t, c.emit(Op::k_mul, {t, t}));
    TENON_ASSIGN(t, c.emit(Op::k_reduce_mean, {t}, {{"axes", axes}, {"keepdims", 0}}));
    TENON_ASSIGN(now, c.reshape(now, {x->shape()[1]}));
    const double momentum = c.number("momentum", 0.9);
    TENON_TRY(c.yield(running(c, mean, now, momentum), 1));
    TENON_TRY(c.yield(running(c, var, t, momentum), 2));
    mean = now;
    var = t;
  }
  TENON_ASSIGN(var, c.cast(var, scale->dtype()));
  TENON_ASSIGN(mean, c.cast(mean, scale->dtype()));
  TENON_ASSIGN(auto* factor, c.with(Op::k_add, var, c.number("epsilon", 1e-5)));
  TENON_ASSIGN(factor, c.emit(Op::k_rsqrt, {factor}));
  TENON_ASSIGN(factor, c.emit(Op::k_mul, {scale, factor}));
  TENON_ASSIGN(auto* shift, c.emit(Op::k_mul, {mean, factor}));
  TENON_ASSIGN(shift, c.emit(Op::k_sub, {bias, shift}));
  return c.yield(scale_and_shift(c, x, factor, shift));
}

Status import_instance_norm(Call& c) {
  Value *x = c.input(0), *scale = c.input(1), *bias = c.input(2);
  TENON_TRY(check_channels(x, {scale, bias}));
  TENON_ASSIGN(auto* y, normalise_groups(c, x, x->shape()[1], c.number("epsilon", 1e-5)));
  return c.yield(scale_and_shift(c, y, scale, bias));
}

// Before opset 21 scale and bias had one number per group.
Status import_group_norm(Call& c) {
  Value *x = c.input(0), *scale = c.input(1), *bias = c.input(2);
  TENON_TRY(check_channels(x, {scale, bias}));
  const Dim groups(c.integer("num_groups", 0));
  TENON_ASSIGN(auto* y, normalise_groups(c, x, groups, c.number("epsilon", 1e-5)));
  for (Value** p : {&scale, &bias}) {
    if ((*p)->shape()[0] != groups || groups == x->shape()[1]) continue;
    const auto each = x->shape()[1].exact_div(groups);
    if (!each)
      return error(ErrorCode::kBadModel, "{} channels in {} groups", x->shape()[1].to_string(), groups.to_string());
    TENON_ASSIGN(*p, c.reshape(*p, {groups, Dim(1)}));
    TENON_ASSIGN(*p, c.expand(*p, {groups, *each}));
    TENON_ASSIGN(*p, c.reshape(*p, {x->shape()[1]}));
  }
  return c.yield(scale_and_shift(c, y, scale, bias));
}

// (x - mean) / (sqrt(mean of squares - mean^2) + 1e-9) over the given axes.
Status import_mean_variance_norm(Call& c) {
  Value* x = c.input(0);
  std::vector<int64_t> axes = c.has("axes") ? c.integers("axes") : std::vector<int64_t>{0, 2, 3};
  TENON_ASSIGN(axes, c.axes(axes, x->rank()));
  const ir::Attrs over{{"axes", axes}, {"keepdims", 1}};
  TENON_ASSIGN(auto* mean, c.emit(Op::k_reduce_mean, {x}, over));
  TENON_ASSIGN(auto* centred, c.emit(Op::k_sub, {x, mean}));
  TENON_ASSIGN(auto* t, c.emit(Op::k_mul, {centred, centred}));
  TENON_ASSIGN(t, c.emit(Op::k_reduce_mean, {t}, over));
  TENON_ASSIGN(t, c.emit(Op::k_sqrt, {t}));
  TENON_ASSIGN(t, c.with(Op::k_add, t, 1e-9));
  return c.yield(Op::k_div, {centred, t});
}

}  // namespace tenon::onnx
