// What the kernels of `linear` share.
#pragma once

#include <functional>

#include "kernels/cpu/blocking.h"
#include "kernels/cpu/cpu_kernel.h"

namespace tenon::kernels::cpu {

enum LinearInput { kX, kW, kBias, kResidual };

// The attribute `activation`.
inline Activation activation_of(const Attrs& attrs) { return *ops::parse_activation(attrs.text("activation")); }

// As gemm_cost (kernels/cpu/gemm.h).
using BlockingCost =
    std::function<double(const VectorCode&, int64_t rows, int64_t k, int64_t columns, int threads, const Blocking&)>;
// The configs of a linear with constant weights: "auto" first, then by rising cost where the rows are known.
std::vector<Config> linear_configs(const Problem& problem, const std::vector<Blocking>& choices,
                                   std::string_view numerics, const BlockingCost& cost);

}  // namespace tenon::kernels::cpu
