// Symbolic sizes compiled for the hot path: evaluation neither allocates nor looks anything up by name.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "ir/dim.h"

namespace tenon::runtime {

// A Dim over indexed symbols, in postfix form.
class DimProgram {
 public:
  // `index_of` gives a symbol's index, or -1. Errors: bad-engine (an unknown symbol, a program that is too deep).
  static Result<DimProgram> compile(const ir::Dim& dim, const std::function<int(std::string_view)>& index_of);

  // Nothing when the result overflows or a divisor is 0.
  std::optional<int64_t> evaluate(std::span<const int64_t> symbols) const;

 private:
  enum class Code : uint8_t { kConstant, kSymbol, kAdd, kMul, kFloorDiv, kMod, kMin, kMax };
  struct Instruction {
    Code code;
    int64_t operand;
  };
  static constexpr int kMaxDepth = 64;

  Status append(const ir::Dim& dim, const std::function<int(std::string_view)>& index_of);
  void emit(Code code, int64_t operand = 0);

  std::vector<Instruction> code_;
  int depth_ = 0, max_depth_ = 0;
};

}  // namespace tenon::runtime
