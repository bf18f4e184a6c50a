#include <vector>

#include "ops/op_def.h"

namespace tenon::ops {

const OpDef& op_def(Op op) {
  static const std::vector<OpDef> table = [] {
    std::vector<OpDef> t;
    t.reserve(ir::kOpCount);
#define TENON_OP(name)          \
  t.push_back(define_##name()); \
  t.back().op = Op::k_##name;
#include "ir/op_list.inc"
#undef TENON_OP
    return t;
  }();
  return table[static_cast<size_t>(op)];
}

}  // namespace tenon::ops
