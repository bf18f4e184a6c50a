// Instruction sets that the CPU kernels are compiled for, and which of them this process uses.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tenon::kernels::cpu {

// Each has all that stands before it, but for kAvx512, which may lack AVX-VNNI.
enum class Isa {
  kScalar,
  kAvx2,
  kAvxVnni,  // products of 8-bit integers, 256 bits at a time
  kAvx512,
  kAvx512Vnni,  // the same, 512 bits at a time
  kAvx512Bf16,  // products of bf16
  kAmx,         // products of tiles of both
};

std::string_view isa_name(Isa isa);  // "scalar", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16", "amx"

// What the processor has and the operating system saves on a context switch, best first; always ends with kScalar.
std::span<const Isa> available_isas();

// The best available one, or the one that TENON_ISA names where it is available (else the next lesser one, said once).
Isa chosen_isa();

// AVX2 or AVX-512 without VNNI, where products of "int8_quads" are the fastest of 8 bits (ops/quantize.h).
constexpr bool lacks_vnni(Isa isa) { return isa == Isa::kAvx2 || isa == Isa::kAvx512; }

// "AMD EPYC 9B45 (avx512_bf16)": the processor and the instruction set that is used on it. Timings hold for it.
std::string processor_name();

// Bytes of the second-level cache, which each core has of its own.
int64_t second_level_cache();

}  // namespace tenon::kernels::cpu
