#include "kernels/cpu/isa.h"

#include <vector>

#include "base/env.h"
#include "base/log.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tenon::kernels::cpu {
namespace {

struct Features {
  bool avx2 = false, avx512 = false;
};

#if defined(__x86_64__)
uint64_t enabled_state() {
  uint32_t lo = 0, hi = 0;
  asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return uint64_t{hi} << 32 | lo;
}

Features detect() {
  Features f;
  unsigned a = 0, b = 0, c = 0, d = 0;
  const auto has = [](unsigned word, std::initializer_list<int> bits) {
    for (int bit : bits)
      if ((word >> bit & 1u) == 0) return false;
    return true;
  };
  // FMA, OSXSAVE, AVX, F16C
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, {12, 27, 28, 29})) return f;
  const uint64_t state = enabled_state();
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6;                                   // bits of XCR0
  f.avx2 = (state & kYmm) == kYmm && has(b, {3, 5, 8});                         // BMI, AVX2, BMI2
  f.avx512 = f.avx2 && (state & kZmm) == kZmm && has(b, {16, 17, 28, 30, 31});  // F, DQ, CD, BW, VL
  return f;
}
#else
Features detect() { return {}; }
#endif

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kScalar:
      break;
  }
  return "scalar";
}

std::span<const Isa> available_isas() {
  static const std::vector<Isa> all = [] {
    const Features f = detect();
    std::vector<Isa> list;
    if (f.avx512) list.push_back(Isa::kAvx512);
    if (f.avx2) list.push_back(Isa::kAvx2);
    list.push_back(Isa::kScalar);
    return list;
  }();
  return all;
}

Isa chosen_isa() {
  static const Isa chosen = [] {
    const std::string wanted = env("TENON_ISA");
    const auto all = available_isas();
    if (wanted == "best") return all.front();
    for (Isa isa : {Isa::kAvx512, Isa::kAvx2, Isa::kScalar}) {
      if (isa_name(isa) != wanted) continue;
      for (Isa present : all) {
        if (present == isa) return isa;
        if (present < isa) {
          log(LogLevel::kWarn, "TENON_ISA={}: this machine lacks it; {} is used", wanted, isa_name(present));
          return present;
        }
      }
    }
    log(LogLevel::kWarn, "TENON_ISA={}: not one of best, avx512, avx2, scalar; {} is used", wanted,
        isa_name(all.front()));
    return all.front();
  }();
  return chosen;
}

}  // namespace tenon::kernels::cpu
