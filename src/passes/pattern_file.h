// Fusions that users write: patterns in the IR's text form, read from a file, applied beside the passes of this folder.
//
//   pattern fuse-add-gelu before fuse-linear {
//     %product = matmul(%x, %w)
//     %sum = add(%product, %bias)
//     %y = gelu(%sum) {approximate = "none"}
//     return %y
//   }
//   where constant(%w), rank(%w) == 2, single_use(%sum)
//   => {
//     %z = linear(%x, %w, %bias) {activation = "gelu"}
//     return %z
//   }
//
// docs/patterns.md has the whole grammar.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "passes/rewriter.h"

namespace tenon::passes {

// A value computed at a match: what an attribute becomes, or one side of a condition.
struct PatternExpression {
  enum class Kind {
    kLiteral,
    kVariable,
    kRank,
    kDim,
    kShape,
    kDType,
    kName,
    kOrigin,
    kAdd,
    kSubtract,
    kMultiply,
    kDivide
  };
  Kind kind = Kind::kLiteral;
  ir::AttrValue literal;
  int index = -1;                           // of the $variable or of the %value
  int64_t axis = 0;                         // of kDim
  std::vector<PatternExpression> operands;  // two for arithmetic
};

struct PatternOperand {
  enum class Kind { kAbsent, kValue, kNumber, kVariable };
  Kind kind = Kind::kAbsent;
  int index = -1;     // of the %value or the $variable
  double number = 0;  // a constant all of whose elements are this
};

struct PatternNode {
  std::optional<Op> op;
  std::string plugin;  // operator of a plugin, where `op` has no value
  std::vector<PatternOperand> operands;
  std::vector<std::pair<std::string, PatternExpression>> attrs;
  std::vector<int> outputs;  // %values
};

struct PatternBlock {
  std::vector<PatternNode> nodes;
  int result = -1;  // %value
};

struct PatternCondition {
  enum class Kind { kSingleUse, kConstant, kLike, kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual };
  Kind kind = Kind::kEqual;
  bool negated = false;
  int value = -1;  // of kSingleUse and kConstant
  PatternExpression left, right;
  std::string glob;  // of kLike
  std::string text;  // as written, for messages
};

struct PatternRule {
  std::string name;
  std::string where;   // "my.patterns:3"
  std::string before;  // the pass that it runs before
  int values = 0, variables = 0;
  struct Producer {
    int node = -1, output = 0;  // of `pattern`; -1: any value matches, or the replacement makes it
  };
  std::vector<Producer> producers;  // per %value
  PatternBlock pattern, replacement;
  std::vector<PatternCondition> conditions;
};

// Operators, attributes and their kinds are checked here; types are, where a rule is applied. Errors: invalid-argument,
// as "file:line:column: cause".
Result<std::vector<PatternRule>> parse_patterns(std::string_view text, std::string_view file);
// Errors: also not-found, io.
Result<std::vector<PatternRule>> read_patterns(const std::string& path);

// Applies a rule wherever it matches, once for each node that was there when it began: what a rule makes can be a part
// of its next match but not its result, so every rule comes to an end. A match whose conditions fail, or whose
// replacement is of another type, is declined in words. Errors: unsupported (the graph grows beyond any model's size).
Status apply_pattern(Graph& graph, const PatternRule& rule, std::vector<Decision>& decisions);

}  // namespace tenon::passes
