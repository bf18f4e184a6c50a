#define HWY_COMPILE_ONLY_SCALAR
#include "kernels/cpu/vector_code-inl.h"

namespace tenon::kernels::cpu {

const VectorCode& vector_code_scalar() {
  static constexpr VectorCode kTable = HWY_NAMESPACE::table(Isa::kScalar);
  return kTable;
}

}  // namespace tenon::kernels::cpu
