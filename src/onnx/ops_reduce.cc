// Reductions. Axes are an attribute in older opsets and an input in newer ones; both spellings are read wherever they
// stand.
#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

struct Reduction {
  std::vector<int64_t> axes;
  int64_t keepdims = 1;
  bool nothing = false;  // no axes, and the model says that this means none rather than all
};

Result<Reduction> reduction_of(Call& c) {
  Reduction r;
  r.keepdims = c.integer("keepdims", 1);
  std::vector<int64_t> axes = c.integers("axes");
  if (c.input(1) != nullptr) {
    TENON_ASSIGN(axes, c.integers_of(1));
  }
  const int rank = c.input(0)->rank();
  if (axes.empty() && c.integer("noop_with_empty_axes", 0) != 0) {
    r.nothing = true;
  } else if (axes.empty()) {
    for (int i = 0; i < rank; ++i) axes.push_back(i);
  }
  TENON_ASSIGN(r.axes, c.axes(axes, rank));
  return r;
}

Result<Value*> emit_reduction(Call& c, Op op, Value* x, const Reduction& r) {
  if (r.axes.empty()) return x;
  return c.emit(op, {x}, {{"axes", r.axes}, {"keepdims", r.keepdims}});
}

}  // namespace

template <Op op>
Status reduce(Call& c) {
  TENON_ASSIGN(const Reduction r, reduction_of(c));
  Value* x = c.input(0);
  if (r.axes.empty() && op == Op::k_reduce_l2) return c.yield(Op::k_abs, {x});
  if (x->dtype() != DType::kBool) return c.yield(emit_reduction(c, op, x, r));
  TENON_ASSIGN(x, c.cast(x, DType::kU8));
  TENON_ASSIGN(x, emit_reduction(c, op, x, r));
  return c.yield(c.cast(x, DType::kBool));
}
template Status reduce<Op::k_reduce_sum>(Call&);
template Status reduce<Op::k_reduce_mean>(Call&);
template Status reduce<Op::k_reduce_max>(Call&);
template Status reduce<Op::k_reduce_min>(Call&);
template Status reduce<Op::k_reduce_prod>(Call&);
template Status reduce<Op::k_reduce_l2>(Call&);

Status import_reduce_l1(Call& c) {
  TENON_ASSIGN(const Reduction r, reduction_of(c));
  TENON_ASSIGN(auto* t, c.emit(Op::k_abs, {c.input(0)}));
  return c.yield(emit_reduction(c, Op::k_reduce_sum, t, r));
}

Status import_reduce_sum_square(Call& c) {
  TENON_ASSIGN(const Reduction r, reduction_of(c));
  TENON_ASSIGN(auto* t, c.emit(Op::k_mul, {c.input(0), c.input(0)}));
  return c.yield(emit_reduction(c, Op::k_reduce_sum, t, r));
}

Status import_reduce_log_sum(Call& c) {
  TENON_ASSIGN(const Reduction r, reduction_of(c));
  TENON_ASSIGN(auto* t, emit_reduction(c, Op::k_reduce_sum, c.input(0), r));
  return c.yield(Op::k_log, {t});
}

// log(sum(exp(x - m))) + m with m = max(x), so that nothing overflows.
Status import_reduce_log_sum_exp(Call& c) {
  TENON_ASSIGN(const Reduction r, reduction_of(c));
  Value* x = c.input(0);
  if (r.axes.empty()) return c.yield(x);
  TENON_ASSIGN(auto* kept, c.emit(Op::k_reduce_max, {x}, {{"axes", r.axes}, {"keepdims", 1}}));
  TENON_ASSIGN(auto* t, c.emit(Op::k_sub, {x, kept}));
  TENON_ASSIGN(t, c.emit(Op::k_exp, {t}));
  TENON_ASSIGN(t, emit_reduction(c, Op::k_reduce_sum, t, r));
  TENON_ASSIGN(t, c.emit(Op::k_log, {t}));
  TENON_ASSIGN(kept, c.reshape(kept, t->shape()));
  return c.yield(Op::k_add, {t, kept});
}

Status import_arg_max(Call& c) {
  return c.yield(Op::k_arg_max, {c.input(0)},
                 {{"axis", c.integer("axis", 0)},
                  {"keepdims", c.integer("keepdims", 1)},
                  {"last", c.integer("select_last_index", 0)}});
}

Status import_arg_min(Call& c) {
  if (!is_float(c.input(0)->dtype()))
    return error(ErrorCode::kUnsupported, "element type {}", dtype_name(c.input(0)->dtype()));
  TENON_ASSIGN(auto* negative, c.emit(Op::k_neg, {c.input(0)}));
  return c.yield(Op::k_arg_max, {negative},
                 {{"axis", c.integer("axis", 0)},
                  {"keepdims", c.integer("keepdims", 1)},
                  {"last", c.integer("select_last_index", 0)}});
}

}  // namespace tenon::onnx
