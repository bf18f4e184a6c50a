// ViT (Dosovitskiy et al., 2020): the patches of an image as tokens behind one for its class, norms before each part.
#include "hf/family.h"

namespace tenon::hf {
namespace {

// A convolution whose steps are as long as its kernel is a product of each patch: [batch, patches, hidden].
Value patch_embeddings(Assembler& a, const std::string& name) {
  const Config& c = a.config;
  const int64_t patch = c.patch_size, side = c.image_size / patch, width = c.channels * patch * patch;
  const Value cut = a.net.shuffle(a.pixel_values, {0, c.channels, side, patch, side, patch}, {0, 2, 4, 1, 3, 5});
  Weights weight = a.weights.get(name + ".weight", {c.hidden_size, c.channels, patch, patch});
  weight.shape = {c.hidden_size, width};
  return a.net.linear(a.net.reshape(cut, {0, side * side, width}), weight,
                      a.weights.get(name + ".bias", {c.hidden_size}));
}

// One row of `table` [1, hidden] for every image: [batch, 1, hidden].
Value repeated(Assembler& a, Value table) {
  const Value images = a.net.positions(a.pixel_values, 0);
  return a.net.reshape(a.net.gather(table, a.net.sub(images, images)), {0, 1, a.config.hidden_size});
}

Value layer(Assembler& a, Value x, const std::string& prefix) {
  const int64_t hidden = a.config.hidden_size, inner = a.config.intermediate_size;
  const auto matrix = [&](const char* name, int64_t out, int64_t in) {
    return a.weights.get(prefix + name + ".weight", {out, in});
  };
  const auto vector = [&](const char* name, int64_t size) { return a.weights.get(prefix + name + ".bias", {size}); };
  const auto qkv_bias = [&](const char* name) { return a.config.attention_bias ? vector(name, hidden) : Weights{}; };

  a.net.set_scope(prefix.substr(0, prefix.size() - 1));
  const Value attended = a.net.self_attention(a.layer_norm(x, prefix + "layernorm_before"),
                                              {.query = matrix("attention.attention.query", hidden, hidden),
                                               .query_bias = qkv_bias("attention.attention.query"),
                                               .key = matrix("attention.attention.key", hidden, hidden),
                                               .key_bias = qkv_bias("attention.attention.key"),
                                               .value = matrix("attention.attention.value", hidden, hidden),
                                               .value_bias = qkv_bias("attention.attention.value"),
                                               .output = matrix("attention.output.dense", hidden, hidden),
                                               .output_bias = vector("attention.output.dense", hidden)},
                                              a.config.heads);
  x = a.net.add(attended, x);
  const Value transformed = a.net.feed_forward(a.layer_norm(x, prefix + "layernorm_after"),
                                               {.inner = matrix("intermediate.dense", inner, hidden),
                                                .inner_bias = vector("intermediate.dense", inner),
                                                .outer = matrix("output.dense", hidden, inner),
                                                .outer_bias = vector("output.dense", hidden)},
                                               a.config.activation);
  return a.net.add(transformed, x);
}

Value encode(Assembler& a) {
  const std::string embeddings = a.base + "embeddings.";
  const int64_t hidden = a.config.hidden_size, side = a.config.image_size / a.config.patch_size;
  a.net.set_scope("embeddings");
  const Value cls = a.net.constant(a.weights.get(embeddings + "cls_token", {1, 1, hidden}));
  const Value patches = patch_embeddings(a, embeddings + "patch_embeddings.projection");
  Value x = a.net.concat({repeated(a, a.net.reshape(cls, {1, hidden})), patches}, 1);
  x = a.net.add(x, a.net.constant(a.weights.get(embeddings + "position_embeddings", {1, side * side + 1, hidden})));
  for (int64_t i = 0; i < a.config.layers; ++i) x = layer(a, x, fmt::format("{}encoder.layer.{}.", a.base, i));
  a.net.set_scope("encoder");
  return a.layer_norm(x, a.base + "layernorm");
}

Value classify(Assembler& a, Value hidden) {
  return a.linear(a.net.select(hidden, 1, 0), "classifier", static_cast<int64_t>(a.config.labels.size()));
}

}  // namespace

const Family kVit = {"vit", "vit.", encode, classify, nullptr};

}  // namespace tenon::hf
