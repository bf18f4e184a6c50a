// How each op of the IR is written in ONNX.
#pragma once

#include "onnx/export/graph_writer.h"

namespace tenon::onnx {

struct WriteContext {
  GraphWriter& out;
  bool microsoft;  // ExportOptions
};

// Writes `node`. Errors: unsupported.
Status write_node(WriteContext& c, const ir::Node& node);

// write_attention.cc
Status write_attention(WriteContext& c, const ir::Node& node);

}  // namespace tenon::onnx
