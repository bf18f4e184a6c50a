// ModernBERT (Warner et al., 2024): norms before each part, rotary positions, most layers attend to their
// neighbourhood, gated feed-forward.
#include <cmath>
#include <limits>

#include "hf/family.h"

namespace tenon::hf {
namespace {

// cos and sin of position * theta^(-2 i / dim), each angle twice: [positions, dim].
struct RotaryTables {
  Value cosines, sines;  // of the positions that a batch has: [seq, dim]
};

RotaryTables rotary_tables(Assembler& a, double theta, const char* name) {
  const int64_t positions = a.config.max_positions, dim = a.config.hidden_size / a.config.heads;
  std::vector<float> cosines, sines;
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t i = 0; i < dim; ++i) {
      // In float, as PyTorch computes it.
      const int64_t pair = i % (dim / 2);
      const float frequency =
          1.0f / std::pow(static_cast<float>(theta), static_cast<float>(2 * pair) / static_cast<float>(dim));
      const float angle = static_cast<float>(p) * frequency;
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
  }
  const auto table = [&](const char* kind, std::vector<float> values) {
    const Value all =
        a.net.constant(Weights::from(fmt::format("rotary.{}.{}", name, kind), {positions, dim}, std::move(values)));
    return a.net.gather(all, a.positions());
  };
  return {table("cos", std::move(cosines)), table("sin", std::move(sines))};
}

Value norm(Assembler& a, Value x, const std::string& name) {
  const int64_t width = x.dim(-1);
  const Weights beta = a.config.norm_bias ? a.weights.get(name + ".bias", {width}) : Weights{};
  return a.net.layer_norm(x, {a.weights.get(name + ".weight", {width}), beta}, a.config.layer_norm_eps);
}

class Layers {
 public:
  explicit Layers(Assembler& a)
      : a_(a),
        net_(a.net),
        heads_(a.config.heads),
        dim_(a.config.hidden_size / a.config.heads),
        global_(rotary_tables(a, a.config.global_rope_theta, "global")),
        local_(rotary_tables(a, a.config.local_rope_theta, "local")),
        padding_(net_.padding_bias(a.attention_mask)) {
    const Value query = net_.reshape(a.positions(), {-1, 1}), key = net_.reshape(a.positions(), {1, -1});
    const Value apart = net_.unary(Unary::kAbs, net_.sub(query, key));
    const Value far = net_.elementwise(Elementwise::kGreater, apart,
                                       net_.scalar(static_cast<double>(a.config.local_attention / 2), DType::kI64));
    window_ = net_.where(far, net_.scalar(std::numeric_limits<float>::lowest()), net_.scalar(0));
  }

  Value run(Value x, int64_t i) {
    const std::string prefix = fmt::format("{}layers.{}.", a_.base, i);
    net_.set_scope(prefix.substr(0, prefix.size() - 1));
    // The embeddings are normalised already.
    const Value attended = attend(i == 0 ? x : norm(a_, x, prefix + "attn_norm"), prefix + "attn.",
                                  a_.config.attends_globally[static_cast<size_t>(i)]);
    x = net_.add(attended, x);
    const Value gated = linear(norm(a_, x, prefix + "mlp_norm"), prefix + "mlp.Wi", 2 * a_.config.intermediate_size,
                               a_.config.mlp_bias);
    const Value inner = net_.activation(net_.slice(gated, 2, 0, a_.config.intermediate_size), a_.config.activation);
    const Value product = net_.mul(inner, net_.slice(gated, 2, a_.config.intermediate_size));
    return net_.add(linear(product, prefix + "mlp.Wo", a_.config.hidden_size, a_.config.mlp_bias), x);
  }

