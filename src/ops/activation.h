// What products apply to their sums.
#pragma once

#include <optional>
#include <string_view>

namespace tenon::ops {

enum class Activation {
  kNone,
  kRelu,
  kGelu,
  kGeluTanh,
  kGeluSigmoid,
  kTanh,
  kSigmoid,
  kSilu,
  kRelu6,
  kHardSigmoid,
  kHardSwish
};

// "", "relu", "gelu" (erf), "gelu_tanh", "gelu_sigmoid", "tanh", "sigmoid" or "silu"; what conv alone has: "relu6",
// "hard_sigmoid" (x / 6 + 1 / 2 within 0 and 1) or "hard_swish" (x hard_sigmoid(x)).
std::optional<Activation> parse_activation(std::string_view name);

// False for those that conv alone has.
inline bool is_of_linear(Activation activation) { return activation <= Activation::kSilu; }

double activate(Activation activation, double x);

}  // namespace tenon::ops
