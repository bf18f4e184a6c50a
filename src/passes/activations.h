// Activations as exporters spell them: one operator, or bounds and affine maps around a value.
#pragma once

#include <string>

#include "passes/rewriter.h"

namespace tenon::passes {

struct Activated {
  Value* x = nullptr;
  std::string name;    // as ops::parse_activation knows it
  size_t readers = 1;  // of x, within the activation
};

// What the value that `node` makes is an activation of, element by element; x is null where it is none. Nodes between x
// and `node` have no other reader.
Activated find_activation(const Node& node);

}  // namespace tenon::passes
