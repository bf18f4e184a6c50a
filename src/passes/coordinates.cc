#include "passes/coordinates.h"

namespace tenon::passes {

Coordinate Coordinate::batch() { return {Dim::symbol("$batch")}; }
Coordinate Coordinate::head() { return {Dim::symbol("$head")}; }
Coordinate Coordinate::query() { return {Dim::symbol("$query")}; }
Coordinate Coordinate::key() { return {Dim::symbol("$key")}; }

std::vector<Coordinate> broadcast_at(const Value& operand, const std::vector<Coordinate>& at) {
  std::vector<Coordinate> out(at.end() - operand.rank(), at.end());
  for (int i = 0; i < operand.rank(); ++i)
    if (operand.shape()[static_cast<size_t>(i)] == Dim(1)) out[static_cast<size_t>(i)] = {};
  return out;
}

IndexBounds IndexBounds::of(const Value& v, const std::vector<Coordinate>& at) {
  IndexBounds bounds;
  for (size_t i = 0; i < at.size(); ++i)
    if (at[i].index.is_symbol()) bounds.bounds_.emplace_back(at[i].index, v.shape()[i]);
  return bounds;
}

const Dim* IndexBounds::find(const Dim& index) const {
  for (const auto& [symbol, bound] : bounds_)
    if (symbol == index) return &bound;
  return nullptr;
}

// flat == quotient * size + remainder with 0 <= remainder < size, where that can be seen.
std::optional<std::pair<Dim, Dim>> IndexBounds::split(const Dim& flat, const Dim& size) const {
  Dim quotient, remainder;
  for (const Dim::Term& term : flat.terms()) {
    Dim t(term.coefficient);
    for (const auto& atom : term.atoms) t = t * Dim::symbol(atom->text);
    const auto q = t.exact_div(size);
    (q ? quotient : remainder) = (q ? quotient : remainder) + (q ? *q : t);
  }
  if (remainder.is_const()) {
    const bool fits =
        remainder == Dim(0) || (size.is_const() && remainder.value() > 0 && remainder.value() < size.value());
    return fits ? std::optional(std::pair(quotient, remainder)) : std::nullopt;
  }
  const Dim* bound = find(remainder);
  return bound != nullptr && *bound == size ? std::optional(std::pair(quotient, remainder)) : std::nullopt;
}

// Axes are taken in groups of equal size on both sides; an index into a group is flattened and split again.
std::optional<std::vector<Coordinate>> IndexBounds::through_reshape(const Value& from, const Value& to,
                                                                    const std::vector<Coordinate>& at) const {
  std::vector<Coordinate> out(from.shape().size());
  size_t f = 0, t = 0;
  while (f < from.shape().size() || t < to.shape().size()) {
    const size_t f_begin = f, t_begin = t;
    Dim f_size(1), t_size(1);
    if (f < from.shape().size()) f_size = from.shape()[f++];
    while (f_size != t_size) {
      // Extend the side that the other is a multiple of.
      const bool extend_to = t < to.shape().size() && (f_size.exact_div(t_size) || f == from.shape().size());
      if (extend_to) {
        t_size = t_size * to.shape()[t++];
      } else if (f < from.shape().size()) {
        f_size = f_size * from.shape()[f++];
      } else {
        return std::nullopt;
      }
    }
    while (f == from.shape().size() && t < to.shape().size() && to.shape()[t] == Dim(1)) ++t;
    Dim flat;
    bool free = false;
    for (size_t i = t_begin; i < t; ++i) {
      if (to.shape()[i] == Dim(1)) continue;
      flat = flat * to.shape()[i] + at[i].index;
      free |= at[i].free;
    }
    size_t wide = 0;
    for (size_t i = f_begin; i < f; ++i) wide += from.shape()[i] != Dim(1);
    if (free && wide > 1) return std::nullopt;
    for (size_t i = f; i-- > f_begin;) {
      if (from.shape()[i] == Dim(1)) continue;
      if (wide == 1) {
        out[i] = {flat, free};
        break;
      }
      const auto parts = split(flat, from.shape()[i]);
      if (!parts) return std::nullopt;
      // The outermost axis takes what is left.
      bool outermost = true;
      for (size_t k = f_begin; k < i; ++k) outermost &= from.shape()[k] == Dim(1);
      out[i].index = outermost ? flat : parts->second;
      flat = parts->first;
    }
  }
  return out;
}

}  // namespace tenon::passes
