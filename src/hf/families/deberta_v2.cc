// DeBERTa-v2 and -v3 (He et al., 2021): content and position apart; a score is that of two contents, of a content for a
// distance, and of a distance for a content.
//
// Rows at padding are unlike transformers', which sets their embeddings to 0 and lets them attend to all positions; no row
// that counts reads them.
#include <algorithm>
#include <cmath>

#include "hf/family.h"
#include "network/network_impl.h"

namespace tenon::hf {
namespace {

// The row of the distance table for each distance -(positions - 1) … positions - 1: itself while it is small, then ever
// coarser (transformers' make_log_bucket_position, in float as there).
std::vector<int64_t> rows_of_distances(const Config& c) {
  const int64_t span = c.distance_rows / 2, most = c.max_distance, mid = c.position_buckets / 2;
  std::vector<int64_t> rows;
  for (int64_t d = 1 - c.max_positions; d < c.max_positions; ++d) {
    int64_t bucket = d;
    if (c.position_buckets > 0 && std::abs(d) > mid) {
      const float far = static_cast<float>(std::abs(d)) / static_cast<float>(mid);
      const float whole = std::log(static_cast<float>(most - 1) / static_cast<float>(mid));
      const auto steps = static_cast<int64_t>(std::ceil(std::log(far) / whole * static_cast<float>(mid - 1))) + mid;
      bucket = d > 0 ? steps : -steps;
    }
    rows.push_back(std::clamp<int64_t>(bucket + span, 0, 2 * span - 1));
  }
  return rows;
}

class Layers {
 public:
  explicit Layers(Assembler& a) : a_(a), net_(a.net), heads_(a.config.heads), dim_(a.config.hidden_size / heads_) {
    const Config& c = a.config;
    padding_ = net_.padding_bias(a.attention_mask);
    if (c.distance_rows == 0) return;
    net_.set_scope("encoder");
    const std::string name = a.base + "encoder.";
    distances_ = net_.constant(a.weights.get(name + "rel_embeddings.weight", {c.distance_rows, c.hidden_size}));
    if (c.norm_distances) distances_ = a.layer_norm(distances_, name + "LayerNorm");
    auto rows = std::make_shared<std::vector<int64_t>>(rows_of_distances(c));
    const auto count = static_cast<int64_t>(rows->size());
    const Value table = net_.constant({"distance.rows", DType::kI64, {count}, rows->data(), rows});
    // [seq, seq]: query - key, counted from the farthest before.
    const Value query = net_.reshape(a.positions(), {-1, 1}), key = net_.reshape(a.positions(), {1, -1});
    const Value apart =
        net_.add(net_.sub(query, key), net_.scalar(static_cast<double>(c.max_positions - 1), DType::kI64));
    rows_ = net_.gather(table, apart);
  }

  Value run(Value x, int64_t i) {
    const std::string prefix = fmt::format("{}encoder.layer.{}.", a_.base, i);
    net_.set_scope(prefix.substr(0, prefix.size() - 1));
    const Value attended =
        a_.linear(attend(x, prefix + "attention.self."), prefix + "attention.output.dense", a_.config.hidden_size);
    x = a_.layer_norm(net_.add(attended, x), prefix + "attention.output.LayerNorm");
    const Value inner =
        net_.activation(a_.linear(x, prefix + "intermediate.dense", a_.config.intermediate_size), a_.config.activation);
    return a_.layer_norm(net_.add(a_.linear(inner, prefix + "output.dense", a_.config.hidden_size), x),
                         prefix + "output.LayerNorm");
  }

