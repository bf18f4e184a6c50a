#include "passes/padding_proof.h"

#include <cmath>

#include "ops/interpret.h"

namespace tenon::passes {
namespace {

constexpr int kMaxDepth = 200;

// The abstract value of one element: an integer expression over sizes and indices, or a number that depends on mask bits.
struct Element {
  std::optional<Dim> index;
  MaskTable table;
  // Constants are both.
  std::optional<Dim> as_index() const {
    if (index) return index;
    const double v = table.number[0];
    if (table.root != nullptr || !table.is_constant() || v != std::trunc(v) || std::abs(v) > 1e15) return std::nullopt;
    return Dim(static_cast<int64_t>(v));
  }
};

class Evaluator {
 public:
  Evaluator(IndexBounds bounds, std::optional<int64_t> distance) : bounds_(std::move(bounds)), distance_(distance) {}

  // Nothing on failure; reason() then says why.
  std::optional<Element> evaluate(Value* v, const std::vector<Coordinate>& at, int depth);
  const std::string& reason() const { return reason_; }
  // The distances at which comparisons that were met may change their answer.
  const std::set<int64_t>& thresholds() const { return thresholds_; }

 private:
  std::optional<Element> structural(Value* v, const std::vector<Coordinate>& at, int depth);
  std::optional<Element> elementwise(const Node& node, const std::vector<Coordinate>& at, int depth);
  std::optional<Element> index_arithmetic(Op op, const Dim& a, const Dim& b);
  std::optional<int64_t> at_distance(const Dim& v);
  std::optional<Element> concatenated(const Node& node, const std::vector<Coordinate>& at, size_t axis, int depth);
  std::optional<Element> as_root(Value* v, const std::vector<Coordinate>& at);
  std::optional<Element> fail(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
    return std::nullopt;
  }

