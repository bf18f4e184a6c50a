#include "onnx/op_table.h"

#include <algorithm>

#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

constexpr int64_t kFirst = kOldestOpset;
constexpr int64_t kLast = kNewestOpset;

// domain, operator, first and last opset, inputs that must be present, function. To add an operator: a row here, a
// function in the file of its family. Sorted by name within a domain.
constexpr OpRow kRows[] = {
    {"", "Abs", kFirst, kLast, 1, unary<Op::k_abs>},
    {"", "Add", kFirst, kLast, 2, binary<Op::k_add>},
    {"", "And", kFirst, kLast, 2, binary<Op::k_and>},
    {"", "ArgMax", kFirst, kLast, 1, import_arg_max},
    {"", "ArgMin", kFirst, kLast, 1, import_arg_min},
    {"", "Attention", 23, kLast, 3, import_attention},
    {"", "Cast", kFirst, kLast, 1, import_cast},
    {"", "CastLike", 15, kLast, 2, import_cast_like},
    {"", "Ceil", kFirst, kLast, 1, unary<Op::k_ceil>},
    {"", "Celu", 12, kLast, 1, import_celu},
    {"", "Clip", kFirst, kLast, 1, import_clip},
    {"", "Concat", kFirst, kLast, 1, import_concat},
    {"", "ConcatFromSequence", 11, kLast, 1, import_concat_from_sequence, true},
    {"", "Constant", kFirst, kLast, 0, import_constant},
    {"", "ConstantOfShape", kFirst, kLast, 1, import_constant_of_shape},
    {"", "Cos", kFirst, kLast, 1, unary<Op::k_cos>},
    {"", "CumSum", 11, kLast, 2, import_cumsum},
    {"", "Div", kFirst, kLast, 2, binary<Op::k_div>},
    {"", "Dropout", kFirst, kLast, 1, import_dropout},
    {"", "Elu", kFirst, kLast, 1, import_elu},
    {"", "Equal", kFirst, kLast, 2, binary<Op::k_equal>},
    {"", "Erf", kFirst, kLast, 1, unary<Op::k_erf>},
    {"", "Exp", kFirst, kLast, 1, unary<Op::k_exp>},
    {"", "Expand", kFirst, kLast, 2, import_expand},
    {"", "EyeLike", kFirst, kLast, 1, import_eye_like},
    {"", "Flatten", kFirst, kLast, 1, import_flatten},
    {"", "Floor", kFirst, kLast, 1, unary<Op::k_floor>},
    {"", "Gather", kFirst, kLast, 2, import_gather},
    {"", "GatherElements", 11, kLast, 2, import_gather_elements},
    {"", "GatherND", 11, kLast, 2, import_gather_nd},
    {"", "Gelu", 20, kLast, 1, import_gelu},
    {"", "Gemm", kFirst, kLast, 2, import_gemm},
    {"", "Greater", kFirst, kLast, 2, binary<Op::k_greater>},
    {"", "GreaterOrEqual", 12, kLast, 2, binary<Op::k_greater_equal>},
    {"", "HardSigmoid", kFirst, kLast, 1, import_hard_sigmoid},
    {"", "HardSwish", 14, kLast, 1, import_hard_swish},
    {"", "Identity", kFirst, kLast, 1, import_identity},
    {"", "If", kFirst, kLast, 1, import_if},
    {"", "IsInf", kFirst, kLast, 1, import_is_inf},
    {"", "IsNaN", kFirst, kLast, 1, unary<Op::k_is_nan>},
    {"", "LayerNormalization", kFirst, kLast, 2, import_layer_norm},  // ONNX Runtime writes it into older opsets too
    {"", "LeakyRelu", kFirst, kLast, 1, import_leaky_relu},
    {"", "Less", kFirst, kLast, 2, binary<Op::k_less>},
    {"", "LessOrEqual", 12, kLast, 2, binary<Op::k_less_equal>},
    {"", "Log", kFirst, kLast, 1, unary<Op::k_log>},
    {"", "LogSoftmax", kFirst, 12, 1, softmax_flat<Op::k_log_softmax>},
    {"", "LogSoftmax", 13, kLast, 1, softmax<Op::k_log_softmax>},
    {"", "Loop", kFirst, kLast, 0, import_loop},
    {"", "LpNormalization", kFirst, kLast, 1, import_lp_norm},
    {"", "MatMul", kFirst, kLast, 2, binary<Op::k_matmul>},
    {"", "Max", kFirst, kLast, 1, fold_inputs<Op::k_max>},
    {"", "Mean", kFirst, kLast, 1, import_mean},
    {"", "Min", kFirst, kLast, 1, fold_inputs<Op::k_min>},
    {"", "Mish", 18, kLast, 1, import_mish},
    {"", "Mod", kFirst, kLast, 2, import_mod},
    {"", "Mul", kFirst, kLast, 2, binary<Op::k_mul>},
    {"", "Neg", kFirst, kLast, 1, unary<Op::k_neg>},
    {"", "NonZero", kFirst, kLast, 1, import_non_zero},
    {"", "Not", kFirst, kLast, 1, unary<Op::k_not>},
    {"", "OneHot", kFirst, kLast, 3, import_one_hot},
    {"", "Or", kFirst, kLast, 2, binary<Op::k_or>},
    {"", "PRelu", kFirst, kLast, 2, import_prelu},
    {"", "Pad", kFirst, kLast, 1, import_pad},
    {"", "Pow", kFirst, kLast, 2, import_pow},
    {"", "RMSNormalization", 23, kLast, 2, import_rms_norm},
    {"", "Range", 11, kLast, 3, import_range},
    {"", "Reciprocal", kFirst, kLast, 1, unary<Op::k_reciprocal>},
    {"", "ReduceL1", kFirst, kLast, 1, import_reduce_l1},
    {"", "ReduceL2", kFirst, kLast, 1, reduce<Op::k_reduce_l2>},
    {"", "ReduceLogSum", kFirst, kLast, 1, import_reduce_log_sum},
    {"", "ReduceLogSumExp", kFirst, kLast, 1, import_reduce_log_sum_exp},
    {"", "ReduceMax", kFirst, kLast, 1, reduce<Op::k_reduce_max>},
    {"", "ReduceMean", kFirst, kLast, 1, reduce<Op::k_reduce_mean>},
    {"", "ReduceMin", kFirst, kLast, 1, reduce<Op::k_reduce_min>},
    {"", "ReduceProd", kFirst, kLast, 1, reduce<Op::k_reduce_prod>},
    {"", "ReduceSum", kFirst, kLast, 1, reduce<Op::k_reduce_sum>},
    {"", "ReduceSumSquare", kFirst, kLast, 1, import_reduce_sum_square},
    {"", "Relu", kFirst, kLast, 1, unary<Op::k_relu>},
    {"", "Reshape", kFirst, kLast, 2, import_reshape},
    {"", "RotaryEmbedding", 23, kLast, 3, import_rotary_embedding},
    {"", "Round", 11, kLast, 1, unary<Op::k_round>},
    {"", "ScatterND", 11, kLast, 3, import_scatter_nd},
    {"", "Selu", kFirst, kLast, 1, import_selu},
    {"", "SequenceAt", 11, kLast, 2, import_sequence_at, true},
    {"", "SequenceConstruct", 11, kLast, 1, import_sequence_construct},
    {"", "SequenceLength", 11, kLast, 1, import_sequence_length, true},
    {"", "Shape", kFirst, kLast, 1, import_shape},
    {"", "Sigmoid", kFirst, kLast, 1, unary<Op::k_sigmoid>},
    {"", "Sign", kFirst, kLast, 1, unary<Op::k_sign>},
    {"", "Sin", kFirst, kLast, 1, unary<Op::k_sin>},
    {"", "Size", kFirst, kLast, 1, import_size},
    {"", "Slice", kFirst, kLast, 3, import_slice},
    {"", "Softmax", kFirst, 12, 1, softmax_flat<Op::k_softmax>},
    {"", "Softmax", 13, kLast, 1, softmax<Op::k_softmax>},
    {"", "Softplus", kFirst, kLast, 1, unary<Op::k_softplus>},
    {"", "Softsign", kFirst, kLast, 1, import_softsign},
    {"", "Split", kFirst, kLast, 1, import_split},
    {"", "SplitToSequence", 11, kLast, 1, import_split_to_sequence},
    {"", "Sqrt", kFirst, kLast, 1, unary<Op::k_sqrt>},
    {"", "Squeeze", kFirst, kLast, 1, import_squeeze},
    {"", "Sub", kFirst, kLast, 2, binary<Op::k_sub>},
    {"", "Sum", kFirst, kLast, 1, fold_inputs<Op::k_add>},
    {"", "Swish", 24, kLast, 1, import_swish},
    {"", "Tanh", kFirst, kLast, 1, unary<Op::k_tanh>},
    {"", "ThresholdedRelu", kFirst, kLast, 1, import_thresholded_relu},
    {"", "Tile", kFirst, kLast, 2, import_tile},
    {"", "Transpose", kFirst, kLast, 1, import_transpose},
    {"", "Trilu", 14, kLast, 1, import_trilu},
    {"", "Unsqueeze", kFirst, kLast, 1, import_unsqueeze},
    {"", "Where", kFirst, kLast, 3, import_where},
    {"", "Xor", kFirst, kLast, 2, binary<Op::k_xor>},
    // ONNX Runtime registers its simplified norm among the standard operators.
    {"", "SimplifiedLayerNormalization", kFirst, kLast, 2, import_rms_norm},
    {"com.microsoft", "Attention", 1, 1, 2, import_packed_attention},
    {"com.microsoft", "BiasGelu", 1, 1, 2, import_bias_gelu},
    {"com.microsoft", "EmbedLayerNormalization", 1, 1, 1, import_embed_layer_norm},
    {"com.microsoft", "FastGelu", 1, 1, 1, import_fast_gelu},
    {"com.microsoft", "FusedMatMul", 1, 1, 2, import_fused_matmul},
    {"com.microsoft", "Gelu", 1, 1, 1, unary<Op::k_gelu>},
    {"com.microsoft", "MultiHeadAttention", 1, 1, 1, import_multi_head_attention},
    {"com.microsoft", "QuickGelu", 1, 1, 1, import_quick_gelu},
    {"com.microsoft", "SkipLayerNormalization", 1, 1, 3, import_skip_layer_norm},
    {"com.microsoft", "SkipSimplifiedLayerNormalization", 1, 1, 3, import_skip_rms_norm},
};

}  // namespace

std::span<const OpRow> op_table() { return kRows; }

const OpRow* find_op(std::string_view domain, std::string_view name, int64_t opset) {
  const auto row = std::find_if(std::begin(kRows), std::end(kRows), [&](const OpRow& r) {
    return r.name == name && r.domain == domain && r.first <= opset && opset <= r.last;
  });
  return row == std::end(kRows) ? nullptr : row;
}

}  // namespace tenon::onnx
