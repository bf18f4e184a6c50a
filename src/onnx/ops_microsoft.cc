// Fused operators of ONNX Runtime's com.microsoft domain, written out in the ops that they were fused from.
#include <cmath>

#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

Result<Value*> add_optional(Call& c, Value* x, Value* bias) {
  return bias == nullptr ? Result<Value*>(x) : c.emit(Op::k_add, {x, bias});
}

// What hides keys, as [batch, 1, 1, keys] of bool: a mask per key, or the number of keys of each sequence.
Result<Value*> keys_to_keep(Call& c, Value* mask, const Dim& keys) {
  const Shape& shape = mask->shape();
  if (shape.size() == 2) {
    TENON_ASSIGN(auto* keep, c.cast(mask, DType::kBool));
    return c.reshape(keep, {shape[0], Dim(1), Dim(1), shape[1]});
  }
  if (shape.size() != 1) return error(ErrorCode::kUnsupported, "a mask of rank {}", shape.size());
  TENON_ASSIGN(auto* lengths, c.cast(mask, DType::kI64));
  TENON_ASSIGN(lengths, c.reshape(lengths, {shape[0], Dim(1), Dim(1), Dim(1)}));
  TENON_ASSIGN(auto* key,
               c.emit(Op::k_iota, {}, {{"start", Shape{Dim(0)}}, {"size", Shape{keys}}, {"dtype", DType::kI64}}));
  return c.emit(Op::k_less, {key, lengths});
}

// x + skip + bias, which a model may also read as output 3.
Result<Value*> skip_sum(Call& c, Value* bias) {
  TENON_ASSIGN(auto* sum, c.emit(Op::k_add, {c.input(0), c.input(1)}));
  TENON_ASSIGN(sum, add_optional(c, sum, bias));
  TENON_TRY(c.yield(sum, 3));
  return sum;
}

Result<Value*> lookup_rows(Call& c, Value* table, Value* indices) {
  return c.emit(Op::k_gather, {table, indices}, {{"axis", 0}});
}

}  // namespace

Result<Value*> attend(Call& c, Value* q, Value* k, Value* v, Value* mask, Value* bias) {
  const int64_t heads = c.integer("num_heads", 0);
  if (c.integer("unidirectional", 0) != 0) return error(ErrorCode::kUnsupported, "unidirectional is set");
  TENON_ASSIGN(q, split_heads(c, q, heads));
  TENON_ASSIGN(k, split_heads(c, k, heads));
  TENON_ASSIGN(v, split_heads(c, v, heads));
  const Dim width = q->shape()[3], keys = k->shape()[2];
  double scale = c.number("scale", 0);
  if (scale == 0 && !width.is_const())
    return error(ErrorCode::kUnsupported, "the head size {} is not constant", width.to_string());
  if (scale == 0) scale = 1.0 / std::sqrt(static_cast<double>(width.value()));
  TENON_ASSIGN(k, c.transpose(k, {0, 1, 3, 2}));
  TENON_ASSIGN(auto* scores, c.emit(Op::k_matmul, {q, k}));
  const DType dtype = scores->dtype();
  TENON_ASSIGN(scores, c.emit(Op::k_mul, {scores, c.scalar(dtype, scale)}));
  if (mask != nullptr) {
    TENON_ASSIGN(auto* keep, keys_to_keep(c, mask, keys));
    TENON_ASSIGN(
        mask, c.emit(Op::k_where, {keep, c.scalar(dtype, 0), c.scalar(dtype, c.number("mask_filter_value", -10000))}));
  }
  TENON_ASSIGN(scores, add_optional(c, scores, mask));
  TENON_ASSIGN(scores, add_optional(c, scores, bias));
  TENON_ASSIGN(scores, c.emit(Op::k_softmax, {scores}, {{"axis", -1}}));
  TENON_ASSIGN(auto* y, c.emit(Op::k_matmul, {scores, v}));
  TENON_ASSIGN(y, c.transpose(y, {0, 2, 1, 3}));
  const Shape& s = y->shape();
  return c.reshape(y, {s[0], s[1], s[2] * s[3]});
}

Status import_bias_gelu(Call& c) {
  TENON_ASSIGN(auto* x, c.emit(Op::k_add, {c.input(0), c.input(1)}));
  return c.yield(Op::k_gelu, {x}, {{"approximate", "none"}});
}

Status import_fast_gelu(Call& c) {
  TENON_ASSIGN(auto* x, add_optional(c, c.input(0), c.input(1)));
  return c.yield(Op::k_gelu, {x}, {{"approximate", "tanh"}});
}

