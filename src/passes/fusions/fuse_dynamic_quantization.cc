// What a model holds that was quantised dynamically (ONNX Runtime's quantize_dynamic), as products that round for themselves:
//
//   q, s, z = u8, scale and zero point of all of x           DynamicQuantizeLinear
//   mul(cast(matmul(q - z, w)), s t)   ->   linear(x, cast(w) t) {factors = "int8"}
//   mul(cast(gather(table, i) - z), t) ->   gather(mul(cast(table - z), t), i)
//
// with w, t and the table constant: w integers, a scale t for all or for each column.
//
// Why:      the model's spelling is a dozen passes over x and a product of 32-bit integers, and its one scale for all rows makes
//           each of them depend on its neighbours and on padding. The linear's kernels round a row at a time, which is finer;
//           where the target has none in 8 bits, the linear computes in floats (lower-linears). Tables of floats are read by
//           embedding, whose tables they are.
// Declines: a product of two computed matrices; scales of another form.
#include <algorithm>
#include <optional>
#include <utility>

#include "ir/pattern.h"
#include "ops/interpret.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

using namespace ir::pattern;

// x where `v` is u8 numbers of it, less their zero point, `scale` apart from each other.
Value* dynamically_quantized(Value* v, Value* scale) {
  Value *x = nullptr, *zero = nullptr, *step = nullptr, *low = nullptr, *high = nullptr, *divisor = nullptr;
  const auto saturated = [](Pattern p) {
    return op(Op::k_cast, {op(Op::k_min, {op(Op::k_max, {std::move(p), number(0)}), number(255)})});
  };
  const Pattern numbers = saturated(op(Op::k_add, {op(Op::k_round, {op(Op::k_div, {any(x), any(divisor)})}), op(Op::k_cast, {any(zero)})}));
  Value* offset = nullptr;
  if (!matches(v, op(Op::k_sub, {op(Op::k_cast, {numbers}), op(Op::k_cast, {any(offset)})}))) return nullptr;
  if (offset != zero || divisor != scale) return nullptr;
  if (!matches(scale, op(Op::k_where, {op(Op::k_equal, {any(step), number(0)}), number(1), exactly(step)}))) return nullptr;
  if (!matches(step, op(Op::k_div, {op(Op::k_sub, {any(high), any(low)}), number(255)}))) return nullptr;
  if (high->rank() != 0 || !matches(high, op(Op::k_max, {op(Op::k_reduce_max, {exactly(x)}), number(0)}))) return nullptr;
  if (low->rank() != 0 || !matches(low, op(Op::k_min, {op(Op::k_reduce_min, {exactly(x)}), number(0)}))) return nullptr;
  const Pattern zero_of_x = saturated(op(Op::k_round, {op(Op::k_neg, {op(Op::k_div, {exactly(low), exactly(scale)})})}));
  return matches(zero, zero_of_x) ? x : nullptr;
}

// What `v` multiplies, in no order, so many products deep.
void collect_factors(Value* v, int depth, std::vector<Value*>& factors) {
  if (depth == 0 || !v->is(Op::k_mul)) {
    factors.push_back(v);
    return;
  }
  collect_factors(v->producer()->input(0), depth - 1, factors);
  collect_factors(v->producer()->input(1), depth - 1, factors);
}

// A product of integers by what scales it.
struct Scaled {
  Value* integers = nullptr;         // before they become floats
  Value* scale = nullptr;            // computed; null: none
  std::vector<Value*> constants;
};