 private:
  Value linear(Value x, const std::string& name, int64_t out, bool has_bias) {
    const Weights bias = has_bias ? a_.weights.get(name + ".bias", {out}) : Weights{};
    return net_.linear(x, a_.weights.get(name + ".weight", {out, x.dim(-1)}), bias);
  }
  // [batch, heads, seq, dim] of columns [part * hidden, (part + 1) * hidden).
  Value split(Value rows, int64_t part) {
    const int64_t width = heads_ * dim_;
    return net_.shuffle(net_.slice(rows, 2, part * width, (part + 1) * width), {0, 0, heads_, dim_}, {0, 2, 1, 3});
  }
  Value rotate(Value x, const RotaryTables& tables) {
    const Value turned =
        net_.concat({net_.unary(Unary::kNeg, net_.slice(x, 3, dim_ / 2)), net_.slice(x, 3, 0, dim_ / 2)}, 3);
    return net_.add(net_.mul(x, tables.cosines), net_.mul(turned, tables.sines));
  }
  Value attend(Value x, const std::string& prefix, bool global) {
    const Value rows = linear(x, prefix + "Wqkv", 3 * a_.config.hidden_size, a_.config.attention_bias);
    const RotaryTables& tables = global ? global_ : local_;
    const Value q = rotate(split(rows, 0), tables), k = rotate(split(rows, 1), tables), v = split(rows, 2);
    Value scores =
        net_.scale(net_.matmul(q, net_.transpose(k, {0, 1, 3, 2})), 1.0 / std::sqrt(static_cast<double>(dim_)));
    scores = net_.add(scores, padding_);
    if (!global) scores = net_.add(scores, window_);
    const Value context = net_.matmul(net_.softmax(scores), v);
    const Value merged = net_.reshape(net_.transpose(context, {0, 2, 1, 3}), {0, 0, a_.config.hidden_size});
    return linear(merged, prefix + "Wo", a_.config.hidden_size, a_.config.attention_bias);
  }

  Assembler& a_;
  Network& net_;
  const int64_t heads_, dim_;
  RotaryTables global_, local_;
  Value padding_, window_;
};

Value encode(Assembler& a) {
  const std::string embeddings = a.base + "embeddings.";
  a.net.set_scope("embeddings");
  Value x = a.embedding(a.input_ids, embeddings + "tok_embeddings", a.config.vocab_size, a.config.hidden_size);
  Layers layers(a);
  x = norm(a, x, embeddings + "norm");
  for (int64_t i = 0; i < a.config.layers; ++i) x = layers.run(x, i);
  return norm(a, x, a.base + "final_norm");
}

// The head's own layer, before every classifier.
Value transform(Assembler& a, Value rows) {
  const int64_t size = a.config.hidden_size;
  const Weights bias = a.config.classifier_bias ? a.weights.get("head.dense.bias", {size}) : Weights{};
  const Value dense = a.net.linear(rows, a.weights.get("head.dense.weight", {size, size}), bias);
  return norm(a, a.net.activation(dense, a.config.classifier_activation), "head.norm");
}

Value classify(Assembler& a, Value hidden) {
  const Pooling pooling = a.config.mean_classifier ? Pooling::kMean : Pooling::kFirst;
  const Value rows = transform(a, a.net.pooling(hidden, a.attention_mask, pooling));
  return a.linear(rows, "classifier", static_cast<int64_t>(a.config.labels.size()));
}

Value predict_words(Assembler& a, Value rows) {
  const Config& c = a.config;
  const std::string table = c.tied_embeddings ? a.base + "embeddings.tok_embeddings.weight" : "decoder.weight";
  if (c.tied_embeddings) a.weights.ignore("decoder.weight");
  const Weights bias = c.decoder_bias ? a.weights.get("decoder.bias", {c.vocab_size}) : Weights{};
  return a.net.linear(transform(a, rows), a.weights.get(table, {c.vocab_size, c.hidden_size}), bias);
}

}  // namespace

const Family kModernBert = {"modernbert", "model.", encode, classify, predict_words, nullptr, transform};

}  // namespace tenon::hf