 private:
  // [batch, seq, hidden] to [batch, heads, seq, dim]
  Value split(Value rows) { return net_.shuffle(rows, {0, 0, heads_, dim_}, {0, 2, 1, 3}); }
  // The table's rows through a projection: [heads, dim, rows].
  Value project_distances(const std::string& own, const std::string& shared, const std::string& prefix) {
    const Value rows =
        a_.linear(distances_, prefix + (a_.config.share_distance_projections ? shared : own), a_.config.hidden_size);
    return net_.shuffle(rows, {a_.config.distance_rows, heads_, dim_}, {1, 2, 0});
  }
  // y[b, h, i, j] = x[b, h, i, rows_[i, j]]; x [batch, heads, seq, rows of the table].
  Value pick(Value x) {
    auto& impl = NetworkAccess::impl(net_);
    ir::Shape shape = impl.own("disentangled_attention", x)->shape();
    shape[3] = shape[2];
    const Value rows = impl.emit("disentangled_attention", ir::Op::k_expand, {rows_}, {{"shape", shape}});
    return impl.emit("disentangled_attention", ir::Op::k_gather_elements, {x, rows}, {{"axis", int64_t{3}}});
  }
  Value attend(Value x, const std::string& prefix) {
    const Config& c = a_.config;
    const Value q = split(a_.linear(x, prefix + "query_proj", c.hidden_size));
    const Value k = split(a_.linear(x, prefix + "key_proj", c.hidden_size));
    const Value v = split(a_.linear(x, prefix + "value_proj", c.hidden_size));
    const int kinds = 1 + int{c.content_to_position} + int{c.position_to_content};
    const double scale = 1 / std::sqrt(static_cast<double>(dim_ * kinds));
    Value scores = net_.scale(net_.matmul(q, net_.transpose(k, {0, 1, 3, 2})), scale);
    if (c.distance_rows > 0 && c.content_to_position) {
      const Value keys = project_distances("pos_key_proj", "key_proj", prefix);
      scores = net_.add(scores, net_.scale(pick(net_.matmul(q, keys)), scale));
    }
    if (c.distance_rows > 0 && c.position_to_content) {
      // Rows are keys here: the distance of a key from its query is looked up the other way round, and so is the row.
      const Value queries = project_distances("pos_query_proj", "query_proj", prefix);
      const Value by_key = net_.matmul(k, queries);
      scores = net_.add(scores, net_.scale(net_.transpose(pick_reversed(by_key), {0, 1, 3, 2}), scale));
    }
    const Value context = net_.matmul(net_.softmax(net_.add(scores, padding_)), v);
    return net_.reshape(net_.transpose(context, {0, 2, 1, 3}), {0, 0, c.hidden_size});
  }
  // y[b, h, i, j] = x[b, h, i, rows_[j, i]].
  Value pick_reversed(Value x) {
    const Value rows = rows_;
    rows_ = net_.transpose(rows_, {1, 0});
    const Value y = pick(x);
    rows_ = rows;
    return y;
  }

  Assembler& a_;
  Network& net_;
  const int64_t heads_, dim_;
  Value padding_, distances_, rows_;
};

Value encode(Assembler& a) {
  const Config& c = a.config;
  const std::string name = a.base + "embeddings.";
  a.net.set_scope("embeddings");
  Value x = a.embedding(a.input_ids, name + "word_embeddings", c.vocab_size, c.embedding_size);
  if (c.position_input)
    x = a.net.add(x, a.embedding(a.positions(), name + "position_embeddings", c.max_positions, c.embedding_size));
  if (c.type_vocab_size > 0) {
    const Value types = a.net.add_input("token_type_ids", DType::kI64, {"batch", "seq"});
    x = a.net.add(x, a.embedding(types, name + "token_type_embeddings", c.type_vocab_size, c.embedding_size));
  }
  if (c.embedding_size != c.hidden_size)
    x = a.net.linear(x, a.weights.get(name + "embed_proj.weight", {c.hidden_size, c.embedding_size}));
  x = a.layer_norm(x, name + "LayerNorm");
  Layers layers(a);
  for (int64_t i = 0; i < c.layers; ++i) x = layers.run(x, i);
  return x;
}

Value classify(Assembler& a, Value hidden) {
  const Value first = a.linear(a.net.select(hidden, 1, 0), "pooler.dense", a.config.hidden_size);
  return a.linear(a.net.activation(first, a.config.classifier_activation), "classifier",
                  static_cast<int64_t>(a.config.labels.size()));
}

Value predict_words(Assembler& a, Value rows) {
  const std::string head = "cls.predictions.";
  Value x = a.net.activation(a.linear(rows, head + "transform.dense", a.config.embedding_size), a.config.activation);
  x = a.layer_norm(x, head + "transform.LayerNorm");
  return a.vocabulary(x, head + "decoder", head + "bias");
}

}  // namespace

const Family kDebertaV2 = {"deberta-v2", "deberta.", encode, classify, predict_words};

}  // namespace tenon::hf
