// Walks the graphs and functions of a model and hands each node to its function in the operator table.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "onnx/call.h"
#include "onnx/import.h"
#include "onnx/source.h"
#include "onnx/tensors.h"

namespace tenon::onnx {

using Opsets = std::map<std::string, int64_t>;

// "ai.onnx" and "" name the same domain.
std::string canonical_domain(const std::string& domain);
// Errors: bad-model (a domain twice, versions below 1).
Result<Opsets> read_opsets(const google::protobuf::RepeatedPtrField<onnx_pb::OperatorSetId>& imports);
// Functions by domain, name and overload. Errors: bad-model (one defined twice).
using FunctionKey = std::tuple<std::string, std::string, std::string>;
using FunctionTable = std::map<FunctionKey, onnx_pb::FunctionProto*>;
Result<FunctionTable> read_functions(onnx_pb::ModelProto& model);

// The body being imported: the model's graph, or one call of a function.
struct Frame {
  const onnx_pb::FunctionProto* function = nullptr;  // null: the model's graph
  const Frame* caller = nullptr;
  std::string origin;  // name of the calling node, for nodes' origins
  Opsets opsets;
  std::map<std::string, onnx_pb::AttributeProto*> attributes;  // the function's, as the caller gave them
};

// Names of one graph or function body; subgraphs see those around them.
class Scope {
 public:
  explicit Scope(Scope* outer = nullptr) : outer_(outer) {}
  // Errors: bad-model (defined twice).
  Status define(const std::string& name, Binding binding);
  Status add_initializer(onnx_pb::TensorProto& proto);

 private:
  friend class Importer;
  Scope* outer_;
  std::unordered_map<std::string, Binding> bindings_;
  std::unordered_map<std::string, onnx_pb::TensorProto*> initializers_;  // made constants at first use
};

class Importer {
 public:
  Importer(Source& source, const ImportOptions& options);
  // Errors without the file's name.
  Result<ir::Model> run();

 private:
  friend class Call;
  using Nodes = google::protobuf::RepeatedPtrField<onnx_pb::NodeProto>;

  Status add_inputs();
  Status add_outputs(Scope& scope);
  Status settle_sizes();
  void describe_model();
  Result<ir::TensorType> input_type(const onnx_pb::ValueInfoProto& info);
  std::string symbol(const std::string& name);
  Status import_initializers(onnx_pb::GraphProto& graph, Scope& scope);
  // Imports what `wanted` needs, in an order that respects dependencies.
  Status import_nodes(Nodes& nodes, const std::vector<std::string>& wanted, Scope& scope, const Frame& frame);
  Status import_node(onnx_pb::NodeProto& node, Scope& scope, const Frame& frame);
  Status import_operator(onnx_pb::NodeProto& node, Scope& scope, const Frame& frame);
  Status call_function(onnx_pb::FunctionProto& function, const onnx_pb::NodeProto& node, std::vector<Binding> inputs,
                       Scope& scope, const Frame& frame);
  Result<std::vector<Value*>> inline_subgraph(onnx_pb::GraphProto& graph, std::span<Value* const> inputs, Scope& outer,
                                              const Frame& frame);
  Result<Binding> lookup(const std::string& name, Scope& scope);
  Status bind_output(const std::string& name, const Binding& binding, Scope& scope);
  Status poison_outputs(const onnx_pb::NodeProto& node, Scope& scope);
  void note_unsupported(const std::string& what, const std::string& node);
  Status unsupported() const;

  Source& source_;
  const ImportOptions& options_;
  TensorReader tensors_;
  ir::Model model_;
  ir::Graph* graph_;
  FunctionTable functions_;
  Frame main_;
  Scope scope_;
  std::map<std::string, std::string> symbols_;  // dim_param -> symbol
  std::set<std::string> used_symbols_;
  std::unordered_set<const Value*> named_;                                     // values that bear a name of the file
  std::vector<std::pair<std::string, std::vector<std::string>>> unsupported_;  // what, nodes
  std::map<std::string, int64_t> limits_;  // symbol -> greatest value that the model can take
  int64_t imported_ = 0;
};

// "Add_3", or what identifies a node without a name.
std::string node_label(const onnx_pb::NodeProto& node);

}  // namespace tenon::onnx
