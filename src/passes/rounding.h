// Values that a model rounds to 8 bits: QuantizeLinear and DequantizeLinear with constant scales, in f32 (integers-to-floats).
#pragma once

#include <optional>

#include "ir/graph.h"

namespace tenon::passes {

// step (clamp(round(x / step) + zero, 0, 255) - zero): whole numbers in 0 … 255, or in -128 … 127 with a zero that is 128 less.
struct Rounding {
  ir::Value* x = nullptr;
  double step = 0;
  int64_t zero = 0;    // of numbers in 0 … 255
  bool moved = false;  // since then: v is not the shape of x, or another order of its elements
};
std::optional<Rounding> rounding_to_8_bits(ir::Value* v);
// The same of numbers that are not multiplied by their step again.
std::optional<Rounding> integers_of_8_bits(ir::Value* v);

// Whether v's elements are some of its producer's first input.
bool only_moves(const ir::Value* v);

}  // namespace tenon::passes
