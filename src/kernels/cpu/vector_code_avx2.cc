#include "kernels/cpu/vector_code-inl.h"

namespace tenon::kernels::cpu {

const VectorCode& vector_code_avx2() {
  static constexpr VectorCode kTable = HWY_NAMESPACE::table(Isa::kAvx2);
  return kTable;
}

}  // namespace tenon::kernels::cpu
