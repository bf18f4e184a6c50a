#include "ir/dim.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace tenon::ir {
namespace {

constexpr int64_t kLimit = int64_t{1} << 62;
// A polynomial beyond these is no model's: it saturates to kLimit, so that hostile shape arithmetic cannot grow without bound.
constexpr size_t kMaxTerms = 256;
constexpr size_t kMaxDegree = 32;
constexpr size_t kMaxFunctionText = 1024;

int64_t saturate(__int128 v) {
  return static_cast<int64_t>(std::clamp<__int128>(v, -static_cast<__int128>(kLimit), kLimit));
}

int64_t floor_divide(int64_t a, int64_t b) {
  int64_t q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

int compare_atoms(const Dim::Term& a, const Dim::Term& b) {
  const size_t n = std::min(a.atoms.size(), b.atoms.size());
  for (size_t i = 0; i < n; ++i)
    if (int c = a.atoms[i]->text.compare(b.atoms[i]->text); c != 0) return c;
  // Longer monomials first, so that "batch*seq + 1" prints in the usual order.
  return a.atoms.size() == b.atoms.size() ? 0 : (a.atoms.size() > b.atoms.size() ? -1 : 1);
}

const char* function_name(Atom::Kind kind) {
  switch (kind) {
    case Atom::Kind::kFloorDiv: return "floordiv";
    case Atom::Kind::kMod: return "mod";
    case Atom::Kind::kMin: return "min";
    case Atom::Kind::kMax: return "max";
    case Atom::Kind::kSymbol: break;
  }
  return "";
}

int64_t apply(Atom::Kind kind, int64_t a, int64_t b) {
  switch (kind) {
    case Atom::Kind::kFloorDiv: return floor_divide(a, b);
    case Atom::Kind::kMod: return a - b * floor_divide(a, b);
    case Atom::Kind::kMin: return std::min(a, b);
    default: return std::max(a, b);
  }
}

// True for min(x, …) or max(x, …).
bool is_function_of(const Dim& d, Atom::Kind kind, const Dim& x) {
  if (d.terms().size() != 1 || d.terms()[0].coefficient != 1 || d.terms()[0].atoms.size() != 1) return false;
  const Atom& atom = *d.terms()[0].atoms[0];
  return atom.kind == kind && (atom.args[0] == x || atom.args[1] == x);
}

}  // namespace

Dim::Dim(int64_t constant) {
  if (constant != 0) terms_.push_back({saturate(constant), {}});
}

Dim Dim::symbol(std::string_view name) {
  auto atom = std::make_shared<Atom>();
  atom->text = std::string(name);
  Dim d;
  d.terms_.push_back({1, {std::move(atom)}});
  return d;
}

bool Dim::is_symbol() const {
  return terms_.size() == 1 && terms_[0].coefficient == 1 && terms_[0].atoms.size() == 1 &&
         terms_[0].atoms[0]->kind == Atom::Kind::kSymbol;
}

void Dim::normalize() {
  std::sort(terms_.begin(), terms_.end(), [](const Term& a, const Term& b) { return compare_atoms(a, b) < 0; });
  std::vector<Term> merged;
  for (Term& t : terms_) {
    if (!merged.empty() && compare_atoms(merged.back(), t) == 0) {
      merged.back().coefficient = saturate(static_cast<__int128>(merged.back().coefficient) + t.coefficient);
    } else {
      merged.push_back(std::move(t));
    }
  }
  std::erase_if(merged, [](const Term& t) { return t.coefficient == 0; });
  const bool too_large = merged.size() > kMaxTerms ||
                         std::any_of(merged.begin(), merged.end(), [](const Term& t) { return t.atoms.size() > kMaxDegree; });
  if (too_large) merged = {Term{kLimit, {}}};
  terms_ = std::move(merged);
}

Dim Dim::operator+(const Dim& o) const {
  Dim r = *this;
  r.terms_.insert(r.terms_.end(), o.terms_.begin(), o.terms_.end());
  r.normalize();
  return r;
}

Dim Dim::operator-(const Dim& o) const { return *this + o * Dim(-1); }

Dim Dim::operator*(const Dim& o) const {
  if (terms_.size() * o.terms_.size() > 4 * kMaxTerms) return Dim(kLimit);
  Dim r;
  for (const Term& a : terms_) {
    for (const Term& b : o.terms_) {
      Term t{saturate(static_cast<__int128>(a.coefficient) * b.coefficient), a.atoms};
      t.atoms.insert(t.atoms.end(), b.atoms.begin(), b.atoms.end());
      std::sort(t.atoms.begin(), t.atoms.end(), [](const auto& x, const auto& y) { return x->text < y->text; });
      r.terms_.push_back(std::move(t));
    }
  }
  r.normalize();
  return r;
}

bool Dim::operator==(const Dim& o) const {
  return std::equal(terms_.begin(), terms_.end(), o.terms_.begin(), o.terms_.end(), [](const Term& a, const Term& b) {
    return a.coefficient == b.coefficient && compare_atoms(a, b) == 0;
  });
}

std::optional<Dim> Dim::exact_div(const Dim& o) const {
  if (o.terms_.size() != 1) return *this == o && !terms_.empty() ? std::optional<Dim>(1) : std::nullopt;
  const Term& divisor = o.terms_[0];
  Dim r;
  for (const Term& t : terms_) {
    if (t.coefficient % divisor.coefficient != 0) return std::nullopt;
    Term q{t.coefficient / divisor.coefficient, t.atoms};
    for (const auto& atom : divisor.atoms) {
      auto it = std::find_if(q.atoms.begin(), q.atoms.end(), [&](const auto& a) { return a->text == atom->text; });
      if (it == q.atoms.end()) return std::nullopt;
      q.atoms.erase(it);
    }
    r.terms_.push_back(std::move(q));
  }
  r.normalize();
  return r;
}

Dim Dim::function(Atom::Kind kind, const Dim& a, const Dim& b) {
  const bool divides = kind == Atom::Kind::kFloorDiv || kind == Atom::Kind::kMod;
  // A division by zero, which substitution may bring about, stays as it is: evaluation refuses it.
  if (a.is_const() && b.is_const() && !(divides && b.value() == 0)) return Dim(apply(kind, a.value(), b.value()));
  auto atom = std::make_shared<Atom>();
  atom->kind = kind;
  atom->args = {a, b};
  atom->text = std::string(function_name(kind)) + "(" + a.to_string() + ", " + b.to_string() + ")";
  if (atom->text.size() > kMaxFunctionText) return Dim(kLimit);
  Dim d;
  d.terms_.push_back({1, {std::move(atom)}});
  return d;
}

Dim Dim::floordiv(const Dim& a, const Dim& b) {
  if (auto q = a.exact_div(b)) return *q;
  return function(Atom::Kind::kFloorDiv, a, b);
}

Dim Dim::mod(const Dim& a, const Dim& b) {
  if (a.exact_div(b)) return Dim(0);
  return function(Atom::Kind::kMod, a, b);
}

Dim Dim::min(const Dim& a, const Dim& b) {
  if (a == b || is_function_of(a, Atom::Kind::kMin, b) || is_function_of(b, Atom::Kind::kMax, a)) return a;
  if (is_function_of(b, Atom::Kind::kMin, a) || is_function_of(a, Atom::Kind::kMax, b)) return b;
  if ((a - b).at_least(0)) return b;
  if ((b - a).at_least(0)) return a;
  return function(Atom::Kind::kMin, a, b);
}

Dim Dim::max(const Dim& a, const Dim& b) {
  if (a == b || is_function_of(a, Atom::Kind::kMax, b) || is_function_of(b, Atom::Kind::kMin, a)) return a;
  if (is_function_of(b, Atom::Kind::kMax, a) || is_function_of(a, Atom::Kind::kMin, b)) return b;
  if ((a - b).at_least(0)) return a;
  if ((b - a).at_least(0)) return b;
  return function(Atom::Kind::kMax, a, b);
}

std::optional<int64_t> Dim::evaluate(const std::function<std::optional<int64_t>(std::string_view)>& symbol) const {
  __int128 sum = 0;
  for (const Term& t : terms_) {
    __int128 product = t.coefficient;
    for (const auto& atom : t.atoms) {
      std::optional<int64_t> v;
      if (atom->kind == Atom::Kind::kSymbol) {
        v = symbol(atom->text);
      } else {
        const auto a = atom->args[0].evaluate(symbol), b = atom->args[1].evaluate(symbol);
        const bool divides = atom->kind == Atom::Kind::kFloorDiv || atom->kind == Atom::Kind::kMod;
        if (a && b && !(divides && *b == 0)) v = apply(atom->kind, *a, *b);
      }
      if (!v) return std::nullopt;
      product *= *v;
      if (product > kLimit || product < -static_cast<__int128>(kLimit)) return std::nullopt;
    }
    sum += product;
  }
  if (sum > kLimit || sum < -static_cast<__int128>(kLimit)) return std::nullopt;
  return static_cast<int64_t>(sum);
}

Dim Dim::substitute(const std::map<std::string, Dim>& symbols) const {
  Dim sum;
  for (const Term& t : terms_) {
    Dim product(t.coefficient);
    for (const auto& atom : t.atoms) {
      if (atom->kind == Atom::Kind::kSymbol) {
        auto it = symbols.find(atom->text);
        product = product * (it != symbols.end() ? it->second : Dim::symbol(atom->text));
        continue;
      }
      const Dim a = atom->args[0].substitute(symbols), b = atom->args[1].substitute(symbols);
      switch (atom->kind) {
        case Atom::Kind::kFloorDiv: product = product * floordiv(a, b); break;
        case Atom::Kind::kMod: product = product * mod(a, b); break;
        case Atom::Kind::kMin: product = product * min(a, b); break;
        default: product = product * max(a, b); break;
      }
    }
    sum = sum + product;
  }
  return sum;
}

namespace {

using Bound = std::optional<__int128>;

// Bounds of the values over all symbols from 1 to their limits; nothing where none is known.
struct Range {
  Bound least, most;
};

template <class F>
Bound both(const Bound& a, const Bound& b, F f) {
  return a && b ? Bound(f(*a, *b)) : std::nullopt;
}
template <class F>
Bound either(const Bound& a, const Bound& b, F f) {
  return a && b ? Bound(f(*a, *b)) : a ? a : b;
}

Range range_of(const Dim& d, const std::map<std::string, int64_t>& limits);

Range range_of(const Atom& atom, const std::map<std::string, int64_t>& limits) {
  if (atom.kind == Atom::Kind::kSymbol) {
    const auto limit = limits.find(atom.text);
    return {1, limit != limits.end() ? Bound(limit->second) : std::nullopt};
  }
  const auto lesser = [](__int128 x, __int128 y) { return std::min(x, y); };
  const auto greater = [](__int128 x, __int128 y) { return std::max(x, y); };
  const Range a = range_of(atom.args[0], limits), b = range_of(atom.args[1], limits);
  switch (atom.kind) {
    case Atom::Kind::kMin: return {both(a.least, b.least, lesser), either(a.most, b.most, lesser)};
    case Atom::Kind::kMax: return {either(a.least, b.least, greater), both(a.most, b.most, greater)};
    default: break;
  }
  if (!b.least || *b.least < 1) return {};
  if (atom.kind == Atom::Kind::kMod) return {0, b.most ? Bound(*b.most - 1) : std::nullopt};
  if (atom.args[1].is_const()) {
    const auto quotient = [&](const Bound& x) { return x ? Bound(floor_divide(saturate(*x), atom.args[1].value())) : std::nullopt; };
    return {quotient(a.least), quotient(a.most)};
  }
  return a.least && *a.least >= 0 ? Range{0, a.most} : Range{};
}

Range range_of(const Dim& d, const std::map<std::string, int64_t>& limits) {
  Range sum{0, 0};
  const auto plus = [](__int128 x, __int128 y) { return x + y; };
  for (const Dim::Term& t : d.terms()) {
    const auto times = [](__int128 x, __int128 y) -> __int128 { return saturate(static_cast<__int128>(saturate(x)) * saturate(y)); };
    Range product{1, 1};
    for (const auto& atom : t.atoms) {
      const Range factor = range_of(*atom, limits);
      if (!factor.least || *factor.least < 0) return {};
      product = {both(product.least, factor.least, times), both(product.most, factor.most, times)};
    }
    if (t.coefficient < 0) std::swap(product.least, product.most);
    sum.least = both(sum.least, both(product.least, t.coefficient, times), plus);
    sum.most = both(sum.most, both(product.most, t.coefficient, times), plus);
  }
  return sum;
}

}  // namespace

bool Dim::at_least(int64_t bound, const std::map<std::string, int64_t>& limits) const {
  const Bound least = range_of(*this, limits).least;
  return least && *least >= bound;
}

std::string Dim::to_string() const {
  if (terms_.empty()) return "0";
  std::string out;
  for (const Term& t : terms_) {
    const bool negative = t.coefficient < 0;
    if (out.empty()) {
      if (negative) out += "-";
    } else {
      out += negative ? " - " : " + ";
    }
    const int64_t magnitude = negative ? -t.coefficient : t.coefficient;
    bool first = true;
    if (magnitude != 1 || t.atoms.empty()) {
      out += std::to_string(magnitude);
      first = false;
    }
    for (const auto& atom : t.atoms) {
      if (!first) out += "*";
      out += atom->text;
      first = false;
    }
  }
  return out;
}

void Dim::collect_symbols(std::set<std::string>& names) const {
  for (const Term& t : terms_) {
    for (const auto& atom : t.atoms) {
      if (atom->kind == Atom::Kind::kSymbol) names.insert(atom->text);
      for (const Dim& arg : atom->args) arg.collect_symbols(names);
    }
  }
}

namespace {

// sum := ['-'] product {('+'|'-') product};  product := factor {'*' factor};  factor := int | name ['(' sum ',' sum ')'] | '(' sum ')'
class DimParser {
 public:
  explicit DimParser(std::string_view text) : text_(text) {}

