// BERT by Network calls: the embeddings, and layer by layer what self-attention, its output and the feed-forward part
// are made of. Weights come from a dictionary by name, matrices as [in, out].
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tenon/network.h"

namespace bert {

using tenon::Activation;
using tenon::DType;
using tenon::LinearLayout;
using tenon::Network;
using tenon::Value;
using tenon::Weights;

struct Config {  // BERT-base
  int64_t vocab_size = 30522;
  int64_t hidden_size = 768;
  int64_t layers = 12;
  int64_t heads = 12;
  int64_t intermediate_size = 3072;
  int64_t max_positions = 512;
  int64_t type_vocab_size = 2;
  int64_t head_size() const { return hidden_size / heads; }
};

using WeightsDict = std::map<std::string, Weights>;

// ---- The network
// -----------------------------------------------------------------------------------------------------

inline Value linear(Network& net, const WeightsDict& w, const std::string& name, Value x) {
  return net.linear(x, w.at(name + "_kernel"), w.at(name + "_bias"), LinearLayout::kInOut);
}

inline Value layer_norm(Network& net, const WeightsDict& w, const std::string& name, Value x) {
  return net.layer_norm(x, {w.at(name + "_gamma"), w.at(name + "_beta")});
}

// hidden [batch, seq, hidden] -> [batch, seq, hidden]; mask_bias [batch, 1, 1, seq].
inline Value self_attention_layer(Network& net, const std::string& prefix, const Config& config, const WeightsDict& w,
                                  Value hidden, Value mask_bias) {
  const std::vector<int64_t> by_head = {0, -1, config.heads, config.head_size()};
  const Value q = net.shuffle(linear(net, w, prefix + "attention_self_query", hidden), by_head, {0, 2, 1, 3});
  const Value k = net.shuffle(linear(net, w, prefix + "attention_self_key", hidden), by_head, {0, 2, 3, 1});
  const Value v = net.shuffle(linear(net, w, prefix + "attention_self_value", hidden), by_head, {0, 2, 1, 3});

  Value scores = net.matmul(q, k);
  scores = net.scale(scores, 1 / std::sqrt(static_cast<double>(config.head_size())));
  scores = net.add(scores, mask_bias);
  const Value attention = net.matmul(net.softmax(scores), v);
  return net.reshape(net.transpose(attention, {0, 2, 1, 3}), {0, -1, config.hidden_size});
}

inline Value self_output_layer(Network& net, const std::string& prefix, const WeightsDict& w, Value attention,
                               Value hidden) {
  const Value out = linear(net, w, prefix + "attention_output_dense", attention);
  return layer_norm(net, w, prefix + "attention_output_layernorm", net.add(out, hidden));
}

inline Value attention_layer(Network& net, const std::string& prefix, const Config& config, const WeightsDict& w,
                             Value hidden, Value mask_bias) {
  return self_output_layer(net, prefix, w, self_attention_layer(net, prefix, config, w, hidden, mask_bias), hidden);
}

inline Value feed_forward_layer(Network& net, const std::string& prefix, const WeightsDict& w, Value hidden) {
  const Value inner = net.activation(linear(net, w, prefix + "intermediate_dense", hidden), Activation::kGelu);
  const Value outer = linear(net, w, prefix + "output_dense", inner);
  return layer_norm(net, w, prefix + "output_layernorm", net.add(outer, hidden));
}

inline Value embedding_layer(Network& net, const WeightsDict& w, Value input_ids, Value token_type_ids) {
  Value x = net.embedding(input_ids, w.at("embeddings_word_embeddings"));
  x = net.add(x, net.embedding(token_type_ids, w.at("embeddings_token_type_embeddings")));
  x = net.add(x, net.embedding(net.positions(input_ids, 1), w.at("embeddings_position_embeddings")));
  return layer_norm(net, w, "embeddings_layernorm", x);
}

// Inputs input_ids, attention_mask, token_type_ids i64[batch, seq]; outputs last_hidden_state f32[batch, seq, hidden]
// and pooler_output f32[batch, hidden].
inline Network build(const Config& config, const WeightsDict& w) {
  Network net;
  const Value input_ids = net.add_input("input_ids", DType::kI64, {"batch", "seq"});
  const Value attention_mask = net.add_input("attention_mask", DType::kI64, {"batch", "seq"});
  const Value token_type_ids = net.add_input("token_type_ids", DType::kI64, {"batch", "seq"});

  net.set_scope("embeddings");
  Value hidden = embedding_layer(net, w, input_ids, token_type_ids);
  const Value mask_bias = net.padding_bias(attention_mask);
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = "l" + std::to_string(i) + "_";
    net.set_scope("layer" + std::to_string(i));
    hidden = attention_layer(net, prefix, config, w, hidden, mask_bias);
    hidden = feed_forward_layer(net, prefix, w, hidden);
  }
  net.mark_output(hidden, "last_hidden_state");
  net.set_scope("pooler");
  net.mark_output(net.pooler(hidden, w.at("pooler_kernel"), w.at("pooler_bias"), LinearLayout::kInOut),
                  "pooler_output");
  return net;
}

// ---- Weights
// ---------------------------------------------------------------------------------------------------------

// Uniform in [-scale, scale) around `mean`, from a 64-bit linear congruential generator: the same everywhere, and fast.
inline std::vector<float> random_values(int64_t count, float mean, float scale, uint64_t& state) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    v = mean + scale * (static_cast<float>(state >> 40) * 0x1p-23f - 1.0f);
  }
  return values;
}

// Weights of the size that training leaves: standard deviation 0.02, gains around 1.
inline WeightsDict random_weights(const Config& c, uint64_t seed = 1) {
  uint64_t state = seed;
  WeightsDict w;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape, float mean = 0,
                       float scale = 0.035f) {
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    w[name] = Weights::from(name, shape, random_values(count, mean, scale, state));
  };
  const auto add_linear = [&](const std::string& name, int64_t in, int64_t out) {
    add(name + "_kernel", {in, out});
    add(name + "_bias", {out});
  };
  const auto add_norm = [&](const std::string& name) {
    add(name + "_gamma", {c.hidden_size}, 1, 0.1f);
    add(name + "_beta", {c.hidden_size});
  };
  add("embeddings_word_embeddings", {c.vocab_size, c.hidden_size});
  add("embeddings_position_embeddings", {c.max_positions, c.hidden_size});
  add("embeddings_token_type_embeddings", {c.type_vocab_size, c.hidden_size});
  add_norm("embeddings_layernorm");
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string prefix = "l" + std::to_string(i) + "_";
    for (const char* name :
         {"attention_self_query", "attention_self_key", "attention_self_value", "attention_output_dense"}) {
      add_linear(prefix + name, c.hidden_size, c.hidden_size);
    }
    add_norm(prefix + "attention_output_layernorm");
    add_linear(prefix + "intermediate_dense", c.hidden_size, c.intermediate_size);
    add_linear(prefix + "output_dense", c.intermediate_size, c.hidden_size);
    add_norm(prefix + "output_layernorm");
  }
  add_linear("pooler", c.hidden_size, c.hidden_size);
  return w;
}

}  // namespace bert
