// What an ONNX model is for, as far as its names and shapes tell: the file itself does not say.
#pragma once

#include "ir/model.h"

namespace tenon::onnx {

// Sets `architecture` and `task` where they can be told.
void guess_roles(ir::Model& model);

}  // namespace tenon::onnx
