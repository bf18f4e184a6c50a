// Symbolic sizes at run time: binding symbols from the shapes of inputs, evaluating shapes and attributes.
#pragma once

#include <map>
#include <string>

#include "ops/op_def.h"

namespace tenon::ops {

// Values of symbols during a run.
using Symbols = std::map<std::string, int64_t, std::less<>>;

// Nothing when a symbol is unknown or the result overflows.
std::optional<int64_t> evaluate(const Dim& dim, const Symbols& symbols);
// Errors: internal, naming the size that cannot be told.
Result<std::vector<int64_t>> evaluate(const Shape& shape, const Symbols& symbols);

// An input's declared shape and the one it came with.
struct GivenShape {
  std::string_view name;
  const Shape* declared = nullptr;
  std::span<const int64_t> given;
};

// The symbols that the given shapes determine. A composite size ("2*seq + 1") determines its symbol when the others are known
// and it is linear in it. Errors: bad-input, naming the input and axis, when ranks differ or shapes contradict each other.
Result<Symbols> bind_symbols(std::span<const GivenShape> inputs);

// The attributes of kind Shape of one node, evaluated; RunArgs::sizes points into it.
class EvaluatedSizes {
 public:
  static Result<EvaluatedSizes> of(const Attrs& attrs, const Symbols& symbols);
  std::span<const Sizes> sizes() const { return sizes_; }

 private:
  std::vector<std::vector<int64_t>> values_;
  std::vector<Sizes> sizes_;
};

}  // namespace tenon::ops
