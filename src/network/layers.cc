// Network's Transformer layers, as the operators that they are made of: the passes fuse them again, with everything
// around them, whether they came from here or from an exported model.
#include <fmt/core.h>

#include <cmath>

#include "network/network_impl.h"
#include "ops/op_def.h"

namespace tenon {

using ir::Op;

Value Network::embedding(Value ids, const Weights& table) {
  const Value rows = impl_->parameter(table);
  if (rows.rank() != 2) impl_->fail("embedding", "the table is " + rows.type() + ", not [rows, hidden]");
  return impl_->emit("embedding", Op::k_gather, {rows, ids}, {{"axis", int64_t{0}}});
}

Value Network::linear(Value x, const Weights& weight, const Weights& bias, LinearLayout layout) {
  const Value matrix = impl_->parameter(weight);
  if (matrix.rank() != 2) impl_->fail("linear", "the weight is " + matrix.type() + ", not a matrix");
  std::vector<Value> inputs{x, layout == LinearLayout::kOutIn ? transpose(matrix, {1, 0}) : matrix};
  if (bias) inputs.push_back(impl_->parameter(bias));
  return impl_->emit("linear", Op::k_linear, std::move(inputs));
}

Value Network::layer_norm(Value x, const LayerNormWeights& weights, double epsilon) {
  std::vector<Value> inputs{x, impl_->parameter(weights.gamma)};
  if (weights.beta) inputs.push_back(impl_->parameter(weights.beta));
  return impl_->emit("layer_norm", Op::k_layer_norm, std::move(inputs), {{"axis", int64_t{-1}}, {"epsilon", epsilon}});
}

Value Network::padding_bias(Value mask) {
  if (impl_->own("padding_bias", mask)->rank() != 2)
    impl_->fail("padding_bias", "the mask is " + mask.type() + ", not [batch, seq]");
  const Value keep = shuffle(cast(mask, DType::kF32), {0, 1, 1, -1}, {});
  return scale(sub(scalar(1), keep), std::numeric_limits<float>::lowest());
}

Value Network::self_attention(Value x, const AttentionWeights& weights, int64_t heads, Value mask) {
  if (impl_->own("self_attention", x)->rank() != 3)
    impl_->fail("self_attention", "x is " + x.type() + ", not [batch, seq, hidden]");
  Value q = linear(x, weights.query, weights.query_bias, weights.layout);
  Value k = linear(x, weights.key, weights.key_bias, weights.layout);
  Value v = linear(x, weights.value, weights.value_bias, weights.layout);
  const int64_t width = q.dim(-1);
  if (heads < 1 || width % heads != 0)
    impl_->fail("self_attention", fmt::format("{} columns do not divide by {} heads", width, heads));
  const int64_t head_size = width / heads;

  q = shuffle(q, {0, 0, heads, head_size}, {0, 2, 1, 3});  // [batch, heads, seq, head_size]
  k = shuffle(k, {0, 0, heads, head_size}, {0, 2, 3, 1});  // [batch, heads, head_size, seq]
  v = shuffle(v, {0, 0, heads, head_size}, {0, 2, 1, 3});

  Value scores = scale(matmul(q, k), 1 / std::sqrt(static_cast<double>(head_size)));
  if (mask) scores = add(scores, mask.rank() == 2 ? padding_bias(mask) : mask);
  Value attended = matmul(softmax(scores, -1), v);
  attended = reshape(transpose(attended, {0, 2, 1, 3}), {0, 0, width});
  return weights.output ? linear(attended, weights.output, weights.output_bias, weights.layout) : attended;
}

Value Network::feed_forward(Value x, const FeedForwardWeights& weights, Activation kind) {
  const Value inner = activation(linear(x, weights.inner, weights.inner_bias, weights.layout), kind);
  return linear(inner, weights.outer, weights.outer_bias, weights.layout);
}

Value Network::pooler(Value x, const Weights& weight, const Weights& bias, LinearLayout layout) {
  return activation(linear(select(x, 1, 0), weight, bias, layout), Activation::kTanh);
}

Value Network::pooling(Value x, Value mask, Pooling kind) {
  if (impl_->own("pooling", x)->rank() != 3) impl_->fail("pooling", "x is " + x.type() + ", not [batch, seq, hidden]");
  if (kind == Pooling::kFirst) return select(x, 1, 0);
  const Value keep = reshape(cast(mask, DType::kF32), {0, 0, 1});  // [batch, seq, 1]
  if (kind == Pooling::kMax) {
    const Value hidden = elementwise(Elementwise::kEqual, keep, scalar(0));
    return reduce(Reduce::kMax, where(hidden, scalar(-1e9), x), {1});
  }
  const Value sum = reduce(Reduce::kSum, mul(x, keep), {1});
  // An empty sequence gives 0, not 0 / 0.
  const Value count = elementwise(Elementwise::kMax, reduce(Reduce::kSum, keep, {1}), scalar(1e-9));
  return div(sum, kind == Pooling::kMean ? count : unary(Unary::kSqrt, count));
}

Value Network::l2_normalize(Value x, double epsilon) {
  const int rank = impl_->own("l2_normalize", x)->rank();
  const Value norm = impl_->emit("l2_normalize", Op::k_reduce_l2, {x},
                                 {{"axes", std::vector<int64_t>{rank - 1}}, {"keepdims", int64_t{1}}});
  return div(x, elementwise(Elementwise::kMax, norm, scalar(epsilon)));
}

}  // namespace tenon
