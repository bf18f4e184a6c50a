#include "ops/sizes.h"

namespace tenon::ops {
namespace {

// Binds the one unknown symbol of a size that is linear in it: 2*seq + 1 == 9 gives seq = 4. True when it did.
bool solve(const Dim& declared, int64_t given, Symbols& symbols) {
  std::map<std::string, Dim> known;
  for (const auto& [name, value] : symbols) known.emplace(name, value);
  const Dim open = declared.substitute(known);
  int64_t factor = 0, constant = 0;
  std::string symbol;
  for (const Dim::Term& term : open.terms()) {
    if (term.atoms.empty()) {
      constant = term.coefficient;
    } else if (term.atoms.size() == 1 && term.atoms[0]->kind == ir::Atom::Kind::kSymbol && factor == 0) {
      factor = term.coefficient;
      symbol = term.atoms[0]->text;
    } else {
      return false;
    }
  }
  const Dim rest = Dim(given) - Dim(constant);
  if (factor == 0 || rest.value() % factor != 0) return false;
  return symbols.emplace(symbol, rest.value() / factor).second;
}

}  // namespace

std::optional<int64_t> evaluate(const Dim& dim, const Symbols& symbols) {
  return dim.evaluate([&](std::string_view name) -> std::optional<int64_t> {
    const auto it = symbols.find(name);
    return it == symbols.end() ? std::nullopt : std::optional<int64_t>(it->second);
  });
}

Result<std::vector<int64_t>> evaluate(const Shape& shape, const Symbols& symbols) {
  std::vector<int64_t> values;
  values.reserve(shape.size());
  for (const Dim& dim : shape) {
    const std::optional<int64_t> value = evaluate(dim, symbols);
    if (!value) return error(ErrorCode::kInternal, "the size {} of {} is not known", dim.to_string(), ir::to_string(shape));
    values.push_back(*value);
  }
  return values;
}

Result<Symbols> bind_symbols(std::span<const GivenShape> inputs) {
  for (const GivenShape& in : inputs) {
    if (in.declared->size() == in.given.size()) continue;
    return error(ErrorCode::kBadInput, "input '{}' has rank {}, {} expected", in.name, in.given.size(), ir::to_string(*in.declared));
  }
  Symbols symbols;
  for (bool progress = true; progress;) {
    progress = false;
    for (const GivenShape& in : inputs) {
      for (size_t axis = 0; axis < in.given.size(); ++axis) {
        const Dim& declared = (*in.declared)[axis];
        if (!evaluate(declared, symbols)) progress |= solve(declared, in.given[axis], symbols);
      }
    }
  }
  for (const GivenShape& in : inputs) {
    for (size_t axis = 0; axis < in.given.size(); ++axis) {
      const Dim& declared = (*in.declared)[axis];
      const std::optional<int64_t> expected = evaluate(declared, symbols);
      if (!expected || *expected == in.given[axis]) continue;
      return error(ErrorCode::kBadInput, "input '{}': axis {} is {}, but {}{} expected", in.name, axis, in.given[axis],
                   declared.is_const() ? "" : declared.to_string() + " = ", *expected);
    }
  }
  return symbols;
}

Result<EvaluatedSizes> EvaluatedSizes::of(const Attrs& attrs, const Symbols& symbols) {
  EvaluatedSizes result;
  result.values_.reserve(attrs.all().size());  // spans into it stay valid
  for (const auto& [name, value] : attrs.all()) {
    const Shape* shape = std::get_if<Shape>(&value);
    if (shape == nullptr) continue;
    auto values = evaluate(*shape, symbols);
    if (!values.ok()) return values.status().with_context(fmt::format("attribute '{}'", name));
    result.values_.push_back(std::move(values).value());
    result.sizes_.push_back({name, result.values_.back()});
  }
  return result;
}

}  // namespace tenon::ops