// y = x sigmoid(alpha x)
Status import_quick_gelu(Call& c) {
  Value* x = c.input(0);
  const double alpha = c.number("alpha", 1.702F);
  if (std::abs(alpha - 1.702) < 1e-6) return c.yield(Op::k_gelu, {x}, {{"approximate", "sigmoid"}});
  TENON_ASSIGN(auto* t, c.emit(Op::k_mul, {x, c.scalar(x->dtype(), alpha)}));
  TENON_ASSIGN(t, c.emit(Op::k_sigmoid, {t}));
  return c.yield(Op::k_mul, {x, t});
}

// Inputs: x, skip, gamma, beta?, bias?
Status import_skip_layer_norm(Call& c) {
  TENON_ASSIGN(auto* sum, skip_sum(c, c.input(4)));
  return c.yield(Op::k_layer_norm, {sum, c.input(2), c.input(3)},
                 {{"axis", -1}, {"epsilon", c.number("epsilon", 1e-12)}});
}

// Inputs: x, skip, gamma, bias?
Status import_skip_rms_norm(Call& c) {
  TENON_ASSIGN(auto* sum, skip_sum(c, c.input(3)));
  return c.yield(Op::k_rms_norm, {sum, c.input(2)}, {{"axis", -1}, {"epsilon", c.number("epsilon", 1e-12)}});
}

