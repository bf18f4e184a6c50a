// RoBERTa, XLM-RoBERTa and CamemBERT: BERT's layers; positions are counted over tokens that are not padding.
#include "hf/family.h"

namespace tenon::hf {
namespace {

Value encode(Assembler& a) {
  const Value positions = a.positions_without_padding(a.config.pad_token_id);
  return bert_layers(a, bert_embeddings(a, positions, a.config.hidden_size));
}

Value classify(Assembler& a, Value hidden) { return classify_first_row(a, hidden, Activation::kTanh); }

int64_t reserved_positions(const Config& c) { return c.pad_token_id + 1; }

}  // namespace

const Family kRoberta = {"roberta", "roberta.", encode, classify, predict_by_lm_head, reserved_positions};

}  // namespace tenon::hf
