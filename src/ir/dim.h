// Symbolic integers: the sizes of tensors and the results of integer shape arithmetic.
//
// A Dim is a polynomial with integer coefficients over atoms. An atom is a symbol ("batch", "seq", "tokens") or one of
// floordiv, mod, min, max over Dims that could not be simplified. Dims are kept in a canonical form, so two Dims that
// are equal as polynomials compare equal: (seq + 1) * 2 - seq == seq + 2.
//
// Text form: "2*batch*seq + floordiv(seq, 2) - 1".
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tenon::ir {

class Dim;

// What a polynomial is made of; compared by its text.
struct Atom {
  enum class Kind { kSymbol, kFloorDiv, kMod, kMin, kMax };
  Kind kind = Kind::kSymbol;
  std::string text;       // the symbol's name, or e.g. "floordiv(seq, 2)"
  std::vector<Dim> args;  // two for functions
};

class Dim {
 public:
  Dim() = default;             // 0
  Dim(int64_t constant);       // NOLINT: implicit on purpose
  static Dim symbol(std::string_view name);
  // Parses the text form. Errors: bad-model (syntax, more than 64 levels of nesting).
  static Result<Dim> parse(std::string_view text);

  bool is_const() const { return terms_.empty() || (terms_.size() == 1 && terms_[0].atoms.empty()); }
  // The value of a constant Dim.
  int64_t value() const { return terms_.empty() ? 0 : terms_[0].coefficient; }
  bool is_symbol() const;

  // Arithmetic saturates at ±2^62, which checks of sizes refuse later: no overflow is undefined. Polynomials beyond any
  // model's (256 terms, degree 32, 1024 characters of a function) saturate too.
  Dim operator+(const Dim& o) const;
  Dim operator-(const Dim& o) const;
  Dim operator*(const Dim& o) const;
  Dim operator-() const { return Dim(0) - *this; }
  bool operator==(const Dim& o) const;
  bool operator!=(const Dim& o) const { return !(*this == o); }

  // a / b when b divides a as a polynomial by a single term; nothing otherwise.
  std::optional<Dim> exact_div(const Dim& o) const;
  static Dim floordiv(const Dim& a, const Dim& b);  // b must not be the constant 0
  static Dim mod(const Dim& a, const Dim& b);       // sign of b, as Python's %
  static Dim min(const Dim& a, const Dim& b);
  static Dim max(const Dim& a, const Dim& b);

  // The value for given symbols; nothing when a symbol is unknown, a divisor is 0 or the result overflows.
  std::optional<int64_t> evaluate(const std::function<std::optional<int64_t>(std::string_view)>& symbol) const;
  Dim substitute(const std::map<std::string, Dim>& symbols) const;
  // True when the value is at least `bound` for every symbol from 1 to its limit, if it has one (a sufficient test).
  bool at_least(int64_t bound, const std::map<std::string, int64_t>& limits = {}) const;

  std::string to_string() const;
  void collect_symbols(std::set<std::string>& names) const;

  struct Term {
    int64_t coefficient = 0;
    std::vector<std::shared_ptr<const Atom>> atoms;  // sorted by text, repeated for powers
  };
  const std::vector<Term>& terms() const { return terms_; }

 private:
  static Dim function(Atom::Kind kind, const Dim& a, const Dim& b);
  void normalize();
  std::vector<Term> terms_;  // sorted by atoms; no zero coefficients
};

// A shape: one Dim per axis, outermost first.
using Shape = std::vector<Dim>;

Dim numel(const Shape& shape);
std::string to_string(const Shape& shape);  // "[batch,seq,768]"
bool all_const(const Shape& shape);
std::vector<int64_t> const_values(const Shape& shape);  // requires all_const
Shape to_shape(const std::vector<int64_t>& dims);

}  // namespace tenon::ir
