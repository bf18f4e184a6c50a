// Products.
#include "onnx/ops.h"

namespace tenon::onnx {

// Y = alpha A' B' + beta C, A' and B' transposed where asked for.
Result<Value*> general_product(Call& c) {
  Value* a = c.input(0);
  Value* b = c.input(1);
  if (a->rank() != 2 || b->rank() != 2)
    return error(ErrorCode::kBadModel, "inputs of rank {} and {}, expected 2", a->rank(), b->rank());
  const double alpha = c.number("alpha", 1), beta = c.number("beta", 1);
  if (c.integer("transA", 0) != 0) {
    TENON_ASSIGN(a, c.transpose(a, {1, 0}));
  }
  if (c.integer("transB", 0) != 0) {
    TENON_ASSIGN(b, c.transpose(b, {1, 0}));
  }
  TENON_ASSIGN(auto* y, c.emit(Op::k_matmul, {a, b}));
  if (alpha != 1) {
    TENON_ASSIGN(y, c.emit(Op::k_mul, {y, c.scalar(y->dtype(), alpha)}));
  }
  Value* bias = c.input(2);
  if (bias == nullptr) return y;
  if (beta != 1) {
    TENON_ASSIGN(bias, c.emit(Op::k_mul, {bias, c.scalar(bias->dtype(), beta)}));
  }
  return c.emit(Op::k_add, {y, bias});
}

Status import_gemm(Call& c) { return c.yield(general_product(c)); }

}  // namespace tenon::onnx
