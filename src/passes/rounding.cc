#include "passes/rounding.h"

#include <cmath>

#include "ir/pattern.h"
#include "ops/quantize.h"

namespace tenon::passes {

using namespace ir::pattern;
using ir::Op;
using ir::Value;

bool only_moves(const Value* v) {
  if (v->is(Op::k_max_pool)) return v->producer()->num_outputs() == 1;
  return v->is(Op::k_reshape) || v->is(Op::k_transpose) || v->is(Op::k_slice);
}

namespace {

Value* source_of_moves(Value* v) {
  while (only_moves(v)) v = v->producer()->input(0);
  return v;
}

}  // namespace

std::optional<Rounding> integers_of_8_bits(Value* v) {
  Value *x = nullptr, *clipped = source_of_moves(v), *shifted = nullptr;
  bool moved = clipped != v;
  double zero = 0, offset = 0, lo = 0, hi = 0, step = 0;
  if (Value* centred = nullptr; matches(clipped, op(Op::k_sub, {any(centred), scalar(zero)}))) {
    clipped = source_of_moves(centred);
    moved |= clipped != centred;
  }
  if (!matches(clipped, op(Op::k_min, {op(Op::k_max, {any(shifted), scalar(lo)}), scalar(hi)}))) return std::nullopt;
  const Pattern steps = op(Op::k_round, {op(Op::k_div, {any(x), scalar(step)})});
  if (!matches(shifted, op(Op::k_add, {steps, scalar(offset)})) && !matches(shifted, steps)) return std::nullopt;
  if (v->dtype() != DType::kF32 || zero != offset || zero != std::nearbyint(zero) || hi - lo != 255 || (lo != 0 && lo != -128)) return std::nullopt;
  const auto first = static_cast<int64_t>(zero - lo);
  if (step == 0 || !ops::is_given_scale(step, first)) return std::nullopt;
  return Rounding{x, step, first, moved};
}

std::optional<Rounding> rounding_to_8_bits(Value* v) {
  Value *integers = nullptr, *scaled = source_of_moves(v);
  double step = 0;
  if (!matches(scaled, op(Op::k_mul, {any(integers), scalar(step)}))) return std::nullopt;
  auto found = integers_of_8_bits(integers);
  if (!found || found->step != step) return std::nullopt;
  found->moved |= scaled != v;
  return found;
}

}  // namespace tenon::passes
