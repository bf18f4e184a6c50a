// A sentence-transformers folder: modules.json lists what follows the encoder.
#pragma once

#include <string>
#include <vector>

#include "hf/assembler.h"

namespace tenon::hf {

struct SentenceModules {
  std::string encoder_folder;    // where config.json and the weights are, within the folder; empty: the folder itself
  std::vector<Pooling> pooling;  // several are concatenated
  struct Dense {
    std::string folder;  // "2_Dense"
    int64_t out = 0;
    bool bias = true;
    Activation activation = Activation::kTanh;
  };
  std::vector<Dense> dense;
  bool normalize = false;
  std::string similarity;  // "cosine", "dot" …; empty where not said
  int64_t max_tokens = 0;  // 0: not said
};

bool is_sentence_transformer(const std::string& folder);

// Errors: bad-model (a module's path leaves the folder, contradictions), unsupported (modules and pooling modes that
// Tenon does not have: named).
Result<SentenceModules> read_sentence_modules(const std::string& folder);

// hidden [batch, seq, hidden] -> sentence embedding [batch, size].
Result<Value> embed_sentences(Assembler& a, const SentenceModules& modules, const std::string& folder, Value hidden);

}  // namespace tenon::hf
