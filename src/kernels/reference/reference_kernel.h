// The kernel that runs every op by its defining loop: the oracle of tests and `tenon verify`, and the last candidate of
// every target. Slow, single-threaded, any dtype that the op's reference takes.
#pragma once

#include "kernels/kernel.h"

namespace tenon::kernels {

inline constexpr std::string_view kReferenceId = "reference";

}  // namespace tenon::kernels