// Inputs: ids, segments?, words, positions, segment table?, gamma, beta, mask?, position ids?. Outputs: the normalised
// sum of embeddings; how many tokens each row's mask keeps; the sum.
Status import_embed_layer_norm(Call& c) {
  Value* ids = c.input(0);
  if (ids->rank() != 2) return error(ErrorCode::kBadModel, "ids of rank {}, expected 2", ids->rank());
  for (const int i : {2, 3, 5, 6})
    if (c.input(i) == nullptr) return error(ErrorCode::kBadModel, "input {} is missing", i);
  TENON_ASSIGN(auto* sum, lookup_rows(c, c.input(2), ids));
  Value* positions = c.input(8);
  if (positions == nullptr) {
    TENON_ASSIGN(
        positions,
        c.emit(Op::k_iota, {}, {{"start", Shape{Dim(0)}}, {"size", Shape{ids->shape()[1]}}, {"dtype", DType::kI64}}));
  }
  TENON_ASSIGN(auto* rows, lookup_rows(c, c.input(3), positions));
  TENON_ASSIGN(sum, c.emit(Op::k_add, {sum, rows}));
  if (c.input(1) != nullptr && c.input(4) != nullptr) {
    TENON_ASSIGN(rows, lookup_rows(c, c.input(4), c.input(1)));
    TENON_ASSIGN(sum, c.emit(Op::k_add, {sum, rows}));
  }
  TENON_TRY(c.yield(sum, 2));
  if (c.wants(1)) {
    Value* mask = c.input(7);
    if (mask == nullptr) return error(ErrorCode::kUnsupported, "output 1 without a mask");
    TENON_ASSIGN(mask, c.cast(mask, DType::kI32));
    TENON_TRY(c.yield(c.emit(Op::k_reduce_sum, {mask}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", 0}}), 1));
  }
  return c.yield(Op::k_layer_norm, {sum, c.input(5), c.input(6)},
                 {{"axis", -1}, {"epsilon", c.number("epsilon", 1e-12)}});
}

// y = alpha A' B', the last two axes transposed where asked for.
Status import_fused_matmul(Call& c) {
  if (c.integer("transBatchA", 0) != 0 || c.integer("transBatchB", 0) != 0)
    return error(ErrorCode::kUnsupported, "transBatch is set");
  Value* sides[2] = {c.input(0), c.input(1)};
  for (int i = 0; i < 2; ++i) {
    Value*& side = sides[i];
    if (c.integer(i == 0 ? "transA" : "transB", 0) == 0 || side->rank() < 2) continue;
    std::vector<int64_t> perm;
    for (int axis = 0; axis < side->rank(); ++axis) perm.push_back(axis);
    std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
    TENON_ASSIGN(side, c.transpose(side, std::move(perm)));
  }
  TENON_ASSIGN(auto* y, c.emit(Op::k_matmul, {sides[0], sides[1]}));
  const double alpha = c.number("alpha", 1);
  return alpha == 1 ? c.yield(y) : c.yield(Op::k_mul, {y, c.scalar(y->dtype(), alpha)});
}

Result<Value*> attend_packed(Call& c, Value* qkv, Value* mask, Value* bias) {
  const Dim& columns = qkv->shape().back();
  Shape widths = ir::to_shape(c.integers("qkv_hidden_sizes"));
  if (widths.empty()) {
    const auto third = columns.exact_div(Dim(3));
    if (!third) return error(ErrorCode::kBadModel, "{} columns are not three equal parts", columns.to_string());
    widths.assign(3, *third);
  }
  if (widths.size() != 3 || qkv->rank() != 3)
    return error(ErrorCode::kBadModel, "qkv_hidden_sizes of {} entries, an input of rank {}", widths.size(),
                 qkv->rank());
  TENON_ASSIGN(auto* q, c.slice(qkv, 2, Dim(0), widths[0]));
  TENON_ASSIGN(auto* k, c.slice(qkv, 2, widths[0], widths[0] + widths[1]));
  TENON_ASSIGN(auto* v, c.slice(qkv, 2, widths[0] + widths[1], columns));
  return attend(c, q, k, v, mask, bias);
}

// Inputs: x, the merged Q/K/V weight, its bias?, mask?, past?, attention bias?
Status import_packed_attention(Call& c) {
  if (c.input(4) != nullptr || c.wants(1)) return error(ErrorCode::kUnsupported, "past keys and values");
  if (c.integer("do_rotary", 0) != 0) return error(ErrorCode::kUnsupported, "do_rotary is set");
  TENON_ASSIGN(auto* qkv, c.emit(Op::k_matmul, {c.input(0), c.input(1)}));
  TENON_ASSIGN(qkv, add_optional(c, qkv, c.input(2)));
  return c.yield(attend_packed(c, qkv, c.input(3), c.input(5)));
}

// Inputs: q, k, v, bias of all three?, key padding mask?, attention bias?
Status import_multi_head_attention(Call& c) {
  for (int i = 6; i < c.num_inputs(); ++i)
    if (c.input(i) != nullptr) return error(ErrorCode::kUnsupported, "past keys and values");
  Value* parts[3] = {c.input(0), c.input(1), c.input(2)};
  if (parts[1] == nullptr || parts[2] == nullptr) return error(ErrorCode::kUnsupported, "packed inputs");
  Dim begin(0);
  for (Value*& part : parts) {
    if (c.input(3) == nullptr) break;
    if (part->rank() != 3) return error(ErrorCode::kUnsupported, "an input of rank {}", part->rank());
    const Dim end = begin + part->shape()[2];
    TENON_ASSIGN(auto* bias, c.slice(c.input(3), 0, begin, end));
    TENON_ASSIGN(part, c.emit(Op::k_add, {part, bias}));
    begin = end;
  }
  return c.yield(attend(c, parts[0], parts[1], parts[2], c.input(4), c.input(5)));
}

namespace {

// The activation that a fused product names; its parameters are attributes of the node.
Result<Value*> activate(Call& c, Value* x) {
  const std::string name = c.text("activation", "");
  const std::vector<float> parameters = c.numbers("activation_params");
  const auto parameter = [&](size_t i, const char* own, double fallback) {
    return i < parameters.size() ? static_cast<double>(parameters[i]) : c.number(own, fallback);
  };
  if (name.empty()) return x;
  if (name == "Relu") return c.emit(Op::k_relu, {x});
  if (name == "Tanh") return c.emit(Op::k_tanh, {x});
  if (name == "Sigmoid") return c.emit(Op::k_sigmoid, {x});
  if (name == "LeakyRelu") return c.emit(Op::k_leaky_relu, {x}, {{"alpha", parameter(0, "activation_alpha", 0.01)}});
  if (name == "Clip") {
    TENON_ASSIGN(x, c.with(Op::k_max, x, parameter(0, "activation_alpha", 0)));
    return c.with(Op::k_min, x, parameter(1, "activation_beta", 0));
  }
  return error(ErrorCode::kUnsupported, "activation '{}'", name);
}

}  // namespace

Status import_fused_gemm(Call& c) {
  TENON_ASSIGN(auto* y, general_product(c));
  return c.yield(activate(c, y));
}

// Inputs: x, w, bias?, what is added before the activation?
Status import_fused_conv(Call& c) {
  TENON_ASSIGN(auto* y, convolve(c, c.input(0), c.input(1), c.input(2)));
  TENON_ASSIGN(y, add_optional(c, y, c.input(3)));
  return c.yield(activate(c, y));
}

Status import_gemm_fast_gelu(Call& c) {
  TENON_ASSIGN(auto* y, c.emit(Op::k_matmul, {c.input(0), c.input(1)}));
  TENON_ASSIGN(y, add_optional(c, y, c.input(2)));
  return c.yield(Op::k_gelu, {y}, {{"approximate", "tanh"}});
}

}  // namespace tenon::onnx
