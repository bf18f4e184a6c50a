// What the kernels of `linear` share.
#pragma once

#include "kernels/cpu/cpu_kernel.h"

namespace tenon::kernels::cpu {

enum LinearInput { kX, kW, kBias, kResidual };

// The attribute `activation`.
Activation activation_of(const Attrs& attrs);

}  // namespace tenon::kernels::cpu
