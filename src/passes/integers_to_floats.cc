// Numbers of 8 bits that are read as floats at once are floats all the way, and so are products of them:
//
//   cast(cast(min(max(n, lo), hi)) {to = u8}) {to = f32}   ->   min(max(n, lo), hi)              n whole, lo and hi within u8 (or i8)
//   cast(sub(cast(q) {to = i32}, z)) {to = f32}            ->   sub(cast(q) {to = f32}, z)       q of 8 bits, z constant
//   cast(matmul(a, b)) {to = f32}                          ->   matmul(cast(a), cast(b))         of i32, made of such
//
// Why:      what statically quantised models (QuantizeLinear, DequantizeLinear, QLinearMatMul) do between products becomes one program of
//           elementwise steps in f32, their products those of f32. All is exact, but for sums beyond 2^24, which round as f32 does.
// Declines: zero points that are computed or large; numbers that are not whole; factors of more bits.
#include <cmath>

#include "ir/pattern.h"
#include "ops/interpret.h"
#include "passes/passes.h"

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
    TENON_ASSIGN(floats, rw.create(Op::k_sub, {floats, zero}));
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
  Value *sums = widened_by(node), *a = nullptr, *b = nullptr;
  if (sums == nullptr || sums->dtype() != DType::kI32 || !matches(sums, op(Op::k_matmul, {any(a), any(b)}))) return rw.no_match();
  if (ops::is_constant_expression(*sums)) return rw.no_match();
  for (Value* factor : {a, b}) {
    if (is_centred(factor)) continue;
    TENON_ASSIGN(const bool whole, is_whole_constant(factor));
    if (!whole) return rw.decline(node, "its factors are not of 8 bits");
  }
  const ir::Attrs to_f32{{"to", DType::kF32}};
  TENON_ASSIGN(a, rw.create(Op::k_cast, {a}, to_f32));
  TENON_ASSIGN(b, rw.create(Op::k_cast, {b}, to_f32));
  TENON_ASSIGN(Value * product, rw.create(Op::k_matmul, {a, b}));
  rw.absorb_origin(product->producer(), sums->producer());
  rw.replace_changed(node.output(), product);
  return rw.changed(*product->producer(), "in f32");
}

}  // namespace

Status integers_to_floats(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "integers-to-floats", {multiply_in_floats, centre_in_floats, keep_clipped}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
