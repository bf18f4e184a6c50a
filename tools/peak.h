// The processor's best rate of multiply-adds on registers, for one instruction set and one type of factors.
#pragma once

#include <time.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cpu/vector_code.h"

namespace tenon::tools {

using kernels::cpu::Isa;

// Seconds. With one thread the time that this thread ran, which other processes disturb less; else wall time.
inline double pool_seconds(const ThreadPool& pool) {
  timespec t{};
  clock_gettime(pool.threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

#if defined(__x86_64__)
#define TENON_TWELVE(f) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define TENON_CLOBBERED \
  "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
// Twelve independent sums, or four tiles of them, grow `times` times.
#define TENON_PEAK(name, f)                                                                             \
  inline void name(int64_t times) {                                                                     \
    asm volatile("vzeroall" ::: TENON_CLOBBERED, "xmm0", "xmm1"); /* denormals would be slow */         \
    for (int64_t i = 0; i < times; ++i) asm volatile(TENON_TWELVE(f)::: TENON_CLOBBERED);               \
  }
#define TENON_OP(n) "vfmadd231ps %%zmm0, %%zmm0, %%zmm" #n "\n"
TENON_PEAK(fma_512, TENON_OP)
#undef TENON_OP
#define TENON_OP(n) "vfmadd231ps %%ymm0, %%ymm0, %%ymm" #n "\n"
TENON_PEAK(fma_256, TENON_OP)
#undef TENON_OP
#define TENON_OP(n) "vpdpbusd %%zmm0, %%zmm0, %%zmm" #n "\n"
TENON_PEAK(bytes_512, TENON_OP)
#undef TENON_OP
#define TENON_OP(n) "%{vex%} vpdpbusd %%ymm0, %%ymm0, %%ymm" #n "\n"
TENON_PEAK(bytes_256, TENON_OP)
#undef TENON_OP
#define TENON_OP(n) "vpmaddwd %%zmm0, %%zmm0, %%zmm3\n vpaddd %%zmm3, %%zmm" #n ", %%zmm" #n "\n"
TENON_PEAK(words_512, TENON_OP)
#undef TENON_OP
#define TENON_OP(n) "vpmaddwd %%ymm0, %%ymm0, %%ymm3\n vpaddd %%ymm3, %%ymm" #n ", %%ymm" #n "\n"
TENON_PEAK(words_256, TENON_OP)
#undef TENON_OP
#define TENON_QUADS(v, n)                                                                           \
  "vpmaddubsw %%" v "0, %%" v "0, %%" v "2\n vpmaddubsw %%" v "0, %%" v "0, %%" v "3\n"                \
  "vpaddw %%" v "2, %%" v "3, %%" v "3\n vpmaddwd %%" v "1, %%" v "3, %%" v "3\n vpaddd %%" v "3, %%" v #n ", %%" v #n "\n"
#define TENON_OP(n) TENON_QUADS("zmm", n)
TENON_PEAK(quads_512, TENON_OP)
#undef TENON_OP
#define TENON_OP(n) TENON_QUADS("ymm", n)
TENON_PEAK(quads_256, TENON_OP)
#undef TENON_OP
#undef TENON_QUADS
#define TENON_OP(n) "vdpbf16ps %%zmm0, %%zmm0, %%zmm" #n "\n"
TENON_PEAK(bf16_512, TENON_OP)
#undef TENON_OP
#undef TENON_PEAK
#undef TENON_CLOBBERED
#undef TENON_TWELVE

// Random factors into tiles 4 to 7, as bytes or pairs of bf16 between 0.5 and 2 of either sign: with zeros the multipliers
// draw less power, and the processor's clock is a quarter to a half faster than any product of real data sees.
inline void load_factors_amx(bool bf16) {
  static const auto random = [](bool pairs) {
    std::array<uint16_t, 2048> words{};
    std::mt19937 generator(1);
    for (uint16_t& w : words) w = static_cast<uint16_t>(pairs ? 0x3f00 | (generator() & 0x80ff) : generator());
    return words;
  };
  alignas(64) static const std::array<uint16_t, 2048> bytes = random(false), pairs = random(true);
  const uint16_t* from = bf16 ? pairs.data() : bytes.data();
  asm volatile(
      "tileloadd (%0,%4,1), %%tmm4\n tileloadd (%1,%4,1), %%tmm5\n"
      "tileloadd (%2,%4,1), %%tmm6\n tileloadd (%3,%4,1), %%tmm7" ::"r"(from), "r"(from + 512), "r"(from + 1024),
      "r"(from + 1536), "r"(int64_t{64})
      : "memory");
}

inline void bytes_amx(int64_t times) {
  load_factors_amx(false);
  for (int64_t i = 0; i < times; ++i)
    asm volatile(
        "tdpbusd %%tmm6, %%tmm4, %%tmm0\n tdpbusd %%tmm7, %%tmm4, %%tmm1\n"
        "tdpbusd %%tmm6, %%tmm5, %%tmm2\n tdpbusd %%tmm7, %%tmm5, %%tmm3" ::);
}
inline void bf16_amx(int64_t times) {
  load_factors_amx(true);
  for (int64_t i = 0; i < times; ++i)
    asm volatile(
        "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n"
        "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n tdpbf16ps %%tmm7, %%tmm5, %%tmm3" ::);
}

// What to run, and operations (two a multiply-add) of one time.
struct Peak {
  void (*run)(int64_t times) = nullptr;
  double operations = 0;
};

// `factors`: f32, bf16, int8, or int8_quads. Where bf16 has no instruction, that of f32 is the limit.
inline Peak peak_of(Isa isa, const std::string& factors) {
  constexpr double kTiles = 4.0 * 16 * 16 * 2, kSums = 12.0 * 2;
  const bool wide = isa >= Isa::kAvx512;
  if (factors == "int8_quads" && lacks_vnni(isa)) return wide ? Peak{quads_512, kSums * 128} : Peak{quads_256, kSums * 64};
  if (factors == "int8" || factors == "int8_quads") {
    if (isa == Isa::kAmx) return {bytes_amx, kTiles * 64};
    if (isa >= Isa::kAvx512Vnni) return {bytes_512, kSums * 64};
    if (isa == Isa::kAvxVnni) return {bytes_256, kSums * 32};
    return wide ? Peak{words_512, kSums * 32} : Peak{words_256, kSums * 16};
  }
  if (factors == "bf16" && isa == Isa::kAmx) return {bf16_amx, kTiles * 32};
  if (factors == "bf16" && isa == Isa::kAvx512Bf16) return {bf16_512, kSums * 32};
  return wide ? Peak{fma_512, kSums * 16} : Peak{fma_256, kSums * 8};
}

// 1e9 operations a second, seen in some `operations` (of all threads of the pool). Each looks at its own clock: together
// they are as fast as their sum, also where one waits for a neighbour.
inline double peak_now(Isa isa, const std::string& factors, ThreadPool& pool, double operations) {
  if (isa < Isa::kAvx2) return 0;
  const Peak peak = peak_of(isa, factors);
  const auto& code = kernels::cpu::vector_code(isa);
  const auto times = static_cast<int64_t>(operations / peak.operations / pool.threads()) + 1;
  std::vector<double> rates(static_cast<size_t>(pool.threads()));
  pool.parallel_for(pool.threads(), [&](int64_t begin, int64_t end, int) {
    if (code.int8.begin != nullptr) code.int8.begin();
    for (int64_t i = begin; i < end; ++i) {
      const double start = pool_seconds(pool);
      peak.run(times);
      rates[static_cast<size_t>(i)] = peak.operations * static_cast<double>(times) / (pool_seconds(pool) - start) * 1e-9;
    }
    if (code.int8.end != nullptr) code.int8.end();
  });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}
#else
inline double peak_now(Isa, const std::string&, ThreadPool&, double) { return 0; }
#endif

// The best of five rounds of 20 ms.
inline double measured_peak(Isa isa, const std::string& factors, ThreadPool& pool) {
  constexpr double kFirst = 1e9, kSeconds = 0.02;
  const double about = peak_now(isa, factors, pool, kFirst * pool.threads());
  double best = about;
  for (int round = 0; round < 5; ++round) best = std::max(best, peak_now(isa, factors, pool, about * 1e9 * kSeconds));
  return best;
}

}  // namespace tenon::tools
