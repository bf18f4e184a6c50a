// Every pass; pipeline.cc gives their order and what each is for, each file its diagram and its reasons to decline.
#pragma once

#include <unordered_set>

#include "passes/rewriter.h"

namespace tenon::passes {

using Decisions = std::vector<Decision>;

// General clean-up.
Status fold_constants(Graph& graph, Decisions& decisions);
Status eliminate_dead_code(Graph& graph, Decisions& decisions);
Status eliminate_common_subexpressions(Graph& graph, Decisions& decisions);
Status simplify_layout(Graph& graph, Decisions& decisions);

// Forms that exporters spell in several ways, into one.
Status fuse_layer_norm(Graph& graph, Decisions& decisions);
Status fuse_gelu(Graph& graph, Decisions& decisions);
Status fuse_dynamic_quantization(Graph& graph, Decisions& decisions);
Status integers_to_floats(Graph& graph, Decisions& decisions);
Status fuse_linear(Graph& graph, Decisions& decisions);
Status fuse_rotary(Graph& graph, Decisions& decisions);
Status split_interleaved_heads(Graph& graph, Decisions& decisions);
Status fuse_attention(Graph& graph, Decisions& decisions);
Status fuse_disentangled_bias(Graph& graph, Decisions& decisions);
Status fold_attention_mask(Graph& graph, Decisions& decisions);

// Padding removal.
Status pack_tokens(Graph& graph, Decisions& decisions);
Status push_down_row_slices(Graph& graph, Decisions& decisions);

// Fewer and cheaper steps.
Status fold_attention_scale(Graph& graph, Decisions& decisions);
Status fold_attention_bias(Graph& graph, Decisions& decisions);
Status fold_norm_into_linear(Graph& graph, Decisions& decisions);
Status fuse_qkv(Graph& graph, Decisions& decisions);
Status fuse_linear_epilogue(Graph& graph, Decisions& decisions);
Status fold_into_conv(Graph& graph, Decisions& decisions);
Status fuse_conv_epilogue(Graph& graph, Decisions& decisions);
Status fuse_residual_norm(Graph& graph, Decisions& decisions);
Status fuse_embedding(Graph& graph, Decisions& decisions);
Status lower_pad(Graph& graph, Decisions& decisions);
Status fuse_static_quantization(Graph& graph, Decisions& decisions);
Status fuse_pointwise(Graph& graph, Decisions& decisions);
// Values whose channels stand last carry their old name and this.
inline constexpr char kChannelsLastSuffix[] = ".channels_last";
Status channels_last(Graph& graph, Decisions& decisions);

// First: the model's own floats of 16 bits become f32.
Status widen_precision(Graph& graph, Decisions& decisions);
// f16 or bf16 where most of the model's products and convolutions are of it, else f32.
DType type_of_products(const Graph& graph);
// When the engine is to compute in 16 bits: `to` is f16 or bf16.
Status lower_precision(Graph& graph, DType to, Decisions& decisions);
// Behind it.
Status fuse_unpack(Graph& graph, Decisions& decisions);
Status fuse_image(Graph& graph, Decisions& decisions);
// The same, for targets whose kernels compute linear_norm.
Status fold_layer_norm(Graph& graph, Decisions& decisions);

// Those nodes alone, with casts around them.
using NodeSet = std::unordered_set<const Node*>;
Status lower_nodes(Graph& graph, DType to, const NodeSet& nodes);

// Last, for CPUs: linears, convolutions and what stands between them in bf16, or their factors in 8 bits (`factors`: int8, or
// int8_quads).
// `kept`: names of nodes of the source model, * standing for any text; what comes of them keeps its 32 bits.
Status lower_linears(Graph& graph, const std::string& factors, Decisions& decisions, const std::vector<std::string>& kept = {});
// The same for those linears and convolutions alone that the model itself computes in 8 bits (fuse-dynamic-quantization,
// fuse-static-quantization). With no `factors` they compute in floats. Whether there are any.
Result<bool> lower_quantized_linears(Graph& graph, const std::string& factors, Decisions& decisions, const std::vector<std::string>& kept = {});

// Whether `text` is of the form of `glob`: * stands for any text, ? for one character.
bool like(std::string_view text, std::string_view glob);

}  // namespace tenon::passes
