// ELECTRA (Clark et al., 2020): BERT's layers behind embeddings that may be narrower than the layers.
#include "hf/family.h"

namespace tenon::hf {
namespace {

Value encode(Assembler& a) {
  const Config& c = a.config;
  Value x = bert_embeddings(a, a.positions(), c.embedding_size);
  if (c.embedding_size != c.hidden_size) x = a.linear(x, a.base + "embeddings_project", c.hidden_size);
  return bert_layers(a, x);
}

Value classify(Assembler& a, Value hidden) { return classify_first_row(a, hidden, Activation::kGelu); }

// The generator's head.
Value predict_words(Assembler& a, Value rows) {
  const Value x =
      a.net.activation(a.linear(rows, "generator_predictions.dense", a.config.embedding_size), Activation::kGelu);
  return a.vocabulary(a.layer_norm(x, "generator_predictions.LayerNorm"), "generator_lm_head",
                      "generator_lm_head.bias");
}

}  // namespace

const Family kElectra = {"electra", "electra.", encode, classify, predict_words};

}  // namespace tenon::hf
