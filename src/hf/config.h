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
  int64_t embedding_size = 0;  // ELECTRA, ALBERT; hidden_size elsewhere
  int64_t layers = 0;
  int64_t layer_groups = 1, group_layers = 1;  // ALBERT: layers of a group share their weights; parts of one layer
  int64_t heads = 0;
  int64_t intermediate_size = 0;
  int64_t max_positions = 0;
  int64_t type_vocab_size = 0;
  int64_t pad_token_id = 0;
  double layer_norm_eps = 1e-12;
  Activation activation = Activation::kGelu;
  bool tied_embeddings = true;
  // ModernBERT.
  bool norm_bias = true, attention_bias = true, mlp_bias = true, classifier_bias = true, decoder_bias = true;
  bool mean_classifier = false;             // sequences are classified by the mean of their rows, not by the first
  int64_t local_attention = 0;              // positions that a local layer's window spans, without the query's own
  std::vector<bool> attends_globally = {};  // by layer
  double global_rope_theta = 0, local_rope_theta = 0;
  Activation classifier_activation = Activation::kGelu;
  // DeBERTa-v2.
  int64_t distance_rows = 0;     // of the table of relative positions, twice its reach; 0: there is none
  int64_t max_distance = 0;      // from here on all distances have the last row
  int64_t position_buckets = 0;  // rows for distances that grow by their logarithm; 0: a row for each
  bool norm_distances = false, share_distance_projections = false;
  bool content_to_position = false, position_to_content = false, position_input = true;
  // ViT. Images are square.
  int64_t image_size = 0, patch_size = 0, channels = 3;

  std::string problem_type;         // "regression", "multi_label_classification" … or empty
  std::vector<std::string> labels;  // by index; LABEL_0 and LABEL_1 where the file names none
};

// What a config.json says of a model's classes, whatever the model is: it may have been exported to ONNX.
struct Classes {
  std::vector<std::string> labels;  // by index; empty where the file names none
  std::string problem_type;         // as in Config
};
// Errors: not-found, bad-model.
Result<Classes> read_classes(const std::string& path);

// Absent fields have the family's defaults, as in transformers. Errors: not-found, bad-model (a size that makes no
// sense), unsupported (a family, activation or kind of position embedding that Tenon does not import: named).
Result<Config> read_config(const std::string& path);

}  // namespace tenon::hf
