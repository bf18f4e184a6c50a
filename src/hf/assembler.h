// What every family's encoder and heads are put together with: the network, the configuration and the weights by name.
#pragma once

#include <string>

#include "hf/config.h"
#include "hf/weight_source.h"
#include "tenon/network.h"

namespace tenon::hf {

// Where one encoder layer's weights stand, after its prefix: "attention.self.query" + ".weight".
struct LayerNames {
  const char *query, *key, *value, *attention_output, *attention_norm;
  const char *inner, *outer, *output_norm;
};

class Assembler {
 public:
  // `prefix` is where a model with a head keeps the encoder's weights ("bert."); a bare encoder's names go without.
  Assembler(Config model_config, WeightSource source, const std::string& prefix);

  Network net;
  const Config config;
  WeightSource weights;
  const std::string base;  // the prefix, or empty
  Value input_ids;         // i64[batch, seq]; absent where images are read
  Value attention_mask;    // i64[batch, seq]; likewise
  Value pixel_values;      // f32[batch, channels, image_size, image_size]; absent where texts are read

  // x W^T + b with name.weight [out, in], where in is x's last size, and name.bias [out].
  Value linear(Value x, const std::string& name, int64_t out);
  Value embedding(Value ids, const std::string& name, int64_t rows, int64_t width);
  Value layer_norm(Value x, const std::string& name);

  // 0, 1, 2, … for all sequences: i64[seq].
  Value positions();
  // Positions counted over tokens other than `pad`, from pad + 1 on; `pad` itself keeps position `pad`: i64[batch,
  // seq].
  Value positions_without_padding(int64_t pad);

  // One post-norm Transformer layer; bias is added to the attention's scores.
  Value transformer_layer(Value x, Value bias, const std::string& prefix, const LayerNames& names);
  // tanh of a linear layer on the first row; its weights are pooler.dense, or pooler in ALBERT.
  bool has_pooler() const { return weights.has(pooler_name() + ".weight"); }
  Value pooler(Value hidden);
  // Scores of all words: the matrix is the word embeddings' where they are tied, else `decoder`.weight; the bias is the
  // first of `decoder`.bias and `bias` that the checkpoint has.
  Value vocabulary(Value x, const std::string& decoder, const std::string& bias);

 private:
  std::string pooler_name() const { return base + (config.model_type == "albert" ? "pooler" : "pooler.dense"); }
};

}  // namespace tenon::hf
