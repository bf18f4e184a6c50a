// What `linear` applies after its product.
#pragma once

#include <optional>
#include <string_view>

namespace tenon::ops {

enum class Activation { kNone, kRelu, kGelu, kGeluTanh, kGeluSigmoid, kTanh, kSigmoid, kSilu };

// "", "relu", "gelu" (erf), "gelu_tanh", "gelu_sigmoid", "tanh", "sigmoid" or "silu".
std::optional<Activation> parse_activation(std::string_view name);

double activate(Activation activation, double x);

}  // namespace tenon::ops
