// Instruction sets that the CPU kernels are compiled for, and which of them this process uses.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace tenon::kernels::cpu {

enum class Isa { kScalar, kAvx2, kAvx512 };

std::string_view isa_name(Isa isa);  // "scalar", "avx2", "avx512"

// What the processor has and the operating system saves on a context switch, best first; always ends with kScalar.
std::span<const Isa> available_isas();

// The best available one, or the one that TENON_ISA names where it is available (else the next lesser one, said once).
Isa chosen_isa();

}  // namespace tenon::kernels::cpu
