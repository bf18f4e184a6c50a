// ALBERT (Lan et al., 2019): narrow embeddings with a projection behind them, and layers that share their weights.
#include "hf/family.h"

namespace tenon::hf {
namespace {

Value encode(Assembler& a) {
  static constexpr LayerNames kNames = {
      .query = "attention.query",
      .key = "attention.key",
      .value = "attention.value",
      .attention_output = "attention.dense",
      .attention_norm = "attention.LayerNorm",
      .inner = "ffn",
      .outer = "ffn_output",
      .output_norm = "full_layer_layer_norm",
  };
  const Config& c = a.config;
  Value x = bert_embeddings(a, a.positions(), c.embedding_size);
  a.net.set_scope("encoder");
  x = a.linear(x, a.base + "encoder.embedding_hidden_mapping_in", c.hidden_size);
  const Value bias = a.net.padding_bias(a.attention_mask);
  for (int64_t i = 0; i < c.layers; ++i) {
    const int64_t group = i * c.layer_groups / c.layers;
    for (int64_t part = 0; part < c.group_layers; ++part) {
      const std::string prefix = fmt::format("{}encoder.albert_layer_groups.{}.albert_layers.{}.", a.base, group, part);
      x = a.transformer_layer(x, bias, prefix, kNames);
    }
  }
  return x;
}

Value predict_words(Assembler& a, Value rows) {
  const std::string head = "predictions.";
  Value x = a.net.activation(a.linear(rows, head + "dense", a.config.embedding_size), a.config.activation);
  x = a.layer_norm(x, head + "LayerNorm");
  return a.vocabulary(x, head + "decoder", head + "bias");
}

}  // namespace

const Family kAlbert = {"albert", "albert.", encode, classify_pooled, predict_words};

}  // namespace tenon::hf
