// Numbers of 8 bits that are read as floats at once are floats all the way, and so are products of them:
//
//   cast(cast(min(max(n, lo), hi)) {to = u8}) {to = f32}   ->   min(max(n, lo), hi)              n whole, lo and hi within u8 (or i8)
//   cast(sub(cast(q) {to = i32}, z)) {to = f32}            ->   sub(cast(q) {to = f32}, z)       q of 8 bits, z constant
//   cast(matmul(a, b)) {to = f32}                          ->   matmul(cast(a), cast(b))         of i32, made of such; conv too
//   cast(max_pool(q)) {to = f32}                           ->   max_pool(cast(q))                reshape, transpose, slice too
//   r(r(x))                                                ->   r(x)       r rounds to multiples of a step (QuantizeLinear, DequantizeLinear)
//
// Why:      what statically quantised models (QuantizeLinear, DequantizeLinear, QLinearMatMul, QLinearConv) do between products becomes one program of
//           elementwise steps in f32, their products those of f32. All is exact, but for sums beyond 2^24, which round as f32 does.
// Declines: zero points that are computed or large; numbers that are not whole; factors of more bits.
#include <cmath>

#include "ir/pattern.h"
#include "ops/interpret.h"
#include "passes/passes.h"
#include "passes/rounding.h"

