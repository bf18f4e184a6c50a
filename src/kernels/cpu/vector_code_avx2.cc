#include "kernels/cpu/vector_code-inl.h"

namespace tenon::kernels::cpu {

const VectorCode& vector_code_avx2(bool vnni) {
  static constexpr VectorCode kPlain = HWY_NAMESPACE::table(Isa::kAvx2);
  static constexpr VectorCode kVnni = HWY_NAMESPACE::table(Isa::kAvxVnni);
  return vnni ? kVnni : kPlain;
}

}  // namespace tenon::kernels::cpu
