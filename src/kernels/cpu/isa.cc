#include "kernels/cpu/isa.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/log.h"
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

namespace tenon::kernels::cpu {
namespace {

constexpr std::pair<Isa, std::string_view> kNames[] = {
    {Isa::kAmx, "amx"},       {Isa::kAvx512Bf16, "avx512_bf16"}, {Isa::kAvx512Vnni, "avx512_vnni"},
    {Isa::kAvx512, "avx512"}, {Isa::kAvxVnni, "avx_vnni"},       {Isa::kAvx2, "avx2"},
    {Isa::kScalar, "scalar"},
};

#if defined(__x86_64__)
uint64_t enabled_state() {
  uint32_t lo = 0, hi = 0;
  asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return uint64_t{hi} << 32 | lo;
}

// Linux hands out the tiles' 8 KiB of state per process, on request.
bool request_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

std::vector<Isa> detect() {
  std::vector<Isa> found{Isa::kScalar};
  unsigned a = 0, b = 0, c = 0, d = 0;
  const auto has = [](unsigned word, std::initializer_list<int> bits) {
    for (int bit : bits)
      if ((word >> bit & 1u) == 0) return false;
    return true;
  };
  // FMA, OSXSAVE, AVX, F16C
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, {12, 27, 28, 29})) return found;
  const uint64_t state = enabled_state();
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  unsigned a1 = 0, b1 = 0, c1 = 0, d1 = 0;
  if (a < 1 || !__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1)) a1 = 0;
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;    // bits of XCR0
  if ((state & kYmm) != kYmm || !has(b, {3, 5, 8})) return found;  // BMI, AVX2, BMI2
  found.push_back(Isa::kAvx2);
  if (has(a1, {4})) found.push_back(Isa::kAvxVnni);
  if ((state & kZmm) != kZmm || !has(b, {16, 17, 28, 30, 31})) return found;  // F, DQ, CD, BW, VL
  found.push_back(Isa::kAvx512);
  if (!has(c, {11})) return found;
  found.push_back(Isa::kAvx512Vnni);
  if (!has(a1, {5})) return found;
  found.push_back(Isa::kAvx512Bf16);
  // AMX-BF16, AMX-TILE, AMX-INT8
  if ((state & kTiles) == kTiles && has(d, {22, 24, 25}) && request_tiles()) found.push_back(Isa::kAmx);
  return found;
}
#else
std::vector<Isa> detect() { return {Isa::kScalar}; }
#endif

}  // namespace

std::string_view isa_name(Isa isa) {
  for (const auto& [known, name] : kNames)
    if (known == isa) return name;
  return "";
}

std::span<const Isa> available_isas() {
  static const std::vector<Isa> all = [] {
    std::vector<Isa> list = detect();
    std::reverse(list.begin(), list.end());
    return list;
  }();
  return all;
}

Isa chosen_isa() {
  static const Isa chosen = [] {
    const std::string wanted = env("TENON_ISA");
    const auto all = available_isas();
    if (wanted == "best") return all.front();
    std::string known = "best";
    for (const auto& [isa, name] : kNames) {
      known += fmt::format(", {}", name);
      if (name != wanted) continue;
      for (Isa present : all) {
        if (present == isa) return isa;
        if (present < isa) {
          log(LogLevel::kWarn, "TENON_ISA={}: this machine lacks it; {} is used", wanted, isa_name(present));
          return present;
        }
      }
    }
    log(LogLevel::kWarn, "TENON_ISA={}: not one of {}; {} is used", wanted, known, isa_name(all.front()));
    return all.front();
  }();
  return chosen;
}

std::string processor_name() {
  std::string brand;
#if defined(__x86_64__)
  constexpr unsigned kBrand = 0x80000002;  // and the two leaves behind it: 48 characters
  unsigned words[12] = {};
  for (unsigned i = 0; i < 3; ++i)
    if (!__get_cpuid(kBrand + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3])) words[0] = 0;
  char text[sizeof words + 1] = {};
  std::memcpy(text, words, sizeof words);
  brand = text;
#elif defined(__aarch64__)
  brand = "aarch64";
#endif
  brand.erase(0, std::min(brand.size(), brand.find_first_not_of(' ')));
  while (!brand.empty() && brand.back() == ' ') brand.pop_back();
  return fmt::format("{} ({})", brand.empty() ? "unknown processor" : brand, isa_name(chosen_isa()));
}

int64_t second_level_cache() {
  static const int64_t bytes = [] {
    constexpr int64_t kLeast = 256 * 1024, kUsual = 1024 * 1024, kMost = 4096 * 1024;
    const int64_t told = sysconf(_SC_LEVEL2_CACHE_SIZE);  // 0 or -1: not known
    return told <= 0 ? kUsual : std::clamp(told, kLeast, kMost);
  }();
  return bytes;
}

}  // namespace tenon::kernels::cpu