  const IndexBounds bounds_;
  Value* root_ = nullptr;
  std::string reason_;
  const std::optional<int64_t> distance_;  // of the key from the query; comparisons of the two are then decided
  std::set<int64_t> thresholds_;
};

Element number(double v) { return {std::nullopt, {nullptr, {v, v, v, v}}}; }

// Ids index tables; a mask never does. Looks through what only changes type or shape.
bool is_used_as_index(const Value* v, int depth = 0) {
  for (const ir::Use& use : v->uses()) {
    const Node& node = *use.node;
    if (node.is(Op::k_gather) && use.input == 1 && node.input(0)->rank() == 2) return true;
    if (node.is(Op::k_embedding) && use.input % 2 == 0) return true;
    const bool same_contents = node.is(Op::k_cast) || node.is(Op::k_reshape) || node.is(Op::k_expand);
    if (same_contents && depth < 8 && is_used_as_index(node.output(), depth + 1)) return true;
  }
  return false;
}

// A [batch, seq] value read at (b, q) or (b, k) as the mask's own bit.
std::optional<Element> Evaluator::as_root(Value* v, const std::vector<Coordinate>& at) {
  if (v->rank() != 2 || at.size() != 2 || at[0].free || at[1].free || at[0].index != Coordinate::batch().index) return std::nullopt;
  const bool reads_query = at[1].index == Coordinate::query().index;
  if (!reads_query && at[1].index != Coordinate::key().index) return std::nullopt;
  if (root_ != nullptr && root_ != v) return fail("two masks are combined: %" + root_->name() + " and %" + v->name());
  root_ = v;
  Element e;
  e.table.root = v;
  for (int bits = 0; bits < 4; ++bits) e.table.number[static_cast<size_t>(bits)] = reads_query ? bits >> 1 : bits & 1;
  return e;
}

std::optional<Element> Evaluator::evaluate(Value* v, const std::vector<Coordinate>& at, int depth) {
  if (depth > kMaxDepth) return fail("the mask's expression is too deep");
  Value* const root_before = root_;
  if (v->is_input()) {
    // Zeros and ones are checked when the engine runs; ids and lengths are told apart here.
    if (v->rank() == 2 && !is_used_as_index(v))
      if (auto e = as_root(v, at)) return e;
    return fail("it depends on the input %" + v->name());
  }
  if (auto e = structural(v, at, depth)) return e;
  // A comparison is zeros and ones whatever it was made from: ids against a pad id, positions against lengths.
  if (v->dtype() == DType::kBool) {
    root_ = root_before;
    if (auto e = as_root(v, at)) {
      reason_.clear();
      return e;
    }
  }
  return std::nullopt;
}

size_t axis_of(int64_t axis, const Value& v) { return static_cast<size_t>(axis < 0 ? axis + v.rank() : axis); }

std::optional<double> apply(Op op, double a, double b) {
  switch (op) {
    case Op::k_add: return a + b;
    case Op::k_sub: return a - b;
    case Op::k_mul: return a == 0 || b == 0 ? 0 : a * b;  // 0 * inf appears only in spellings that mean 0
    case Op::k_div: return a / b;
    case Op::k_min: return std::min(a, b);
    case Op::k_max: return std::max(a, b);
    case Op::k_pow: return std::pow(a, b);
    case Op::k_equal: return a == b;
    case Op::k_less: return a < b;
    case Op::k_less_equal: return a <= b;
    case Op::k_greater: return a > b;
    case Op::k_greater_equal: return a >= b;
    case Op::k_and: return a != 0 && b != 0;
    case Op::k_or: return a != 0 || b != 0;
    case Op::k_xor: return (a != 0) != (b != 0);
    default: return std::nullopt;
  }
}

std::optional<double> apply(Op op, double a) {
  switch (op) {
    case Op::k_neg: return -a;
    case Op::k_not: return a == 0;
    case Op::k_abs: return std::abs(a);
    case Op::k_sign: return (a > 0) - (a < 0);
    case Op::k_log: return std::log(a);
    case Op::k_exp: return std::exp(a);
    case Op::k_is_nan: return std::isnan(a);
    default: return std::nullopt;
  }
}

// `v` where it is a constant, or a constant more or less than the distance between query and key.
std::optional<int64_t> Evaluator::at_distance(const Dim& v) {
  if (v.is_const()) return v.value();
  const Dim apart = Coordinate::key().index - Coordinate::query().index;
  for (const int64_t sign : {1, -1}) {
    const Dim rest = v - apart * Dim(sign);
    if (!distance_ || !rest.is_const()) continue;
    thresholds_.insert(-sign * rest.value());
    return sign * *distance_ + rest.value();
  }
  return std::nullopt;
}

// Integer arithmetic on indices, and comparisons that hold for every position: indices are not negative.
std::optional<Element> Evaluator::index_arithmetic(Op op, const Dim& a, const Dim& b) {
  switch (op) {
    case Op::k_add: return Element{a + b, {}};
    case Op::k_sub: return Element{a - b, {}};
    case Op::k_mul: return Element{a * b, {}};
    default: break;
  }
  const Dim difference = a - b;
  if (const auto known = at_distance(difference)) {
    if (const auto answer = apply(op, static_cast<double>(*known), 0)) return number(*answer);
  }
  bool at_least_zero = true, at_most_zero = true;
  int64_t constant = 0;
  for (const Dim::Term& term : difference.terms()) {
    if (term.atoms.empty()) constant = term.coefficient;
    at_least_zero &= term.coefficient > 0;
    at_most_zero &= term.coefficient < 0;
  }
  if (op == Op::k_greater_equal && at_least_zero) return number(1);
  if (op == Op::k_greater && at_least_zero && constant > 0) return number(1);
  if (op == Op::k_less_equal && at_most_zero) return number(1);
  if (op == Op::k_less && at_most_zero && constant < 0) return number(1);
  if (op == Op::k_less && at_least_zero) return number(0);
  if (op == Op::k_greater && at_most_zero) return number(0);
  if (difference.is_const() && op == Op::k_equal) return number(difference.value() == 0);
  if (const Dim* bound = bounds_.find(a); bound != nullptr && b == *bound) {
    if (op == Op::k_less) return number(1);
    if (op == Op::k_greater_equal) return number(0);
  }
  return fail("it depends on positions (a causal or windowed mask)");
}

std::optional<Element> Evaluator::elementwise(const Node& node, const std::vector<Coordinate>& at, int depth) {
  std::vector<Element> in;
  for (Value* operand : node.inputs()) {
    auto e = evaluate(operand, broadcast_at(*operand, at), depth + 1);
    if (!e) return std::nullopt;
    in.push_back(*e);
    // where(true, a, b) is a, whatever b is.
    if (node.is(Op::k_where) && in.size() == 1 && !e->index && e->table.is_constant()) {
      Value* chosen = node.input(e->table.number[0] != 0 ? 1 : 2);
      return evaluate(chosen, broadcast_at(*chosen, at), depth + 1);
    }
  }
  if (in.size() == 1 && in[0].index && node.is(Op::k_neg)) return Element{Dim(0) - *in[0].index, {}};
  if (in.size() == 1 && in[0].index && node.is(Op::k_abs)) {
    const auto known = at_distance(*in[0].index);
    if (!known) return fail("it depends on positions (a windowed mask)");
    return Element{*known < 0 ? Dim(0) - *in[0].index : *in[0].index, {}};
  }
  if (in.size() == 1 && in[0].index) return node.is(Op::k_cast) && is_integer(node.output()->dtype()) ? std::optional(in[0]) : fail("it depends on positions");
  if (in.size() == 2 && (in[0].index || in[1].index)) {
    const auto a = in[0].as_index(), b = in[1].as_index();
    return a && b ? index_arithmetic(node.op(), *a, *b) : fail("it mixes positions with the mask");
  }
  Element out;
  for (const Element& e : in) {
    if (e.index) return fail("it depends on positions");
    if (e.table.root != nullptr) out.table.root = e.table.root;
  }
  for (size_t bits = 0; bits < 4; ++bits) {
    std::optional<double> r;
    const double a = in[0].table.number[bits];
    if (node.is(Op::k_cast) && is_narrow(node.output()->dtype())) return fail("it goes through " + node.describe());
    if (node.is(Op::k_cast)) {
      r = node.output()->dtype() == DType::kBool ? (a != 0) : (is_integer(node.output()->dtype()) ? std::trunc(a) : a);
    } else if (node.is(Op::k_where)) {
      r = a != 0 ? in[1].table.number[bits] : in[2].table.number[bits];
    } else {
      r = in.size() == 1 ? apply(node.op(), a) : apply(node.op(), a, in[1].table.number[bits]);
    }
    if (!r) return fail("it goes through " + node.describe());
    out.table.number[bits] = *r;
  }
  return out;
}

std::optional<Element> Evaluator::concatenated(const Node& node, const std::vector<Coordinate>& at, size_t axis, int depth) {
  const auto read = [&](int piece, Dim index) {
    std::vector<Coordinate> where = at;
    where[axis].index = std::move(index);
    return evaluate(node.input(piece), where, depth + 1);
  };
  int64_t offset = 0;
  for (int i = 0; i < node.num_inputs(); ++i) {
    const Dim& size = node.input(i)->shape()[axis];
    const Dim index = at[axis].index - Dim(offset);
    if (at[axis].free) break;
    if (index.is_const() && size.is_const() && index.value() < size.value()) return read(i, index);
    if (!index.is_const() && i + 1 == node.num_inputs()) {
      // The last piece holds a formula of the position; the positions before it must follow the same formula.
      int64_t position = 0;
      for (int k = 0; k < i; ++k) {
        for (int64_t j = 0; j < node.input(k)->shape()[axis].value(); ++j, ++position) {
          const auto given = read(k, Dim(j)), formula = read(i, Dim(position - offset));
          if (!given || !formula || !given->as_index() || given->as_index() != formula->as_index()) return fail("it is concatenated along a position");
        }
      }
      return read(i, index);
    }
    if (!size.is_const() || size.value() > 16) break;
    offset += size.value();
  }
  return fail("it is concatenated by " + node.describe());
}

std::optional<Element> Evaluator::structural(Value* v, const std::vector<Coordinate>& at, int depth) {
  const Node& node = *v->producer();
  const Attrs& attrs = node.attrs();
  const auto follow = [&](Value* from, std::vector<Coordinate> where) { return evaluate(from, where, depth + 1); };
  switch (node.op()) {
    case Op::k_constant: {
      const Tensor& t = attrs.tensor("value");
      if (const auto uniform = t.uniform_value()) return number(*uniform);
      int64_t flat = 0;
      for (size_t i = 0; i < at.size(); ++i) {
        if (at[i].free || !at[i].index.is_const()) {
          // arange(n) stored as a constant is the index itself.
          bool counts = is_integer(t.dtype()) && t.has_data() && t.numel() == t.shape()[i] && !at[i].free;
          for (int64_t k = 0; counts && k < t.numel(); ++k) counts = t.int_at(k) == k;
          return counts ? std::optional(Element{at[i].index, {}}) : fail("it adds a constant that varies with the position");
        }
        const int64_t index = at[i].index.value();
        if (index < 0 || index >= t.shape()[i]) return fail("it reads a constant beyond its end");
        flat = flat * t.shape()[i] + index;
      }
      return t.has_data() ? std::optional(number(t.at(flat))) : fail("it depends on a parameter without data");
    }
    case Op::k_dims: {
      const Shape& values = attrs.shape("values");
      if (!at.empty() && (at[0].free || !at[0].index.is_const())) return fail("it reads sizes at a position");
      return Element{values[at.empty() ? 0 : static_cast<size_t>(at[0].index.value())], {}};
    }
    case Op::k_iota: {
      if (at[0].free) return fail("it depends on positions");
      return Element{attrs.shape("start")[0] + at[0].index * Dim(attrs.integer("step")), {}};
    }
    case Op::k_reshape: {
      auto where = bounds_.through_reshape(*node.input(0), *v, at);
      return where ? follow(node.input(0), *where) : fail("it is reshaped across batch and sequence by " + node.describe());
    }
    case Op::k_expand: return follow(node.input(0), broadcast_at(*node.input(0), at));
    case Op::k_tile: {
      // Repeating an axis of one element, or once, is an expansion.
      const Shape& repeats = attrs.shape("repeats");
      for (size_t i = 0; i < repeats.size(); ++i)
        if (repeats[i] != Dim(1) && node.input(0)->shape()[i] != Dim(1)) return fail("it repeats an axis by " + node.describe());
      return follow(node.input(0), broadcast_at(*node.input(0), at));
    }
    case Op::k_transpose: {
      std::vector<Coordinate> where(at.size());
      const auto& perm = attrs.integers("perm");
      for (size_t i = 0; i < at.size(); ++i) where[static_cast<size_t>(perm[i])] = at[i];
      return follow(node.input(0), std::move(where));
    }
    case Op::k_slice: {
      std::vector<Coordinate> where = at;
      for (size_t i = 0; i < attrs.integers("axes").size(); ++i) {
        Coordinate& along = where[static_cast<size_t>(attrs.integers("axes")[i])];
        along.index = attrs.shape("starts")[i] + along.index * Dim(attrs.integers("steps")[i]);
      }
      return follow(node.input(0), std::move(where));
    }
    case Op::k_concat: {
      return concatenated(node, at, axis_of(attrs.integer("axis"), *v), depth);
    }
    case Op::k_trilu: {
      const Coordinate &row = at[at.size() - 2], &column = at.back();
      if (row.free || column.free) return fail("it depends on positions");
      const bool upper = attrs.integer("upper") != 0;
      auto kept = index_arithmetic(upper ? Op::k_greater_equal : Op::k_less_equal, column.index - row.index, Dim(attrs.integer("k")));
      if (!kept) return std::nullopt;
      return kept->table.number[0] != 0 ? follow(node.input(0), at) : std::optional(number(0));
    }
    case Op::k_cumsum: {
      auto summand = follow(node.input(0), at);
      if (!summand) return std::nullopt;
      const auto zero = summand->as_index();
      return zero == Dim(0) ? std::optional(number(0)) : fail("it goes through " + node.describe());
    }
    case Op::k_gather: {
      const size_t axis = axis_of(attrs.integer("axis"), *node.input(0));
      Value *data = node.input(0), *indices = node.input(1);
      const auto index_at = std::vector<Coordinate>(at.begin() + static_cast<long>(axis), at.begin() + static_cast<long>(axis) + indices->rank());
      auto index = follow(indices, index_at);
      if (!index) return std::nullopt;
      const auto row = index->as_index();
      if (!row) return fail("it is gathered at data-dependent positions");
      std::vector<Coordinate> where(at.begin(), at.begin() + static_cast<long>(axis));
      where.push_back({*row});
      where.insert(where.end(), at.begin() + static_cast<long>(axis) + indices->rank(), at.end());
      return follow(data, std::move(where));
    }
    case Op::k_gather_nd: {
      Value *data = node.input(0), *indices = node.input(1);
      if (attrs.integer("batch_dims") != 0 || !indices->shape().back().is_const()) return fail("it is gathered by " + node.describe());
      const auto prefix = static_cast<size_t>(indices->rank() - 1);
      std::vector<Coordinate> where;
      for (int64_t c = 0; c < indices->shape().back().value(); ++c) {
        std::vector<Coordinate> index_at(at.begin(), at.begin() + static_cast<long>(prefix));
        index_at.push_back({Dim(c)});
        auto index = follow(indices, index_at);
        if (!index) return std::nullopt;
        const auto row = index->as_index();
        if (!row) return fail("it is gathered at data-dependent positions");
        where.push_back({*row});
      }
      where.insert(where.end(), at.begin() + static_cast<long>(prefix), at.end());
      return where.size() == static_cast<size_t>(data->rank()) ? follow(data, std::move(where)) : fail("it is gathered by " + node.describe());
    }
    default:
      if (ops::op_def(node.op()).locality == ops::Locality::kElementwise || node.is(Op::k_cast) || node.is(Op::k_where)) return elementwise(node, at, depth);
      return fail("it goes through " + node.describe());
  }
}

}  // namespace

MaskProof evaluate_mask(Value* v, const std::vector<Coordinate>& at, std::optional<int64_t> distance) {
  Evaluator evaluator(IndexBounds::of(*v, at), distance);
  auto element = evaluator.evaluate(v, at, 0);
  if (element && !element->index) return {element->table, "", evaluator.thresholds()};
  return {std::nullopt, element ? "it is an index" : evaluator.reason(), {}};
}

}  // namespace tenon::passes
