// The families of checkpoints: how each puts its encoder and its heads together. One file each; the list is in
// family.cc.
#pragma once

#include <span>
#include <string_view>

#include "hf/assembler.h"

namespace tenon::hf {

struct Family {
  std::string_view name;    // "bert": ir::Model's architecture
  std::string_view prefix;  // of the encoder's weights in a model with a head
  // From the inputs to the last hidden states [batch, seq, hidden].
  Value (*encode)(Assembler&);
  // Classification of sequences and images: hidden [batch, seq, hidden] -> logits [batch, labels].
  Value (*classify)(Assembler&, Value hidden);
  // Masked words: rows [..., hidden] -> logits [..., vocab]; null: there are no words.
  Value (*predict_words)(Assembler&, Value rows);
  // Positions that the table has beyond the longest sequence: where ids of padding take some; null: none.
  int64_t (*reserved_positions)(const Config&) = nullptr;
  // What stands before the classifier of tokens and of answers; null: nothing.
  Value (*transform)(Assembler&, Value rows) = nullptr;
};

extern const Family kBert, kRoberta, kDistilBert, kElectra, kMpnet, kAlbert, kModernBert, kDebertaV2, kVit;

// The family of config.json's model_type; every type that read_config lets through has one.
const Family& find_family(std::string_view model_type);

// Shared by the families that BERT's layout lives on in: words + sentences + positions [seq] or [batch, seq],
// normalised, and the layers. Makes the input token_type_ids where there is more than one type.
Value bert_embeddings(Assembler& a, Value positions, int64_t width);
Value bert_layers(Assembler& a, Value x);

// The pooler and a linear: how BERT and ALBERT classify sequences.
Value classify_pooled(Assembler& a, Value hidden);
// dense, activation, out_proj on the first row: how RoBERTa, ELECTRA and MPNet classify sequences.
Value classify_first_row(Assembler& a, Value hidden, Activation activation);
// lm_head: dense, gelu, layer_norm, decoder: how RoBERTa and MPNet predict words.
Value predict_by_lm_head(Assembler& a, Value rows);

}  // namespace tenon::hf
