// Small engines for tests of plan, engine and runtime: graphs from text with random weights, planned, written and loaded.
#pragma once

#include <string>

#include "engine/writer.h"
#include "ops/create.h"
#include "plan/planner.h"
#include "runtime/context.h"
#include "tests/support/random.h"
#include "tests/support/temporary_path.h"

namespace tenon::test {

// Constants that the text leaves without data get random contents.
inline std::unique_ptr<ir::Graph> graph_from(const std::string& text, Random& random) {
  auto graph = value_or_throw(ops::parse_graph(text));
  for (const auto& node : graph->nodes()) {
    if (!node->is(ir::Op::k_constant) || node->attrs().tensor("value").has_data()) continue;
    const ir::Tensor& t = node->attrs().tensor("value");
    node->attrs().set("value", random.tensor(t.dtype(), t.shape(), -0.5, 0.5));
  }
  return graph;
}

inline void write_to(const std::string& path, const ir::Graph& graph, const plan::PlanOptions& options = {}, engine::Metadata metadata = {}) {
  const plan::PlannedModel model = value_or_throw(plan::make_plan(graph, options));
  value_or_throw(engine::write_engine(path, model.plan, metadata, [&](int i) { return model.make_weight(i); }));
}

inline std::shared_ptr<const runtime::Executable> load_from(const std::string& path, int threads = 1) {
  return value_or_throw(runtime::Executable::load(path, std::make_shared<ThreadPool>(threads)));
}

inline std::shared_ptr<const runtime::Executable> executable_of(const ir::Graph& graph, const plan::PlanOptions& options = {}, int threads = 1) {
  const TemporaryPath path("engine");
  write_to(path.str(), graph, options);
  return load_from(path.str(), threads);
}

inline TensorView view_of(const ir::Tensor& t) { return {t.dtype(), t.shape(), const_cast<std::byte*>(t.data())}; }

// A copy of a view's contents.
inline ir::Tensor tensor_of(const TensorView& view) {
  std::byte* data = nullptr;
  ir::Tensor t = value_or_throw(ir::Tensor::allocate(view.dtype, view.shape, &data));
  if (t.bytes() > 0) std::memcpy(data, view.data, t.bytes());
  return t;
}

// x [batch, 8] -> two products, a view and a softmax.
inline constexpr const char* kDenseModel = R"(
graph @main(%x: f32[batch,8]) {
  %w1 = constant {name = "w1", value = tensor f32[8,16]}
  %b1 = constant {name = "b1", value = tensor f32[16]}
  %w2 = constant {name = "w2", value = tensor f32[4,8]}
  %w2t = transpose(%w2) {perm = [1, 0]}
  %h = linear(%x, %w1, %b1) {activation = "relu"}
  %r = reshape(%h) {shape = dims[batch*2,8]}
  %e = exp(%r)
  %y = linear(%e, %w2t) {}
  %p = softmax(%y) {axis = -1}
  return "hidden" = %r, "probabilities" = %p
}
)";

// Padding removed: ids and a mask in, [batch, seq, 4] out.
inline constexpr const char* kPackedModel = R"(
graph @main(%input_ids: i64[batch,seq], %attention_mask: i64[batch,seq], %token_type_ids: i64[batch,seq]) {
  %words = constant {name = "words", value = tensor f32[10,4]}
  %types = constant {name = "types", value = tensor f32[2,4]}
  %w = constant {name = "w", value = tensor f32[4,4]}
  %count = count_tokens(%attention_mask) {}
  %offsets, %begin, %end, %gather, %positions, %kept = pack_tokens(%attention_mask) {tokens = dims[tokens]}
  %flat_ids = reshape(%input_ids) {shape = dims[batch*seq]}
  %flat_types = reshape(%token_type_ids) {shape = dims[batch*seq]}
  %ids = gather(%flat_ids, %gather) {axis = 0}
  %kinds = gather(%flat_types, %gather) {axis = 0}
  %x = embedding(%ids, %words, %kinds, %types) {}
  %a = attention(%x, %x, %x, %offsets, %begin, %end) {heads = 2, head_dim = 2, scale = 0.7}
  %y = linear(%a, %w, _, %x) {activation = "gelu"}
  %rows = tanh(%y)
  %out = unpack_tokens(%rows, %gather, %offsets, %begin) {shape = dims[batch,seq]}
  %mean = segment_reduce(%rows, %begin, %end) {kind = "mean"}
  symbol tokens = %count <= batch*seq
  return "hidden" = %out, "mean" = %mean
}
)";

// The same with layers that are large enough for a GPU's kernels: ids and a mask in, [batch, seq, 64] and lengths out.
inline std::string packed_encoder() {
  constexpr int kLayers = 6;
  std::string text = R"(
graph @main(%input_ids: i64[batch,seq], %attention_mask: i64[batch,seq]) {
  %words = constant {name = "words", value = tensor f32[100,64]}
  %count = count_tokens(%attention_mask) {}
  %offsets, %begin, %end, %gather, %positions, %kept = pack_tokens(%attention_mask) {tokens = dims[tokens]}
  %flat_ids = reshape(%input_ids) {shape = dims[batch*seq]}
  %ids = gather(%flat_ids, %gather) {axis = 0}
  %x0 = embedding(%ids, %words) {}
)";
  for (int i = 0; i < kLayers; ++i) {
    const std::string n = std::to_string(i), next = std::to_string(i + 1);
    text += "  %w" + n + " = constant {name = \"w" + n + "\", value = tensor f32[64,64]}\n";
    text += "  %a" + n + " = attention(%x" + n + ", %x" + n + ", %x" + n + ", %offsets, %begin, %end) {heads = 2, head_dim = 32, scale = 0.2}\n";
    text += "  %x" + next + " = linear(%a" + n + ", %w" + n + ", _, %x" + n + ") {activation = \"gelu\"}\n";
  }
  return text + R"(
  %hidden = unpack_tokens(%x6, %gather, %offsets, %begin) {shape = dims[batch,seq]}
  %mask = cast(%attention_mask) {to = f32}
  %lengths = reduce_sum(%mask) {axes = [1], keepdims = 1}
  symbol tokens = %count <= batch*seq
  return "hidden" = %hidden, "lengths" = %lengths
}
)";
}

}  // namespace tenon::test
