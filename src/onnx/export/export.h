// Writes a graph as an ONNX file that other runtimes run and Netron opens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "ir/graph.h"

namespace tenon::onnx {

struct ExportOptions {
  // Attention, SkipLayerNormalization and BiasGelu of com.microsoft, which ONNX Runtime has kernels for; else operators
  // of the standard only (opset 20).
  bool microsoft = false;
  std::string graph_name = "main";
};

struct ExportReport {
  int64_t nodes = 0;        // of the file
  uint64_t file_bytes = 0;  // of both files
  bool external = false;    // weights are in PATH.data: one file would exceed what protobuf can hold
};

// Weights are evaluated and written; sizes that depend on inputs are computed from their shapes. The file appears whole
// or not at all. Errors: unsupported (an op of packed rows or of one target, named with its origin), io, out-of-memory.
Result<ExportReport> export_file(const ir::Graph& graph, const std::string& path, const ExportOptions& options = {});

// Passes that make ops which only Tenon's own kernels run: leave them out of a pipeline whose graph is exported.
std::vector<std::string> passes_not_for_export(bool microsoft);

}  // namespace tenon::onnx
