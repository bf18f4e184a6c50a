#include "onnx/export/export.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <span>

#include "base/write_file.h"
#include "onnx/export/write_ops.h"
#include "ops/interpret.h"

namespace tenon::onnx {
namespace {

constexpr int64_t kOpset = 20, kIrVersion = 9;
constexpr size_t kMostInOneFile = size_t{3} << 29;  // 1.5 GiB; protobuf holds 2
constexpr size_t kSmall = 1024;                     // bytes: such initializers stay in the graph

void write_port(onnx_pb::ValueInfoProto& port, const std::string& name, const ir::TensorType& type) {
  port.set_name(name);
  auto& tensor = *port.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(data_type_of(type.dtype));
  for (const ir::Dim& d : type.shape) {
    auto& dim = *tensor.mutable_shape()->add_dim();
    if (d.is_const())
      dim.set_dim_value(d.value());
    else if (d.is_symbol())
      dim.set_dim_param(d.to_string());
  }
  if (type.shape.empty()) tensor.mutable_shape();
}

// What an op that took its producer's work on itself leaves behind.
void drop_unused(onnx_pb::GraphProto& graph) {
  std::set<std::string> read;
  for (const auto& out : graph.output()) read.insert(out.name());
  std::vector<bool> kept(static_cast<size_t>(graph.node_size()));
  for (int i = graph.node_size() - 1; i >= 0; --i) {
    const auto& node = graph.node(i);
    kept[static_cast<size_t>(i)] =
        std::ranges::any_of(node.output(), [&](const std::string& o) { return read.contains(o); });
    if (kept[static_cast<size_t>(i)]) read.insert(node.input().begin(), node.input().end());
  }
  int nodes = 0, initializers = 0;
  for (int i = 0; i < graph.node_size(); ++i)
    if (kept[static_cast<size_t>(i)]) graph.mutable_node()->SwapElements(i, nodes++);
  graph.mutable_node()->DeleteSubrange(nodes, graph.node_size() - nodes);
  for (int i = 0; i < graph.initializer_size(); ++i)
    if (read.contains(graph.initializer(i).name())) graph.mutable_initializer()->SwapElements(i, initializers++);
  graph.mutable_initializer()->DeleteSubrange(initializers, graph.initializer_size() - initializers);
}

Status write_graph(const ir::Graph& graph, const ExportOptions& options, onnx_pb::GraphProto& target) {
  GraphWriter out(graph, target);
  target.set_name(options.graph_name);
  for (const auto& input : graph.inputs()) write_port(*target.add_input(), input->name(), input->type());
  std::set<const ir::Value*> named;
  for (const ir::Output& output : graph.outputs()) {
    write_port(*target.add_output(), output.name, output.value->type());
    if (!output.value->is_input() && !output.value->is(ir::Op::k_constant) && named.insert(output.value).second)
      out.alias(output.value, output.name);
  }
  WriteContext context{out, options.microsoft};
  for (const auto& node : graph.nodes()) {
    if (ops::is_constant_expression(*node->output())) continue;  // evaluated when it is read
    if (Status s = write_node(context, *node); !s.ok()) return s.with_context(node->describe());
    if (!out.status().ok()) return Status(out.status()).with_context(node->describe());
  }
  for (const ir::Output& output : graph.outputs()) {
    const std::string name = out.name(output.value);
    if (name == output.name) continue;
    onnx_pb::NodeProto& identity = *target.add_node();
    identity.set_op_type("Identity");
    identity.set_name("output_" + output.name);
    identity.add_input(name);
    identity.add_output(output.name);
  }
  if (!out.status().ok()) return out.status();
  drop_unused(target);
  return {};
}

// Moves large initializers to a file beside the model.
Status write_external(onnx_pb::GraphProto& graph, const std::string& path, uint64_t& bytes) {
  TemporaryFile file(path);
  TENON_TRY(file.open());
  const std::string location = std::filesystem::path(path).filename().string();
  uint64_t offset = 0;
  for (onnx_pb::TensorProto& tensor : *graph.mutable_initializer()) {
    const std::string& data = tensor.raw_data();
    if (data.size() < kSmall) continue;
    TENON_TRY(file.write_at(offset, std::as_bytes(std::span(data))));
    const auto say = [&](const char* key, const std::string& value) {
      auto& entry = *tensor.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    };
    say("location", location);
    say("offset", fmt::format("{}", offset));
    say("length", fmt::format("{}", data.size()));
    tensor.set_data_location(1);
    constexpr uint64_t kPage = 4096;  // readers may map the file
    offset = (offset + data.size() + kPage - 1) / kPage * kPage;
    tensor.clear_raw_data();
  }
  bytes += offset;
  return file.commit();
}

}  // namespace

Result<ExportReport> export_file(const ir::Graph& graph, const std::string& path, const ExportOptions& options) {
  onnx_pb::ModelProto model;
  model.set_ir_version(kIrVersion);
  model.set_producer_name("tenon");
  model.set_producer_version(TENON_VERSION);
  auto& standard = *model.add_opset_import();
  standard.set_domain("");
  standard.set_version(kOpset);
  if (options.microsoft) {
    auto& microsoft = *model.add_opset_import();
    microsoft.set_domain("com.microsoft");
    microsoft.set_version(1);
  }
  TENON_TRY(write_graph(graph, options, *model.mutable_graph()));
  ExportReport report;
  report.nodes = model.graph().node_size();
  report.external = model.ByteSizeLong() > kMostInOneFile;
  if (report.external) TENON_TRY(write_external(*model.mutable_graph(), path + ".data", report.file_bytes));
  std::string bytes;
  if (!model.SerializeToString(&bytes)) return error(ErrorCode::kInternal, "{}: the model cannot be serialised", path);
  model.Clear();
  report.file_bytes += bytes.size();
  TENON_TRY(write_file(path, bytes));
  return report;
}

std::vector<std::string> passes_not_for_export(bool microsoft) {
  std::vector<std::string> names = {"pack-tokens",           "push-down-row-slices", "fold-attention-bias",
                                    "fold-norm-into-linear", "fuse-linear-epilogue", "fuse-pointwise",
                                    "fuse-embedding",        "fuse-disentangled-bias"};
  if (!microsoft) names.push_back("fuse-residual-norm");
  if (microsoft) names.push_back("fold-attention-scale");
  return names;
}

}  // namespace tenon::onnx
