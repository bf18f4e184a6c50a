// Builds an ONNX graph from pieces of the IR: names, constants, sizes and nodes.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ir/graph.h"
#include "onnx/onnx.pb.h"

namespace tenon::onnx {

// Shorter than the protobuf class for what nodes have here.
using OutAttribute = std::variant<int64_t, double, std::string, std::vector<int64_t>>;
struct OutAttributes : std::vector<std::pair<std::string, OutAttribute>> {
  using vector::vector;
};

// Every method returns names of ONNX values. Failures are kept: status() says the first.
class GraphWriter {
 public:
  GraphWriter(const ir::Graph& source, onnx_pb::GraphProto& target);

  const Status& status() const { return status_; }
  void fail(Status status);

  // The name under which other nodes read this value; constant expressions become initializers when they are first
  // asked for. Empty for null: an input that is left out.
  std::string name(const ir::Value* value);
  // A new node with one output, under a name of its own.
  std::string add(std::string_view op, const std::vector<std::string>& inputs, const OutAttributes& attributes = {},
                  std::string_view domain = "");
  // The same where the output is that of `value`.
  void add_as(const ir::Value* value, std::string_view op, const std::vector<std::string>& inputs,
              const OutAttributes& attributes = {}, std::string_view domain = "");
  // Several outputs.
  std::vector<std::string> add_many(std::string_view op, const std::vector<std::string>& inputs, int outputs,
                                    const OutAttributes& attributes = {});

  std::string tensor(const ir::Tensor& tensor);              // an initializer
  std::string integers(const std::vector<int64_t>& values);  // i64 [n], shared
  std::string integer(int64_t value);                        // i64 []
  std::string number(DType dtype, double value);             // []
  // Sizes as i64 [n], and one as i64 []; computed from the inputs' shapes where they are symbolic.
  std::string sizes(const ir::Shape& shape);
  std::string size(const ir::Dim& dim);
  // A value that readers get in place of `value`: what was written for it is an alias.
  void alias(const ir::Value* value, std::string name) { names_[value] = std::move(name); }

 private:
  std::string fresh(std::string_view base);
  std::string size_1(const ir::Dim& dim);  // i64 [1]
  std::string symbol(const std::string& name);
  std::string atom(const ir::Atom& atom);
  void write_initializer(const std::string& name, const ir::Tensor& tensor);

  const ir::Graph& source_;
  onnx_pb::GraphProto& target_;
  Status status_;
  std::map<const ir::Value*, std::string> names_;
  std::map<std::string, std::string> sizes_, integers_;  // by text
  std::set<std::string> used_;
  int counter_ = 0;
};

// The number that ONNX has for an element type.
int32_t data_type_of(DType dtype);

}  // namespace tenon::onnx
