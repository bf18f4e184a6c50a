// Linears and convolutions with factors of 8 or 16 bits, for CPUs.
//
//   linear(x, w) {factors = ""}   ->   linear(x, w) {factors = "int8"}
//   conv(x, w) {factors = ""}     ->   conv(x, w) {factors = "int8"}
//
// Processors that lack VNNI get "int8_quads" (ops/quantize.h). For bf16, and for integers too, what they read and write becomes
// bf16, as do attention and norms between them, with casts where others read or feed them. The factors of tf32 (for GPUs)
// leave all else as it is; products of two computed matrices have them too.
//
// A model that was quantised itself names them (fuse-dynamic-quantization, fuse-static-quantization); the others stay as they are.
// Where it gives the steps of x too, what stands between stays f32, with the model's own roundings.
//
// Left alone: what the build names; weights that are computed when run (they could not be packed in advance), and heads, which cost little
// and decide much: few outputs, or tanh (a pooler); convolutions of few channels (images as they come in) or in groups.
// `explain` names them.
#include <algorithm>

#include "ops/interpret.h"
#include "ops/quantize.h"
#include "ops/window.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

// Why a linear keeps its factors; empty: it does not.
std::string reason_to_keep(const Node& node) {
  constexpr int64_t kFewest = 64;  // outputs, and elements of a row
  if (!ops::is_constant_expression(*node.input(1))) return "its weight is computed when run";
  const ir::Shape& shape = node.input(1)->shape();
  if (!ir::all_const(shape)) return "its weight's shape is symbolic";
  if (node.input(0)->dtype() != DType::kF32) return "its rows are not f32";
  const int64_t k = shape[0].value(), n = shape[1].value();
  if (n < kFewest || k < kFewest) return fmt::format("it is small: {} by {}", k, n);
  if (node.attrs().text("activation") == "tanh") return "tanh marks the pooler of a head";
  return "";
}

// The same for a convolution.
std::string reason_to_keep_conv(const Node& node) {
  constexpr int64_t kFewest = 16;  // channels and filters
  if (!ops::is_constant_expression(*node.input(1))) return "its weights are computed when run";
  const ir::Shape& shape = node.input(1)->shape();
  if (!ir::all_const(shape)) return "its weights' shape is symbolic";
  if (node.input(0)->dtype() != DType::kF32) return "its images are not f32";
  if (!ops::channels_last(node.attrs())) return "its channels are not last";
  if (node.attrs().integer("group") != 1) return "its filters are in groups";
  const int64_t filters = shape[0].value(), channels = shape[1].value();
  const bool is_static = node.attrs().number("x_step") != 0;
  if (filters < kFewest || (channels < kFewest && !is_static))
    return fmt::format("it is small: {} filters of {} channels", filters, channels);
  return "";
}

// Whether one of the model's nodes that `node` comes of is among `names`.
bool comes_of(const Node& node, const std::vector<std::string>& names) {
  const std::string& origin = node.origin();
  for (size_t at = 0; at < origin.size();) {
    const size_t end = std::min(origin.find('+', at), origin.size());
    const std::string_view part = std::string_view(origin).substr(at, end - at);
    if (std::ranges::any_of(names, [&](const std::string& name) { return like(part, name); })) return true;
    at = end + 1;
  }
  return false;
}

constexpr const char* kKept = "the build keeps it in 32 bits";

// An attention or a norm, whose kernels read and write bf16.
bool stands_between(const Node& node) {
  if (node.input(0) == nullptr || node.input(0)->dtype() != DType::kF32) return false;
  if (node.is(Op::k_layer_norm) || node.is(Op::k_rms_norm)) return true;
  if (!node.is(Op::k_attention)) return false;
  for (int i = 0; i < 3; ++i) {  // kernels move pairs of elements
    const ir::Dim& width = node.input(i)->shape().back();
    if (!width.is_const() || width.value() % 2 != 0 ||
        node.attrs().integers("columns")[static_cast<size_t>(i)] % 2 != 0)
      return false;
  }
  return true;
}

