#include "ops/activation.h"

#include <array>
#include <utility>

#include "ops/scalar_functions.h"

namespace tenon::ops {

std::optional<Activation> parse_activation(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, Activation>, 11> kNames{{{"", Activation::kNone},
                                                                            {"relu", Activation::kRelu},
                                                                            {"gelu", Activation::kGelu},
                                                                            {"gelu_tanh", Activation::kGeluTanh},
                                                                            {"gelu_sigmoid", Activation::kGeluSigmoid},
                                                                            {"tanh", Activation::kTanh},
                                                                            {"sigmoid", Activation::kSigmoid},
                                                                            {"silu", Activation::kSilu},
                                                                            {"relu6", Activation::kRelu6},
                                                                            {"hard_sigmoid", Activation::kHardSigmoid},
                                                                            {"hard_swish", Activation::kHardSwish}}};
  for (const auto& [text, activation] : kNames)
    if (text == name) return activation;
  return std::nullopt;
}

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone: return x;
    case Activation::kRelu: return fn::Relu()(x);
    case Activation::kGelu: return fn::GeluErf()(x);
    case Activation::kGeluTanh: return fn::GeluTanh()(x);
    case Activation::kGeluSigmoid: return fn::GeluSigmoid()(x);
    case Activation::kTanh: return fn::Tanh()(x);
    case Activation::kSigmoid: return fn::Sigmoid()(x);
    case Activation::kSilu: return fn::Silu()(x);
    case Activation::kRelu6: return fn::Relu6()(x);
    case Activation::kHardSigmoid: return fn::HardSigmoid()(x);
    case Activation::kHardSwish: return x * fn::HardSigmoid()(x);
  }
  return x;
}

}  // namespace tenon::ops
