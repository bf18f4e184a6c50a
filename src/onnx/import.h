// ONNX files: import into the IR, and a survey that needs no graph.
//
// Opsets 7 to 28 of the default domain and the com.microsoft operators of the table in op_table.cc. Model-local
// functions are expanded in place. Shapes stay symbolic; integer shape arithmetic is resolved while the graph is built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "ir/model.h"

namespace tenon::onnx {

struct ImportOptions {
  // Shapes that replace those in the file, by input name; needed for inputs that have none.
  std::map<std::string, ir::Shape> input_shapes;
};

// Reads a model. Weights stay where protobuf put them, or in the mapping of an external data file: they are held once.
// External data must lie in the model's own folder.
// Errors: not-found, io; bad-model (damaged or contradictory, naming file, node and cause); unsupported (one error that
// lists every operator that cannot be imported, with its nodes).
Result<ir::Model> import_file(const std::string& path, const ImportOptions& options = {});

// The same from memory. External data is read from `folder`; an empty folder refuses it.
Result<ir::Model> import_bytes(std::span<const std::byte> bytes, const std::string& folder,
                               const ImportOptions& options = {});

// What is in a file, whether or not it can be imported.
struct FileReport {
  struct Port {
    std::string name;
    std::string type;  // "i64[batch,seq]"
  };
  struct Operator {
    std::string domain;  // empty for the standard operators
    std::string name;
    int64_t opset = 0;
    int64_t count = 0;
    bool supported = false;          // by the operator table; single attribute values may still be refused
    std::vector<std::string> nodes;  // of unsupported operators
  };
  struct Parameter {
    std::string name;
    std::string type;  // "f32[768,768]"
    int64_t elements = 0;
    int64_t bytes = 0;
    bool external = false;
  };
  std::string producer;  // "pytorch 2.1.0"
  int64_t ir_version = 0;
  std::vector<std::pair<std::string, int64_t>> opsets;  // domain, version
  std::vector<Port> inputs;                             // without those that are initializers
  std::vector<Port> outputs;
  std::vector<std::string> functions;
  std::vector<Operator> operators;  // by domain and name; function bodies and subgraphs included
  std::vector<Parameter> parameters;
  std::map<std::string, std::string> metadata;
};

// Errors: not-found, io, bad-model (not an ONNX file).
Result<FileReport> survey(const std::string& path);

}  // namespace tenon::onnx
