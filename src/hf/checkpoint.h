// Hugging Face checkpoints: config.json and weights, built into a graph through the Network API, without Python.
#pragma once

#include <string>

#include "ir/model.h"

namespace tenon::hf {

struct ImportOptions {
  // Models that predict masked words take the positions of those words as an input masked_positions i64[batch, masked]
  // and give logits [batch, masked, vocab]: nothing else is computed over the vocabulary. Without it: logits [batch,
  // seq, vocab].
  bool gather_masked = true;
};

// True when the folder holds a model that import_folder is meant for (modules.json, or config.json and weights),
// whether or not it is supported. Errors: not-found (no such folder).
Result<bool> is_checkpoint(const std::string& folder);

// Inputs: input_ids and attention_mask i64[batch, seq], and token_type_ids i64[batch, seq] where the family tells
// sentences apart. Outputs by what was saved: last_hidden_state (and pooler_output), logits, start_logits and
// end_logits, prediction_logits and seq_relationship_logits, or sentence_embedding. Errors: not-found, io, bad-model
// (files that are damaged or contradict each other: every missing weight is listed), unsupported (a family, class or
// module, named).
Result<ir::Model> import_folder(const std::string& folder, const ImportOptions& options = {});

}  // namespace tenon::hf
