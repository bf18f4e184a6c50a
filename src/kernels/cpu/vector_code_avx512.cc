#include "kernels/cpu/vector_code-inl.h"

namespace tenon::kernels::cpu {

const VectorCode& vector_code_avx512(Isa isa) {
  static constexpr VectorCode kPlain = HWY_NAMESPACE::table(Isa::kAvx512);
  static constexpr VectorCode kVnni = HWY_NAMESPACE::table(Isa::kAvx512Vnni);
  static constexpr VectorCode kBf16 = HWY_NAMESPACE::table(Isa::kAvx512Bf16);
  static constexpr VectorCode kAmx = HWY_NAMESPACE::table(Isa::kAmx);
  return isa == Isa::kAmx ? kAmx : isa == Isa::kAvx512Bf16 ? kBf16 : isa == Isa::kAvx512Vnni ? kVnni : kPlain;
}

}  // namespace tenon::kernels::cpu
