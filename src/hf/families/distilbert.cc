// DistilBERT (Sanh et al., 2019): half of BERT's layers, no sentence embeddings, no pooler, its own names.
#include "hf/family.h"

namespace tenon::hf {
namespace {

Value encode(Assembler& a) {
  static constexpr LayerNames kNames = {
      .query = "attention.q_lin",
      .key = "attention.k_lin",
      .value = "attention.v_lin",
      .attention_output = "attention.out_lin",
      .attention_norm = "sa_layer_norm",
      .inner = "ffn.lin1",
      .outer = "ffn.lin2",
      .output_norm = "output_layer_norm",
  };
  const Config& c = a.config;
  const std::string embeddings = a.base + "embeddings.";
  a.net.set_scope("embeddings");
  Value x = a.embedding(a.input_ids, embeddings + "word_embeddings", c.vocab_size, c.hidden_size);
  x = a.net.add(x, a.embedding(a.positions(), embeddings + "position_embeddings", c.max_positions, c.hidden_size));
  x = a.layer_norm(x, embeddings + "LayerNorm");
  const Value bias = a.net.padding_bias(a.attention_mask);
  for (int64_t i = 0; i < c.layers; ++i)
    x = a.transformer_layer(x, bias, fmt::format("{}transformer.layer.{}.", a.base, i), kNames);
  return x;
}

Value classify(Assembler& a, Value hidden) {
  const Value x = a.net.relu(a.linear(a.net.select(hidden, 1, 0), "pre_classifier", a.config.hidden_size));
  return a.linear(x, "classifier", static_cast<int64_t>(a.config.labels.size()));
}

Value predict_words(Assembler& a, Value rows) {
  const Value x = a.net.activation(a.linear(rows, "vocab_transform", a.config.hidden_size), a.config.activation);
  return a.vocabulary(a.layer_norm(x, "vocab_layer_norm"), "vocab_projector", "vocab_projector.bias");
}

}  // namespace

const Family kDistilBert = {"distilbert", "distilbert.", encode, classify, predict_words};

}  // namespace tenon::hf