std::optional<Scaled> scaled_integers(Node& node) {
  if (!node.is(Op::k_mul) || node.output()->dtype() != DType::kF32) return std::nullopt;
  constexpr int kDepth = 3;
  std::vector<Value*> factors;
  collect_factors(node.output(), kDepth, factors);
  Scaled found;
  for (Value* factor : factors) {
    Value* integers = nullptr;
    if (ops::is_constant_expression(*factor)) {
      if (factor->rank() > 1) return std::nullopt;
      found.constants.push_back(factor);
    } else if (factor->rank() > 0 && matches(factor, op(Op::k_cast, {any(integers)})) && integers->dtype() == DType::kI32) {
      if (std::exchange(found.integers, integers) != nullptr) return std::nullopt;
    } else if (factor->rank() == 0) {
      if (std::exchange(found.scale, factor) != nullptr) return std::nullopt;
    } else {
      return std::nullopt;
    }
  }
  if (found.integers == nullptr) return std::nullopt;
  return found;
}

// Integers as the floats that they stand for.
Result<Value*> dequantize(Rewriter& rw, Value* integers, const std::vector<Value*>& scales) {
  TENON_ASSIGN(Value * v, rw.create(Op::k_cast, {integers}, {{"to", DType::kF32}}));
  for (Value* scale : scales) {
    TENON_ASSIGN(v, rw.create(Op::k_mul, {v, scale}));
  }
  return v;
}

Result<bool> match_quantized_product(Rewriter& rw, Node& node) {
  const std::optional<Scaled> scaled = scaled_integers(node);
  if (!scaled || scaled->scale == nullptr || !scaled->integers->is(Op::k_matmul)) return rw.no_match();
  Node& product = *scaled->integers->producer();
  Value *a = product.input(0), *w = product.input(1);
  if (w->rank() != 2 || !ops::is_constant_expression(*w)) return rw.decline(node, "both factors of the product are computed");
  Value* x = dynamically_quantized(a, scaled->scale);
  if (x == nullptr) return rw.decline(node, "x was not quantised by its own range");
  if (x->rank() < 2) return rw.decline(node, "x is no matrix");
  TENON_ASSIGN(Value * weight, dequantize(rw, w, scaled->constants));
  TENON_ASSIGN(Value * linear, rw.create(Op::k_linear, {x, weight}, {{"factors", std::string("int8")}}));
  rw.absorb_origin(linear->producer(), &product);
  rw.replace_changed(node.output(), linear);
  return rw.changed(*linear->producer(), "rounds its rows for itself");
}

Result<bool> match_quantized_lookup(Rewriter& rw, Node& node) {
  const std::optional<Scaled> scaled = scaled_integers(node);
  if (!scaled || scaled->scale != nullptr) return rw.no_match();
  Value *numbers = nullptr, *zero = nullptr, *table = nullptr, *indices = nullptr;
  if (!matches(scaled->integers, op(Op::k_sub, {op(Op::k_cast, {any(numbers)}), any(zero)}))) {
    zero = nullptr;
    numbers = scaled->integers->is(Op::k_cast) ? scaled->integers->producer()->input(0) : scaled->integers;
  }
  if (!matches(numbers, op(Op::k_gather, {any(table), any(indices)})) || !ops::is_constant_expression(*table)) return rw.no_match();
  const auto is_scalar = [](const Value* v) { return v->rank() == 0 && ops::is_constant_expression(*v); };
  if ((zero != nullptr && !is_scalar(zero)) || !std::ranges::all_of(scaled->constants, is_scalar))
    return rw.decline(node, "its rows have scales of their own");
  TENON_ASSIGN(Value * centred, rw.create(Op::k_cast, {table}, {{"to", DType::kI32}}));
  if (zero != nullptr) {
    TENON_ASSIGN(centred, rw.create(Op::k_sub, {centred, zero}));
  }
  TENON_ASSIGN(Value * floats, dequantize(rw, centred, scaled->constants));
  TENON_ASSIGN(Value * rows, rw.create(Op::k_gather, {floats, indices}, numbers->producer()->attrs()));
  rw.absorb_origin(rows->producer(), numbers->producer());
  rw.replace(node.output(), rows);
  return rw.changed(*rows->producer(), "a table of floats");
}

}  // namespace

Status fuse_dynamic_quantization(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-dynamic-quantization", {match_quantized_product, match_quantized_lookup}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