  Result<Dim> parse() {
    if (text_.size() > kMaxText) return error(ErrorCode::kBadModel, "a dimension of {} characters is too long", text_.size());
    TENON_ASSIGN(Dim d, sum(0));
    skip_space();
    if (pos_ != text_.size()) return fail("unexpected character");
    return d;
  }

 private:
  static constexpr size_t kMaxText = 1 << 16;

  Status fail(const char* why) const {
    return error(ErrorCode::kBadModel, "bad dimension \"{}\": {} at column {}", text_, why, pos_ + 1);
  }
  void skip_space() {
    while (pos_ < text_.size() && text_[pos_] == ' ') ++pos_;
  }
  bool accept(char c) {
    skip_space();
    if (pos_ >= text_.size() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }
  Result<Dim> sum(int depth) {
    if (depth > 64) return fail("nested too deeply");
    const bool negative = accept('-');
    TENON_ASSIGN(Dim total, product(depth));
    if (negative) total = -total;
    while (true) {
      const bool plus = accept('+');
      if (!plus && !accept('-')) return total;
      TENON_ASSIGN(Dim next, product(depth));
      if (total.terms().size() + next.terms().size() > kMaxTerms) return fail("too many terms");
      total = plus ? total + next : total - next;
    }
  }
  Result<Dim> product(int depth) {
    TENON_ASSIGN(Dim total, factor(depth));
    int count = 0;
    while (accept('*')) {
      if (++count > 64) return fail("too many factors");
      TENON_ASSIGN(Dim next, factor(depth));
      if (total.terms().size() * next.terms().size() > kMaxTerms) return fail("too many terms");
      total = total * next;
    }
    return total;
  }
  Result<Dim> factor(int depth) {
    skip_space();
    if (accept('(')) {
      TENON_ASSIGN(Dim inner, sum(depth + 1));
      if (!accept(')')) return fail("expected ')'");
      return inner;
    }
    const size_t begin = pos_;
    if (pos_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[pos_]))) {
      int64_t v = 0;
      const auto [end, ec] = std::from_chars(text_.data() + pos_, text_.data() + text_.size(), v);
      if (ec != std::errc()) return fail("number out of range");
      pos_ = static_cast<size_t>(end - text_.data());
      return Dim(v);
    }
    while (pos_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[pos_])) || text_[pos_] == '_' || text_[pos_] == '.')) ++pos_;
    if (pos_ == begin) return fail("expected a number or a name");
    const std::string_view name = text_.substr(begin, pos_ - begin);
    if (!accept('(')) return Dim::symbol(name);
    TENON_ASSIGN(Dim a, sum(depth + 1));
    if (!accept(',')) return fail("expected ','");
    TENON_ASSIGN(Dim b, sum(depth + 1));
    if (!accept(')')) return fail("expected ')'");
    if (name == "min") return Dim::min(a, b);
    if (name == "max") return Dim::max(a, b);
    if (name != "floordiv" && name != "mod") return fail("unknown function");
    if (b == Dim(0)) return fail("division by zero");
    return name == "mod" ? Dim::mod(a, b) : Dim::floordiv(a, b);
  }

  std::string_view text_;
  size_t pos_ = 0;
};

}  // namespace

Result<Dim> Dim::parse(std::string_view text) { return DimParser(text).parse(); }

Dim numel(const Shape& shape) {
  Dim n(1);
  for (const Dim& d : shape) n = n * d;
  return n;
}

std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out.append(i ? "," : "").append(shape[i].to_string());
  return out + "]";
}

bool all_const(const Shape& shape) {
  return std::all_of(shape.begin(), shape.end(), [](const Dim& d) { return d.is_const(); });
}

std::vector<int64_t> const_values(const Shape& shape) {
  std::vector<int64_t> out;
  for (const Dim& d : shape) out.push_back(d.value());
  return out;
}

Shape to_shape(const std::vector<int64_t>& dims) { return Shape(dims.begin(), dims.end()); }

}  // namespace tenon::ir