// The model's rounding of x, which the node was to do itself, before it again.
Status restore_rounding(Graph& graph, Node& node) {
  const ops::RowScale scale = ops::given_scale(node.attrs().number("x_step"), node.attrs().integer("x_zero"));
  Value* v = node.input(0);
  const auto apply = [&](Op op, std::vector<Value*> inputs) -> Status {
    TENON_ASSIGN(Node * step, ops::create(graph, op, std::move(inputs), {}, &node));
    v = step->output();
    return {};
  };
  const auto with = [&](Op op, float number) { return apply(op, {v, ops::constant(graph, Tensor::scalar(DType::kF32, number), "", &node)}); };
  TENON_TRY(with(Op::k_div, scale.step));
  TENON_TRY(apply(Op::k_round, {v}));
  TENON_TRY(with(Op::k_max, static_cast<float>(-scale.zero)));
  TENON_TRY(with(Op::k_min, static_cast<float>(255 - scale.zero)));
  TENON_TRY(with(Op::k_mul, scale.step));
  graph.set_input(&node, 0, v);
  node.attrs().set("x_step", 0.0);
  node.attrs().set("x_zero", int64_t{0});
  return {};
}

}  // namespace

Status lower_linears(Graph& graph, const std::string& factors, Decisions& decisions, const std::vector<std::string>& kept) {
  const bool on_gpu = factors == "tf32";
  NodeSet lowered;
  bool any = false;
  for (const auto& node : graph.nodes()) {
    if (ops::is_constant_expression(*node->output())) continue;
    if (stands_between(*node)) lowered.insert(node.get());
    if (on_gpu && node->is(Op::k_matmul) && node->input(0)->dtype() == DType::kF32 && !comes_of(*node, kept))
      node->attrs().set("factors", factors);
    const bool is_conv = node->is(Op::k_conv) && !on_gpu;
    if (!node->is(Op::k_linear) && !is_conv) continue;
    std::string reason = is_conv ? reason_to_keep_conv(*node) : reason_to_keep(*node);
    if (reason.empty() && comes_of(*node, kept)) reason = kKept;
    if (reason.empty()) {
      any = true;
      lowered.insert(node.get());
      if (factors != "bf16") node->attrs().set("factors", factors);
    }
    decisions.push_back({"lower-linears", node->describe(), reason.empty(),
                         reason.empty() ? fmt::format("factors are {}", factors) : reason});
  }
  // Nothing is gained by norms alone.
  return any && !on_gpu ? lower_nodes(graph, DType::kBF16, lowered) : Status();
}

Result<bool> lower_quantized_linears(Graph& graph, const std::string& factors, Decisions& decisions, const std::vector<std::string>& kept) {
  std::vector<Node*> quantized;
  NodeSet lowered;
  for (const auto& node : graph.nodes()) {
    if (ops::is_constant_expression(*node->output())) continue;
    if (stands_between(*node)) lowered.insert(node.get());
    const bool multiplies = node->is(Op::k_linear) || node->is(Op::k_conv);
    if (multiplies && !node->attrs().text("factors").empty()) quantized.push_back(node.get());
  }
  bool any = false, any_dynamic = false, any_restored = false;
  for (Node* node : quantized) {
    std::string reason = factors.empty() ? "the build computes it in floats" : comes_of(*node, kept) ? kKept : "";
    if (reason.empty()) reason = node->is(Op::k_conv) ? reason_to_keep_conv(*node) : reason_to_keep(*node);
    const bool is_lowered = reason.empty(), is_static = node->attrs().number("x_step") != 0;
    decisions.push_back({"lower-linears", node->describe(), is_lowered,
                         is_lowered ? fmt::format("factors are {}, as the model quantises them", factors) : reason});
    any |= is_lowered;
    if (is_lowered && !is_static) lowered.insert(node);
    any_dynamic |= is_lowered && !is_static;
    any_restored |= !is_lowered && is_static;
    if (!is_lowered && is_static) TENON_TRY(restore_rounding(graph, *node));
    node->attrs().set("factors", is_lowered ? factors : "");
  }
  if (any_restored) TENON_TRY(fuse_pointwise(graph, decisions));
  if (any_dynamic) TENON_TRY(lower_nodes(graph, DType::kBF16, lowered));
  return any;
}

}  // namespace tenon::passes
