#include "onnx/import.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "onnx/importer.h"
#include "onnx/op_table.h"
#include "onnx/roles.h"

namespace tenon::onnx {
namespace {

// Larger sizes are damage: products of a few of them would overflow.
constexpr int64_t kMaxDim = int64_t{1} << 40;

std::string producer_of(const onnx_pb::ModelProto& model) {
  std::string producer = model.producer_name();
  if (!model.producer_version().empty()) producer += " " + model.producer_version();
  return producer;
}

// " (read by Unique)": the operators that take an input.
std::string readers_of(const onnx_pb::GraphProto& graph, const std::string& name) {
  std::set<std::string> readers;
  for (const auto& node : graph.node())
    if (std::find(node.input().begin(), node.input().end(), name) != node.input().end()) readers.insert(node.op_type());
  std::string list;
  for (const std::string& reader : readers) list += (list.empty() ? " (read by " : ", ") + reader;
  return list.empty() ? list : list + ")";
}

}  // namespace

Importer::Importer(Source& source, const ImportOptions& options)
    : source_(source), options_(options), tensors_(source.folder) {
  model_.graph = std::make_unique<ir::Graph>();
  graph_ = model_.graph.get();
}

// A dim_param as a symbol: letters, digits and '_', unlike any other dim_param's and unlike the words that Tenon uses
// itself.
std::string Importer::symbol(const std::string& name) {
  if (const auto it = symbols_.find(name); it != symbols_.end()) return it->second;
  std::string clean;
  for (const char c : name) clean += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  if (clean.empty() || std::isdigit(static_cast<unsigned char>(clean[0]))) clean = "d" + clean;
  for (const char* word : {"floordiv", "mod", "min", "max", "tokens"})
    if (clean == word) clean += "_";
  std::string unique = clean;
  for (int i = 1; !used_symbols_.insert(unique).second; ++i) unique = clean + "_" + std::to_string(i);
  return symbols_.emplace(name, unique).first->second;
}

Result<ir::TensorType> Importer::input_type(const onnx_pb::ValueInfoProto& info) {
  if (!info.type().has_tensor_type()) return error(ErrorCode::kUnsupported, "inputs that are no tensors");
  const auto& tensor = info.type().tensor_type();
  const auto dtype = dtype_of(tensor.elem_type());
  if (!dtype.ok() && dtype.status().code() == ErrorCode::kUnsupported) {
    return error(ErrorCode::kUnsupported, "inputs of element type {}", data_type_name(tensor.elem_type()));
  }
  TENON_TRY(dtype.status());
  if (const auto it = options_.input_shapes.find(info.name()); it != options_.input_shapes.end())
    return ir::TensorType{*dtype, it->second};
  if (!tensor.has_shape()) return error(ErrorCode::kUnsupported, "inputs of unknown rank (give a shape)");
  ir::TensorType type{*dtype, {}};
  for (const auto& dim : tensor.shape().dim()) {
    const bool unnamed = dim.has_dim_param() ? dim.dim_param().empty() : !dim.has_dim_value() || dim.dim_value() == -1;
    if (unnamed) {
      // Axes without a name follow the convention of token models, so that input_ids and attention_mask agree.
      const size_t axis = type.shape.size();
      const std::string fallback = axis == 0 ? "batch" : axis == 1 ? "seq" : fmt::format("{}_{}", info.name(), axis);
      type.shape.push_back(Dim::symbol(symbol(fallback)));
    } else if (dim.has_dim_param()) {
      type.shape.push_back(Dim::symbol(symbol(dim.dim_param())));
    } else if (dim.dim_value() < 0 || dim.dim_value() > kMaxDim) {
      return error(ErrorCode::kBadModel, "the size {} of axis {} is no size", dim.dim_value(), type.shape.size());
    } else {
      type.shape.emplace_back(dim.dim_value());
    }
  }
  return type;
}

Status Importer::add_inputs() {
  const onnx_pb::GraphProto& graph = source_.model.graph();
  for (const auto& given : options_.input_shapes) {
    const bool known = std::any_of(graph.input().begin(), graph.input().end(),
                                   [&](const auto& input) { return input.name() == given.first; });
    if (known) continue;
    return error(ErrorCode::kInvalidArgument, "a shape is given for '{}', which is no input of the model", given.first);
  }
  for (const auto& info : graph.input()) {
    if (info.name().empty()) return error(ErrorCode::kBadModel, "an input has no name");
    if (scope_.initializers_.contains(info.name())) continue;  // a weight with a default value
    const auto type = input_type(info);
    Binding binding;
    if (type.ok()) {
      binding.value = graph_->add_input(info.name(), *type);
    } else if (type.status().code() == ErrorCode::kUnsupported) {
      note_unsupported(type.status().message() + readers_of(graph, info.name()), info.name());
      binding.unknown = true;
    } else {
      return type.status().with_context(fmt::format("input '{}'", info.name()));
    }
    TENON_TRY(scope_.define(info.name(), binding));
  }
  return {};
}

Status Importer::add_outputs(Scope& scope) {
  std::set<std::string> names;
  for (const auto& info : source_.model.graph().output()) {
    if (!names.insert(info.name()).second)
      return error(ErrorCode::kBadModel, "output '{}' is listed twice", info.name());
    const auto binding = lookup(info.name(), scope);
    if (!binding.ok()) return binding.status().with_context("graph output");
    if (binding->sequence != nullptr) {
      const auto& nodes = source_.model.graph().node();
      const auto maker = std::find_if(nodes.begin(), nodes.end(), [&](const auto& node) {
        return std::find(node.output().begin(), node.output().end(), info.name()) != node.output().end();
      });
      note_unsupported(
          "outputs that are sequences" + (maker == nodes.end() ? "" : " (made by " + maker->op_type() + ")"),
          info.name());
    }
    if (!binding->present() && !binding->unknown)
      return error(ErrorCode::kBadModel, "graph output '{}' is an absent value", info.name());
    if (binding->value != nullptr) graph_->add_output(info.name(), binding->value);
  }
  return {};
}

Result<ir::Model> Importer::run() {
  onnx_pb::ModelProto& model = source_.model;
  onnx_pb::GraphProto& graph = *model.mutable_graph();
  TENON_ASSIGN(main_.opsets, read_opsets(model.opset_import()));
  TENON_ASSIGN(functions_, read_functions(model));
  if (graph.output_size() == 0) return error(ErrorCode::kBadModel, "the graph has no outputs");

  TENON_TRY(import_initializers(graph, scope_));
  TENON_TRY(add_inputs());
  std::vector<std::string> wanted;
  for (const auto& output : graph.output()) wanted.push_back(output.name());
  TENON_TRY(import_nodes(*graph.mutable_node(), wanted, scope_, main_));
  TENON_TRY(add_outputs(scope_));
  if (!unsupported_.empty()) return unsupported();
  TENON_TRY(settle_sizes());
  describe_model();
  return std::move(model_);
}

// Applies the equalities of sizes that were assumed, and states the limits of symbols under their final names.
Status Importer::settle_sizes() {
  std::map<std::string, std::pair<const Value*, size_t>> places;  // where each symbol stands, to find it again
  for (const auto& input : graph_->inputs())
    for (size_t axis = 0; axis < input->shape().size(); ++axis)
      places.emplace(input->shape()[axis].to_string(), std::pair(input.get(), axis));
  TENON_TRY(ops::apply_assumptions(*graph_));
  std::map<std::string, int64_t> limits;
  for (const auto& [name, limit] : limits_) {
    const auto place = places.find(name);
    if (place == places.end()) continue;
    const Dim& size = place->second.first->shape()[place->second.second];
    if (!size.is_symbol()) continue;
    const auto [it, fresh] = limits.emplace(size.to_string(), limit);
    if (!fresh) it->second = std::min(it->second, limit);
  }
  for (const auto& [name, limit] : limits) {
    model_.properties["limit." + name] = std::to_string(limit);
    model_.notes.push_back(fmt::format("{} is at most {}", name, limit));
  }
  return {};
}

void Importer::describe_model() {
  guess_roles(model_);
  const onnx_pb::ModelProto& model = source_.model;
  for (const auto& entry : model.metadata_props()) model_.properties.emplace(entry.key(), entry.value());
  const std::string producer = producer_of(model);
  const auto opset = main_.opsets.find("");
  model_.source = fmt::format("{} (opset {}{}{})", std::filesystem::path(source_.name).filename().string(),
                              opset == main_.opsets.end() ? 0 : opset->second, producer.empty() ? "" : ", ", producer);
}

Result<ir::Model> import_file(const std::string& path, const ImportOptions& options) {
  TENON_ASSIGN(auto source, read_source(path));
  auto model = Importer(*source, options).run();
  if (!model.ok()) return model.status().with_context(path);
  return model;
}

Result<ir::Model> import_bytes(std::span<const std::byte> bytes, const std::string& folder,
                               const ImportOptions& options) {
  TENON_ASSIGN(auto source, read_source(bytes, folder));
  auto model = Importer(*source, options).run();
  if (!model.ok()) return model.status().with_context(source->name);
  return model;
}

}  // namespace tenon::onnx
