#include "kernels/cpu/vector_code-inl.h"

namespace tenon::kernels::cpu {

const VectorCode& vector_code_avx512() {
  static constexpr VectorCode kTable = HWY_NAMESPACE::table(Isa::kAvx512);
  return kTable;
}

}  // namespace tenon::kernels::cpu
