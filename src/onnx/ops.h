// The functions of the operator table, by family; each imports one ONNX operator.
#pragma once

#include "onnx/call.h"

namespace tenon::onnx {

// Operators that are an IR op as they stand.
template <Op op>
Status unary(Call& c) {
  return c.yield(op, {c.input(0)});
}
template <Op op>
Status binary(Call& c) {
  return c.yield(op, {c.input(0), c.input(1)});
}

// ops_elementwise.cc
template <Op op>
Status fold_inputs(Call& c);  // Max, Min, Sum: x0 op x1 op …
Status import_mean(Call&);
Status import_mod(Call&);
Status import_pow(Call&);
Status import_clip(Call&);
Status import_is_inf(Call&);
Status import_cast(Call&);
Status import_cast_like(Call&);
Status import_where(Call&);
Status import_identity(Call&);
Status import_dropout(Call&);
// ops_activation.cc
Status import_leaky_relu(Call&);
Status import_prelu(Call&);
Status import_elu(Call&);
Status import_selu(Call&);
Status import_celu(Call&);
Status import_thresholded_relu(Call&);
Status import_softsign(Call&);
Status import_mish(Call&);
Status import_hard_sigmoid(Call&);
Status import_hard_swish(Call&);
Status import_gelu(Call&);
Status import_swish(Call&);
// ops_shape.cc
Status import_shape(Call&);
Status import_size(Call&);
Status import_reshape(Call&);
Status import_flatten(Call&);
Status import_squeeze(Call&);
Status import_unsqueeze(Call&);
Status import_transpose(Call&);
Status import_expand(Call&);
Status import_tile(Call&);
Status import_concat(Call&);
Status import_split(Call&);
Status import_slice(Call&);
Status import_pad(Call&);
// ops_sequence.cc
Status import_split_to_sequence(Call&);
Status import_sequence_construct(Call&);
Status import_sequence_at(Call&);
Status import_sequence_length(Call&);
Status import_concat_from_sequence(Call&);
// ops_index.cc
Status import_gather(Call&);
Status import_gather_elements(Call&);
Status import_gather_nd(Call&);
Status import_scatter_nd(Call&);
Status import_trilu(Call&);
Status import_cumsum(Call&);
Status import_one_hot(Call&);
// ops_generate.cc
Status import_constant(Call&);
Status import_constant_of_shape(Call&);
Status import_range(Call&);
Status import_eye_like(Call&);
Status import_non_zero(Call&);
// ops_reduce.cc
template <Op op>
Status reduce(Call& c);
Status import_reduce_l1(Call&);
Status import_reduce_sum_square(Call&);
Status import_reduce_log_sum(Call&);
Status import_reduce_log_sum_exp(Call&);
Status import_arg_max(Call&);
Status import_arg_min(Call&);
// ops_norm.cc
template <Op op>
Status softmax_flat(Call& c);  // before opset 13: over all axes from `axis` on
template <Op op>
Status softmax(Call& c);
Status import_layer_norm(Call&);
Status import_rms_norm(Call&);
Status import_lp_norm(Call&);
// ops_matmul.cc
Status import_gemm(Call&);
// ops_attention.cc
// [batch, rows, heads * d] -> [batch, heads, rows, d]; four axes stay as they are.
Result<Value*> split_heads(Call&, Value* x, int64_t heads);
Status import_attention(Call&);
Status import_rotary_embedding(Call&);
// ops_control.cc
Status import_if(Call&);
Status import_loop(Call&);
// ops_microsoft.cc
Status import_bias_gelu(Call&);
Status import_fast_gelu(Call&);
Status import_quick_gelu(Call&);
Status import_skip_layer_norm(Call&);
Status import_skip_rms_norm(Call&);
Status import_embed_layer_norm(Call&);
Status import_fused_matmul(Call&);
Status import_packed_attention(Call&);
Status import_multi_head_attention(Call&);

}  // namespace tenon::onnx
