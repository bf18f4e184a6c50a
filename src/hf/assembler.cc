#include "hf/assembler.h"

namespace tenon::hf {

Assembler::Assembler(Config model_config, WeightSource source, const std::string& prefix)
    : config(std::move(model_config)), weights(std::move(source)), base(weights.has_prefix(prefix) ? prefix : "") {
  if (config.image_size > 0) {
    pixel_values = net.add_input("pixel_values", DType::kF32, {"batch", config.channels, config.image_size, config.image_size});
    return;
  }
  input_ids = net.add_input("input_ids", DType::kI64, {"batch", "seq"});
  attention_mask = net.add_input("attention_mask", DType::kI64, {"batch", "seq"});
}

Value Assembler::linear(Value x, const std::string& name, int64_t out) {
  return net.linear(x, weights.get(name + ".weight", {out, x.dim(-1)}), weights.get(name + ".bias", {out}));
}

Value Assembler::embedding(Value ids, const std::string& name, int64_t rows, int64_t width) {
  return net.embedding(ids, weights.get(name + ".weight", {rows, width}));
}

Value Assembler::layer_norm(Value x, const std::string& name) {
  const int64_t width = x.dim(-1);
  return net.layer_norm(x, {weights.get(name + ".weight", {width}), weights.get(name + ".bias", {width})},
                        config.layer_norm_eps);
}

Value Assembler::positions() { return net.positions(input_ids, 1); }

Value Assembler::positions_without_padding(int64_t pad) {
  const Value pad_id = net.scalar(static_cast<double>(pad), DType::kI64);
  const Value is_pad = net.elementwise(Elementwise::kEqual, input_ids, pad_id);
  const Value counts = net.cast(net.unary(Unary::kNot, is_pad), DType::kI64);
  return net.add(net.mul(net.cumulative_sum(counts, 1), counts), pad_id);
}

Value Assembler::transformer_layer(Value x, Value bias, const std::string& prefix, const LayerNames& names) {
  net.set_scope(prefix.substr(0, prefix.size() - 1));
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const auto matrix = [&](const char* name, int64_t out, int64_t in) {
    return weights.get(prefix + name + ".weight", {out, in});
  };
  const auto vector = [&](const char* name, int64_t size) { return weights.get(prefix + name + ".bias", {size}); };

  const Value attended = net.self_attention(x,
                                            {.query = matrix(names.query, hidden, hidden),
                                             .query_bias = vector(names.query, hidden),
                                             .key = matrix(names.key, hidden, hidden),
                                             .key_bias = vector(names.key, hidden),
                                             .value = matrix(names.value, hidden, hidden),
                                             .value_bias = vector(names.value, hidden),
                                             .output = matrix(names.attention_output, hidden, hidden),
                                             .output_bias = vector(names.attention_output, hidden)},
                                            config.heads, bias);
  x = layer_norm(net.add(attended, x), prefix + names.attention_norm);
  const Value transformed = net.feed_forward(x,
                                             {.inner = matrix(names.inner, inner, hidden),
                                              .inner_bias = vector(names.inner, inner),
                                              .outer = matrix(names.outer, hidden, inner),
                                              .outer_bias = vector(names.outer, hidden)},
                                             config.activation);
  return layer_norm(net.add(transformed, x), prefix + names.output_norm);
}

Value Assembler::pooler(Value hidden) {
  const int64_t size = config.hidden_size;
  const std::string name = pooler_name();
  return net.pooler(hidden, weights.get(name + ".weight", {size, size}), weights.get(name + ".bias", {size}));
}

Value Assembler::vocabulary(Value x, const std::string& decoder, const std::string& bias) {
  const std::string own = decoder + ".weight", own_bias = decoder + ".bias";
  const std::string table = config.tied_embeddings ? base + "embeddings.word_embeddings.weight" : own;
  const std::string offset = weights.has(own_bias) ? own_bias : bias;
  // Copies of what is tied may be stored too.
  if (config.tied_embeddings) weights.ignore(own);
  weights.ignore(bias);
  return net.linear(x, weights.get(table, {config.vocab_size, x.dim(-1)}), weights.get(offset, {config.vocab_size}));
}

}  // namespace tenon::hf
