// config.json: what a checkpoint's weights are put together to. Families name the same numbers differently; here they
// have one name each.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "tenon/network.h"

namespace tenon::hf {

struct Config {
  std::string model_type;    // "bert", "roberta" …
  std::string architecture;  // the class that was saved, "BertForMaskedLM"; empty where the file does not say
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t embedding_size = 0;  // ELECTRA; hidden_size elsewhere
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t intermediate_size = 0;
  int64_t max_positions = 0;
  int64_t type_vocab_size = 0;
  int64_t pad_token_id = 0;
  double layer_norm_eps = 1e-12;
  Activation activation = Activation::kGelu;
  bool tied_embeddings = true;
  std::string problem_type;         // "regression", "multi_label_classification" … or empty
  std::vector<std::string> labels;  // by index; LABEL_0 and LABEL_1 where the file names none
};

// Absent fields have the family's defaults, as in transformers. Errors: not-found, bad-model (a size that makes no
// sense), unsupported (a family, activation or kind of position embedding that Tenon does not import: named).
Result<Config> read_config(const std::string& path);

}  // namespace tenon::hf
