// BERT (Devlin et al., 2018): words + sentence + position embeddings, then Transformer layers with the norm after each
// part.
#include "hf/family.h"

namespace tenon::hf {

Value bert_embeddings(Assembler& a, Value positions, int64_t width) {
  Network& net = a.net;
  const Config& c = a.config;
  const std::string name = a.base + "embeddings.";
  net.set_scope("embeddings");
  Value x = a.embedding(a.input_ids, name + "word_embeddings", c.vocab_size, width);
  Value position_table = net.constant(a.weights.get(name + "position_embeddings.weight", {c.max_positions, width}));
  if (c.type_vocab_size == 1) {
    // All tokens are of the one type: its row joins every position's, and nothing is left to look up.
    position_table =
        net.add(position_table, net.constant(a.weights.get(name + "token_type_embeddings.weight", {1, width})));
  } else if (c.type_vocab_size > 1) {
    const Value types = net.add_input("token_type_ids", DType::kI64, {"batch", "seq"});
    x = net.add(x, a.embedding(types, name + "token_type_embeddings", c.type_vocab_size, width));
  }
  return a.layer_norm(net.add(x, net.gather(position_table, positions)), name + "LayerNorm");
}

Value bert_layers(Assembler& a, Value x) {
  static constexpr LayerNames kNames = {
      .query = "attention.self.query",
      .key = "attention.self.key",
      .value = "attention.self.value",
      .attention_output = "attention.output.dense",
      .attention_norm = "attention.output.LayerNorm",
      .inner = "intermediate.dense",
      .outer = "output.dense",
      .output_norm = "output.LayerNorm",
  };
  const Value bias = a.net.padding_bias(a.attention_mask);
  for (int64_t i = 0; i < a.config.layers; ++i) {
    x = a.transformer_layer(x, bias, fmt::format("{}encoder.layer.{}.", a.base, i), kNames);
  }
  return x;
}

namespace {

Value encode(Assembler& a) { return bert_layers(a, bert_embeddings(a, a.positions(), a.config.hidden_size)); }

Value predict_words(Assembler& a, Value rows) {
  const std::string head = "cls.predictions.";
  Value x = a.net.activation(a.linear(rows, head + "transform.dense", a.config.hidden_size), a.config.activation);
  x = a.layer_norm(x, head + "transform.LayerNorm");
  return a.vocabulary(x, head + "decoder", head + "bias");
}

}  // namespace

const Family kBert = {"bert", "bert.", encode, classify_pooled, predict_words};

}  // namespace tenon::hf
