// Operators that users bring in shared libraries (include/tenon/plugin.h): loading them, and calling them with errors
// as Status. Libraries are code, so they are loaded once per process and stay.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "ops/create.h"
#include "tenon/plugin.h"

namespace tenon::ops {

// One operator of a loaded library.
struct PluginOperator {
  std::string name;     // "my.domain.Scale", or without a domain "Scale"
  std::string version;  // an engine asks for the very one that it was built with
  std::string library;  // as the library calls itself
  std::string path;     // where it was loaded from
  const tenon_plugin_operator* table = nullptr;
};

// Loads a library; one that is loaded already is left as it is. Errors: not-found, plugin (not a plugin, made for
// another version of the interface, an operator that another library has).
Status load_plugin_library(const std::string& path);
Status load_plugin_libraries(std::span<const std::string> paths);
// The same for a library that is linked in.
Status add_plugin_library(const tenon_plugin_library* library, const std::string& path);

// Null: no loaded library has it.
const PluginOperator* find_plugin(std::string_view name);
std::string plugin_name(std::string_view domain, std::string_view name);

using PluginAttribute = std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                                     std::vector<std::string>, Tensor>;
using PluginAttributes = std::vector<std::pair<std::string, PluginAttribute>>;

using PluginPlace = plugin::Place;

// An operator with its state: one node. Immutable; its functions may be called by several threads.
// Errors: plugin, naming the operator and what the library said.
class PluginInstance {
 public:
  static Result<std::shared_ptr<const PluginInstance>> create(const PluginOperator& op,
                                                              const PluginAttributes& attributes);
  // The instance of a node of op `plugin`, from its attributes. Errors: also not-found (no library has it),
  // engine-version (the library has another version).
  static Result<std::shared_ptr<const PluginInstance>> restore(const Attrs& attrs);
  ~PluginInstance();
  PluginInstance(const PluginInstance&) = delete;
  PluginInstance& operator=(const PluginInstance&) = delete;

  const PluginOperator& op() const { return op_; }
  Result<std::string> serialize() const;
  // An input that is absent has no type; only pack() is given contents, so that an engine can be checked without weights.
  struct Input {
    const TensorType* type = nullptr;
    const Tensor* constant = nullptr;
  };
  Result<std::vector<TensorType>> outputs(std::span<const Input> inputs) const;
  // Why it does not run on these types; empty: it does.
  Result<std::string> refuses(PluginPlace place, std::span<const Input> inputs,
                              std::span<const TensorType> outputs) const;
  Result<int64_t> packed_bytes(int input, const TensorType& type) const;
  Result<Tensor> pack(int input, const Tensor& weight) const;
  Result<size_t> workspace(PluginPlace place, const RunArgs& args) const;
  Status run(PluginPlace place, const RunArgs& args) const;

 private:
  PluginInstance(const PluginOperator& op, void* instance) : op_(op), instance_(instance) {}
  Status failed(const std::string& cause) const;

  const PluginOperator& op_;
  void* instance_;
};

// A node of op `plugin`: the operator made from its attributes, asked for its types, kept by its state. Errors: plugin,
// naming the operator and the cause.
Result<Node*> create_plugin(Graph& graph, const PluginOperator& op, const PluginAttributes& attributes,
                            std::vector<Value*> inputs, Node* before = nullptr);

// Whether the operator gives these inputs the types that the node says, and takes them there; the reason if not.
Result<std::string> check_plugin(const PluginInstance& instance, PluginPlace place, std::span<const TensorType> inputs,
                                 const std::vector<bool>& present, std::span<const TensorType> outputs);

}  // namespace tenon::ops
