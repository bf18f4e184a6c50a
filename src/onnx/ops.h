// The functions of the operator table, by family; each imports one ONNX operator.
#pragma once

#include "onnx/call.h"

namespace tenon::onnx {

// An operator of a loaded plugin: no row of the table.
Status import_plugin(Call&, const ops::PluginOperator&);

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
Status import_bit_cast(Call&);
Status import_bit_shift(Call&);
Status import_binarizer(Call&);
Status import_array_feature_extractor(Call&);
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
Status import_shrink(Call&);
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
Status import_scatter_elements(Call&);
Status import_tensor_scatter(Call&);
Status import_top_k(Call&);
Status import_hardmax(Call&);
Status import_reverse_sequence(Call&);
Status import_unique(Call&);
Status import_compress(Call&);
template <Op op>
Status running(Call& c);  // CumSum, CumProd
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
// alpha A' B' + beta C of the node's attributes.
Result<Value*> general_product(Call&);
Status import_gemm(Call&);
// ops_attention.cc
// [batch, rows, heads * d] -> [batch, heads, rows, d]; four axes stay as they are.
Result<Value*> split_heads(Call&, Value* x, int64_t heads);
Status import_attention(Call&);
Status import_rotary_embedding(Call&);
// ops_control.cc
Status import_if(Call&);
Status import_loop(Call&);
Status import_scan(Call&);
// ops_conv.cc
Result<Value*> convolve(Call&, Value* x, Value* w, Value* bias);  // with the node's window attributes
Status import_conv(Call&);
Status import_conv_transpose(Call&);
Status import_deform_conv(Call&);
Status import_col2im(Call&);
// ops_pool.cc
Status import_max_pool(Call&);
Status import_average_pool(Call&);
Status import_lp_pool(Call&);
Status import_global_max_pool(Call&);
Status import_global_average_pool(Call&);
Status import_global_lp_pool(Call&);
Status import_max_unpool(Call&);
Status import_lrn(Call&);
// ops_batch_norm.cc
Status import_batch_norm(Call&);
Status import_instance_norm(Call&);
Status import_group_norm(Call&);
Status import_mean_variance_norm(Call&);
// ops_image.cc
Status import_resize(Call&);
Status import_upsample(Call&);
Status import_grid_sample(Call&);
Status import_affine_grid(Call&);
Status import_roi_align(Call&);
Status import_non_max_suppression(Call&);
Status import_depth_to_space(Call&);
Status import_space_to_depth(Call&);
Status import_center_crop_pad(Call&);
// ops_quantize.cc
Status import_quantize_linear(Call&);
Status import_dequantize_linear(Call&);
Status import_dynamic_quantize_linear(Call&);
Status import_matmul_integer(Call&);
Status import_qlinear_matmul(Call&);
Status import_conv_integer(Call&);
Status import_qlinear_conv(Call&);
// ops_recurrent.cc
Status import_rnn(Call&);
Status import_gru(Call&);
Status import_lstm(Call&);
// ops_signal.cc
Status import_hann_window(Call&);
Status import_hamming_window(Call&);
Status import_blackman_window(Call&);
Status import_dft(Call&);
Status import_stft(Call&);
Status import_mel_weight_matrix(Call&);
// ops_loss.cc
Status import_nll_loss(Call&);
Status import_softmax_cross_entropy(Call&);
// ops_decoder.cc
Status import_swiglu(Call&);
Status import_causal_conv(Call&);
// ops_ngram.cc
Status import_tf_idf(Call&);
// ops_einsum.cc
Status import_einsum(Call&);
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
// softmax(scale q k' + mask + bias) v; q, k, v are [batch, rows, heads * d], and so is the result. Mask and bias may be
// null.
Result<Value*> attend(Call&, Value* q, Value* k, Value* v, Value* mask, Value* bias);
// attend on q, k and v side by side in the last axis.
Result<Value*> attend_packed(Call&, Value* qkv, Value* mask, Value* bias);
Status import_fused_gemm(Call&);
Status import_fused_conv(Call&);
Status import_gemm_fast_gelu(Call&);
// ops_microsoft_quantized.cc
Status import_dynamic_quantize_matmul(Call&);
Status import_matmul_integer_to_float(Call&);
Status import_qgemm(Call&);
Status import_qattention(Call&);
template <Op op>
Status qlinear_binary(Call& c);
Status import_qlinear_sigmoid(Call&);
Status import_qlinear_leaky_relu(Call&);
Status import_qlinear_softmax(Call&);
Status import_qlinear_concat(Call&);
Status import_qlinear_global_average_pool(Call&);
Status import_qlinear_average_pool(Call&);
Status import_qlinear_where(Call&);
Status import_matmul_nbits(Call&);

}  // namespace tenon::onnx
