// Nodes of operators that a user's library defines.
#include "onnx/ops.h"
#include "ops/plugin_host.h"

namespace tenon::onnx {

Status import_plugin(Call& c, const ops::PluginOperator& op) {
  ops::PluginAttributes attributes;
  for (const auto& [name, type] : c.attributes()) {
    switch (type) {
      case AttrType::kInt:
        attributes.emplace_back(name, c.integer(name, 0));
        break;
      case AttrType::kFloat:
        attributes.emplace_back(name, c.number(name, 0));
        break;
      case AttrType::kString:
        attributes.emplace_back(name, c.text(name, ""));
        break;
      case AttrType::kInts:
        attributes.emplace_back(name, c.integers(name));
        break;
      case AttrType::kFloats: {
        const std::vector<float> list = c.numbers(name);
        attributes.emplace_back(name, std::vector<double>(list.begin(), list.end()));
        break;
      }
      case AttrType::kStrings:
        attributes.emplace_back(name, c.texts(name));
        break;
      case AttrType::kTensor: {
        TENON_ASSIGN(Tensor tensor, c.tensor(name));
        attributes.emplace_back(name, std::move(tensor));
        break;
      }
      default:
        return error(ErrorCode::kUnsupported, "attribute '{}' is of a kind that plugins are not given", name);
    }
  }
  TENON_ASSIGN(ir::Node * node, c.emit_plugin(op, attributes));
  if (node->num_outputs() < c.num_outputs()) {
    return error(ErrorCode::kPlugin, "plugin {} {} has {} outputs, the node {}", op.name, op.version,
                 node->num_outputs(), c.num_outputs());
  }
  for (int i = 0; i < c.num_outputs(); ++i) TENON_TRY(c.yield(node->output(i), i));
  return {};
}

}  // namespace tenon::onnx
