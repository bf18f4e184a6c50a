// The inside of tenon::Network, for the builder and for the layers' own sources.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "tenon/network.h"

namespace tenon {

struct Network::Impl {
  ir::Graph graph;
  std::string scope;
  std::map<std::string, ir::Value*, std::less<>> parameters;  // by name: the constant as given

  // Adds one node and returns its first output. Throws invalid-argument, naming the scope and `layer`.
  Value emit(const char* layer, ir::Op op, std::vector<Value> inputs, ir::Attrs attrs = {});
  // A weight's constant; floats of other types than f32 are widened.
  Value parameter(const Weights& weights);
  Value literal(ir::Tensor tensor);
  // Throws unless `value` belongs to this network.
  ir::Value* own(const char* layer, Value value) const;
  [[noreturn]] void fail(const char* layer, const std::string& message) const;

 private:
  ir::Value* constant(const Weights& weights);
};

struct NetworkAccess {
  static ir::Value* get(Value value) { return value.value_; }
  static Value wrap(ir::Value* value) { return Value(value); }
  static Network::Impl& impl(Network& network) { return *network.impl_; }
  static const Network::Impl& impl(const Network& network) { return *network.impl_; }
};

namespace network {

ir::Graph& graph_of(Network& network);

// The network as the compiler takes it: a copy that shares the weights' bytes, its symbols settled. Errors:
// invalid-argument (no output, weights that were declared without data: all of them listed), unsupported (sizes that
// must be equal but cannot be shown to be).
Result<std::unique_ptr<ir::Graph>> snapshot(const Network& network);

}  // namespace network
}  // namespace tenon
