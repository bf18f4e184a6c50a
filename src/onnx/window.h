// Attributes that convolutions and pooling spell alike.
#pragma once

#include "onnx/call.h"

namespace tenon::onnx {

struct WindowSteps {
  std::vector<int64_t> strides, dilations;  // ones where the node has none
};
// Errors: bad-model (not one per axis).
Result<WindowSteps> window_steps(Call& c, size_t axes);

// strides, dilations and pads of the IR's windows; auto_pad is resolved, against symbolic sizes too. Errors: bad-model,
// unsupported.
Result<ir::Attrs> window_attributes(Call& c, const Value* x, const std::vector<int64_t>& kernel);

// All that an average_pool has. Errors: bad-model, unsupported.
Result<ir::Attrs> average_pool_attributes(Call& c);

}  // namespace tenon::onnx