namespace tenon::passes {
namespace {

using namespace ir::pattern;

bool has_8_bits(const Value* v) { return v->dtype() == DType::kU8 || v->dtype() == DType::kI8; }

// What `node` casts to f32; null: it does not.
Value* widened_by(const Node& node) {
  return node.is(Op::k_cast) && node.attrs().dtype("to") == DType::kF32 ? node.input(0) : nullptr;
}

// Whether the constant's numbers are whole and exact in f32.
Result<bool> is_whole_constant(const Value* v) {
  constexpr double kMost = 1 << 23;
  constexpr int64_t kMostNumbers = 1 << 16;
  const Dim count = ir::numel(v->shape());
  if (!ops::is_constant_expression(*v) || !count.is_const() || count.value() > kMostNumbers) return false;
  TENON_ASSIGN(const Tensor numbers, ops::evaluate_constant(*v));
  for (int64_t i = 0; i < numbers.numel(); ++i) {
    const double x = numbers.at(i);
    if (!(std::abs(x) <= kMost) || x != std::nearbyint(x)) return false;
  }
  return true;
}

// round(x), or that and a whole constant.
Result<bool> is_whole(const Value* v) {
  if (v->is(Op::k_round)) return true;
  if (!v->is(Op::k_add)) return false;
  for (const int i : {0, 1}) {
    if (!v->producer()->input(i)->is(Op::k_round)) continue;
    TENON_ASSIGN(const bool whole, is_whole_constant(v->producer()->input(1 - i)));
    if (whole) return true;
  }
  return false;
}

Result<bool> keep_clipped(Rewriter& rw, Node& node) {
  Value *quantized = widened_by(node), *clipped = nullptr, *n = nullptr;
  double lo = 0, hi = 0;
  if (quantized == nullptr || !has_8_bits(quantized) || !matches(quantized, op(Op::k_cast, {any(clipped)}))) return rw.no_match();
  if (clipped->dtype() != DType::kF32 || !matches(clipped, op(Op::k_min, {op(Op::k_max, {any(n), scalar(lo)}), scalar(hi)}))) return rw.no_match();
  const bool is_signed = quantized->dtype() == DType::kI8;
  if (lo < (is_signed ? -128 : 0) || hi > (is_signed ? 127 : 255)) return rw.no_match();
  TENON_ASSIGN(const bool whole, is_whole(n));
  if (!whole || lo != std::nearbyint(lo) || hi != std::nearbyint(hi)) return rw.decline(node, "its numbers are not whole");
  rw.replace_changed(node.output(), clipped);
  return rw.changed(*clipped->producer(), "stays in f32");
}

Result<bool> centre_in_floats(Rewriter& rw, Node& node) {
  Value *centred = widened_by(node), *q = nullptr, *zero = nullptr;
  if (centred == nullptr || centred->dtype() != DType::kI32) return rw.no_match();
  if (!matches(centred, op(Op::k_sub, {op(Op::k_cast, {any(q)}), any(zero)})) && !matches(centred, op(Op::k_cast, {any(q)}))) return rw.no_match();
  if (!has_8_bits(q) || ops::is_constant_expression(*q)) return rw.no_match();
  const ir::Attrs to_f32{{"to", DType::kF32}};
  TENON_ASSIGN(Value * floats, rw.create(Op::k_cast, {q}, to_f32));
  if (zero != nullptr) {
    TENON_ASSIGN(const bool whole, is_whole_constant(zero));
    if (!whole) return rw.decline(node, "its zero point is computed or large");
    TENON_ASSIGN(zero, rw.create(Op::k_cast, {zero}, to_f32));
    TENON_ASSIGN(Tensor numbers, ops::evaluate_constant(*zero));
    TENON_ASSIGN(floats, rw.create(Op::k_sub, {floats, rw.constant(std::move(numbers))}));
  }
  rw.replace_changed(node.output(), floats);
  return rw.changed(*floats->producer(), "in f32");
}

// Numbers of 8 bits, or their distance from a zero point of 8 bits: 255 at most.
bool is_centred(Value* v) {
  Value *q = nullptr, *zero = nullptr;
  const auto casts_8_bits = [](const Value* x) { return x->is(Op::k_cast) && has_8_bits(x->producer()->input(0)); };
  if (!matches(v, op(Op::k_sub, {any(q), any(zero)}))) return casts_8_bits(v);
  double number = 0;
  return casts_8_bits(q) && (casts_8_bits(zero) || (scalar(number)(zero) && std::abs(number) <= 255));
}

Result<bool> multiply_in_floats(Rewriter& rw, Node& node) {
  Value* sums = widened_by(node);
  if (sums == nullptr || sums->dtype() != DType::kI32 || (!sums->is(Op::k_matmul) && !sums->is(Op::k_conv))) return rw.no_match();
  if (ops::is_constant_expression(*sums)) return rw.no_match();
  const Node& of_integers = *sums->producer();
  for (const int i : {0, 1}) {
    if (is_centred(of_integers.input(i))) continue;
    TENON_ASSIGN(const bool whole, is_whole_constant(of_integers.input(i)));
    if (!whole) return rw.decline(node, "its factors are not of 8 bits");
  }
  std::vector<Value*> inputs;
  for (Value* input : of_integers.inputs()) {
    if (input != nullptr) {
      TENON_ASSIGN(input, rw.create(Op::k_cast, {input}, {{"to", DType::kF32}}));
    }
    inputs.push_back(input);
  }
  TENON_ASSIGN(Value * product, rw.create(of_integers.op(), inputs, of_integers.attrs()));
  rw.absorb_origin(product->producer(), &of_integers);
  rw.replace_changed(node.output(), product);
  return rw.changed(*product->producer(), "in f32");
}

// What moves numbers moves floats.
Result<bool> move_floats(Rewriter& rw, Node& node) {
  Value* moved = widened_by(node);
  if (moved == nullptr || !has_8_bits(moved) || ops::is_constant_expression(*moved)) return rw.no_match();
  if (!only_moves(moved)) return rw.no_match();
  const Node& mover = *moved->producer();
  std::vector<Value*> inputs(mover.inputs().begin(), mover.inputs().end());
  TENON_ASSIGN(inputs[0], rw.create(Op::k_cast, {inputs[0]}, {{"to", DType::kF32}}));
  TENON_ASSIGN(Value * floats, rw.create(mover.op(), inputs, mover.attrs()));
  rw.absorb_origin(floats->producer(), &mover);
  rw.replace(node.output(), floats);
  return rw.changed(*floats->producer(), "in f32");
}

// Where nothing but moves happened to numbers since they were rounded last.
Result<bool> round_once(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_mul)) return rw.no_match();
  const auto again = rounding_to_8_bits(node.output());
  if (!again || again->moved) return rw.no_match();
  const auto first = rounding_to_8_bits(again->x);
  if (!first || first->step != again->step || first->zero != again->zero) return rw.no_match();
  Node& reader = *again->x->producer();
  rw.replace(node.output(), again->x);
  return rw.changed(reader, "rounded once");
}

}  // namespace

Status integers_to_floats(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "integers-to-floats", {multiply_in_floats, centre_in_floats, move_floats, keep_clipped, round_once}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
