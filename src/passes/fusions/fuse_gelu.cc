// x/2 (1 + erf(x / sqrt 2))                          ->  gelu(x)
// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))      ->  gelu(x) {approximate = "tanh"}
// x sigmoid(1.702 x)                                 ->  gelu(x) {approximate = "sigmoid"}
// x sigmoid(x)                                       ->  silu(x)
//
// A product is read as a set of factors, so that its order and its brackets do not matter: exporters write
// (x * 0.5) * (1 + erf), x * (0.5 * (1 + erf)), 0.5 * (x * (1 + erf)), and x / 2 for x * 0.5.
#include <cmath>

#include "ir/pattern.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

using namespace ir::pattern;

struct Product {
  double coefficient = 1;
  std::vector<Value*> factors;
};

// Flattens mul and div-by-scalar; inner nodes must have no other use. pow(x, n) counts as n factors of x.
void collect(Value* v, Product& product, bool is_root) {
  double c = 0;
  Value* x = nullptr;
  if (scalar(c)(v)) {
    product.coefficient *= c;
  } else if ((is_root || v->has_one_use()) && v->is(Op::k_mul)) {
    collect(v->producer()->input(0), product, false);
    collect(v->producer()->input(1), product, false);
  } else if ((is_root || v->has_one_use()) && v->is(Op::k_div) && scalar(c)(v->producer()->input(1)) && c != 0) {
    product.coefficient /= c;
    collect(v->producer()->input(0), product, false);
  } else if (matches(v, op(Op::k_pow, {any(x), scalar(c)})) && (c == 2 || c == 3)) {
    for (int i = 0; i < static_cast<int>(c); ++i) product.factors.push_back(x);
  } else {
    product.factors.push_back(v);
  }
}

Product product_of(Value* v) {
  Product p;
  collect(v, p, true);
  return p;
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-3 * std::abs(b); }

// v == c * x
bool is_multiple(Value* v, Value* x, double c) {
  if (v == x) return near(c, 1);
  const Product p = product_of(v);
  return p.factors.size() == 1 && p.factors[0] == x && near(p.coefficient, c);
}

// v == c * x^3
bool is_cube(Value* v, Value* x, double c) {
  const Product p = product_of(v);
  return p.factors.size() == 3 && p.factors[0] == x && p.factors[1] == x && p.factors[2] == x && near(p.coefficient, c);
}

// v == sqrt(2/pi) * (x + 0.044715 x^3), the bracket also spelled x * (1 + 0.044715 x^2) or multiplied out
bool is_tanh_argument(Value* v, Value* x) {
  const double outer = std::sqrt(2 / 3.14159265358979);
  const Product p = product_of(v);
  if (!near(p.coefficient, outer)) return false;
  Value *a = nullptr, *b = nullptr;
  if (p.factors.size() == 1 && matches(p.factors[0], op(Op::k_add, {any(a), any(b)}))) {
    return (a == x && is_cube(b, x, 0.044715)) || (b == x && is_cube(a, x, 0.044715));
  }
  if (p.factors.size() != 2) return false;
  for (size_t i : {size_t{0}, size_t{1}}) {
    if (p.factors[i] != x || !matches(p.factors[1 - i], op(Op::k_add, {any(a), number(1)}))) continue;
    const Product q = product_of(a);
    if (q.factors.size() == 2 && q.factors[0] == x && q.factors[1] == x && near(q.coefficient, 0.044715)) return true;
  }
  return false;
}

const char* approximation(const Product& p, size_t gate, Value* x) {
  Value* inner = nullptr;
  Value* v = p.factors[gate];
  if (matches(v, op(Op::k_add, {op(Op::k_erf, {any(inner)}), number(1)})) && near(p.coefficient, 0.5) && is_multiple(inner, x, std::sqrt(0.5))) return "none";
  if (matches(v, op(Op::k_add, {op(Op::k_tanh, {any(inner)}), number(1)})) && near(p.coefficient, 0.5) && is_tanh_argument(inner, x)) return "tanh";
  if (matches(v, op(Op::k_sigmoid, {any(inner)})) && near(p.coefficient, 1)) {
    if (inner == x) return "silu";
    if (is_multiple(inner, x, 1.702)) return "sigmoid";
  }
  return nullptr;
}

Result<bool> match_gelu(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_mul) && !node.is(Op::k_div)) return rw.no_match();
  const Product p = product_of(node.output());
  if (p.factors.size() != 2) return rw.no_match();
  for (size_t gate : {size_t{0}, size_t{1}}) {
    Value* x = p.factors[1 - gate];
    const char* kind = approximation(p, gate, x);
    if (kind == nullptr) continue;
    Value* fused = nullptr;
    if (std::string_view(kind) == "silu") {
      TENON_ASSIGN(fused, rw.create(Op::k_silu, {x}));
    } else {
      TENON_ASSIGN(fused, rw.create(Op::k_gelu, {x}, {{"approximate", std::string(kind)}}));
    }
    rw.replace(node.output(), fused);
    return rw.changed(*fused->producer(), std::string_view(kind) == "none" ? "erf" : kind);
  }
  return rw.no_match();
}

}  // namespace

Status fuse_gelu(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-gelu", {match_gelu}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
