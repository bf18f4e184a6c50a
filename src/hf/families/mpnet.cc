// MPNet (Song et al., 2020): no sentence embeddings; every head adds a learnt bias by the distance between two tokens.
#include <algorithm>
#include <cmath>
#include <memory>

#include "hf/family.h"

namespace tenon::hf {
namespace {

// Fixed in transformers' implementation, whatever config.json says.
constexpr int64_t kPadding = 1;
constexpr int64_t kBuckets = 32, kMaxDistance = 128;

// T5's bucket of a distance key - query: one half of the buckets for each direction; in a half, near distances have a
// bucket each, far ones share buckets of logarithmically growing width. In float, as PyTorch computes it.
int64_t distance_bucket(int64_t distance) {
  constexpr int64_t kHalf = kBuckets / 2, kExact = kHalf / 2;
  const int64_t direction = distance > 0 ? kHalf : 0;
  const int64_t n = std::abs(distance);
  if (n < kExact) return direction + n;
  const float growth = std::log(static_cast<float>(n) / kExact) /
                       static_cast<float>(std::log(static_cast<double>(kMaxDistance) / kExact));
  const int64_t bucket = kExact + static_cast<int64_t>(growth * static_cast<float>(kHalf - kExact));
  return direction + std::min(bucket, kHalf - 1);
}

// The bias [1, heads, seq, seq]. Which bucket a distance has is known now: the bias of every distance is a constant
// table, indexed by the distance from the most negative one on.
Value distance_bias(Assembler& a) {
  Network& net = a.net;
  const int64_t limit = a.config.max_positions;
  auto buckets = std::make_shared<std::vector<int64_t>>();
  for (int64_t distance = 1 - limit; distance < limit; ++distance) buckets->push_back(distance_bucket(distance));
  const Weights bucket_of_distance = {
      "relative_attention_buckets", DType::kI64, {2 * limit - 1}, buckets->data(), buckets};
  const Weights table = a.weights.get(a.base + "encoder.relative_attention_bias.weight", {kBuckets, a.config.heads});
  const Value bias_of_distance = net.embedding(net.constant(bucket_of_distance), table);  // [2 limit - 1, heads]

  const Value query = net.reshape(a.positions(), {-1, 1}), key = net.reshape(a.positions(), {1, -1});
  const Value first = net.sub(query, net.scalar(static_cast<double>(limit - 1), DType::kI64));
  const Value bias = net.gather(bias_of_distance, net.sub(key, first), 0);  // [seq, seq, heads]
  return net.reshape(net.transpose(bias, {2, 0, 1}), {1, a.config.heads, 0, -1});
}

Value encode(Assembler& a) {
  static constexpr LayerNames kNames = {
      .query = "attention.attn.q",
      .key = "attention.attn.k",
      .value = "attention.attn.v",
      .attention_output = "attention.attn.o",
      .attention_norm = "attention.LayerNorm",
      .inner = "intermediate.dense",
      .outer = "output.dense",
      .output_norm = "output.LayerNorm",
  };
  const Config& c = a.config;
  const std::string embeddings = a.base + "embeddings.";
  a.net.set_scope("embeddings");
  Value x = a.embedding(a.input_ids, embeddings + "word_embeddings", c.vocab_size, c.hidden_size);
  const Value positions = a.positions_without_padding(kPadding);
  x = a.net.add(x, a.embedding(positions, embeddings + "position_embeddings", c.max_positions, c.hidden_size));
  x = a.layer_norm(x, embeddings + "LayerNorm");

  a.net.set_scope("encoder");
  const Value bias = a.net.add(distance_bias(a), a.net.padding_bias(a.attention_mask));
  for (int64_t i = 0; i < c.layers; ++i)
    x = a.transformer_layer(x, bias, fmt::format("{}encoder.layer.{}.", a.base, i), kNames);
  return x;
}

Value classify(Assembler& a, Value hidden) { return classify_first_row(a, hidden, Activation::kTanh); }

int64_t reserved_positions(const Config&) { return kPadding + 1; }

}  // namespace

const Family kMpnet = {"mpnet", "mpnet.", encode, classify, predict_by_lm_head, reserved_positions};

}  // namespace tenon::hf
