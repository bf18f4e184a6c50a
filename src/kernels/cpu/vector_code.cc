#include "kernels/cpu/vector_code.h"

namespace tenon::kernels::cpu {

const VectorCode& vector_code(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return vector_code_avx512(isa);
  if (isa >= Isa::kAvx2) return vector_code_avx2(isa == Isa::kAvxVnni);
#endif
  (void)isa;
  return vector_code_scalar();
}

}  // namespace tenon::kernels::cpu
