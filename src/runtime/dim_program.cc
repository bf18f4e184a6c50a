#include "runtime/dim_program.h"

#include <algorithm>

#include "base/checked.h"

namespace tenon::runtime {
namespace {

std::optional<int64_t> floor_divide(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return b == 0 ? std::nullopt : checked_mul(a, -1);
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

}  // namespace

void DimProgram::emit(Code code, int64_t operand) {
  code_.push_back({code, operand});
  depth_ += code == Code::kConstant || code == Code::kSymbol ? 1 : -1;
  max_depth_ = std::max(max_depth_, depth_);
}

Status DimProgram::append(const ir::Dim& dim, const std::function<int(std::string_view)>& index_of) {
  if (dim.terms().empty()) emit(Code::kConstant, 0);
  bool first_term = true;
  for (const ir::Dim::Term& term : dim.terms()) {
    emit(Code::kConstant, term.coefficient);
    for (const auto& atom : term.atoms) {
      if (atom->kind == ir::Atom::Kind::kSymbol) {
        const int index = index_of(atom->text);
        if (index < 0) return error(ErrorCode::kBadEngine, "the symbol {} has no value", atom->text);
        emit(Code::kSymbol, index);
      } else {
        if (max_depth_ > kMaxDepth) break;
        TENON_TRY(append(atom->args[0], index_of));
        TENON_TRY(append(atom->args[1], index_of));
        switch (atom->kind) {
          case ir::Atom::Kind::kFloorDiv: emit(Code::kFloorDiv); break;
          case ir::Atom::Kind::kMod: emit(Code::kMod); break;
          case ir::Atom::Kind::kMin: emit(Code::kMin); break;
          default: emit(Code::kMax); break;
        }
      }
      emit(Code::kMul);
    }
    if (!first_term) emit(Code::kAdd);
    first_term = false;
  }
  if (max_depth_ > kMaxDepth) return error(ErrorCode::kBadEngine, "a size is nested too deeply");
  return {};
}

Result<DimProgram> DimProgram::compile(const ir::Dim& dim, const std::function<int(std::string_view)>& index_of) {
  DimProgram program;
  TENON_TRY(program.append(dim, index_of));
  return program;
}

std::optional<int64_t> DimProgram::evaluate(std::span<const int64_t> symbols) const {
  int64_t stack[kMaxDepth];
  int top = 0;
  for (const Instruction& i : code_) {
    if (i.code == Code::kConstant) {
      stack[top++] = i.operand;
      continue;
    }
    if (i.code == Code::kSymbol) {
      stack[top++] = symbols[static_cast<size_t>(i.operand)];
      continue;
    }
    const int64_t b = stack[--top], a = stack[--top];
    std::optional<int64_t> r;
    switch (i.code) {
      case Code::kAdd: r = checked_add(a, b); break;
      case Code::kMul: r = checked_mul(a, b); break;
      case Code::kFloorDiv: r = floor_divide(a, b); break;
      case Code::kMod: {
        const auto q = floor_divide(a, b);
        if (q) r = a - b * *q;
        break;
      }
      case Code::kMin: r = std::min(a, b); break;
      default: r = std::max(a, b); break;
    }
    if (!r) return std::nullopt;
    stack[top++] = *r;
  }
  return stack[0];
}

}  // namespace tenon::runtime
