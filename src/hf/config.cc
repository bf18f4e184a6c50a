#include "hf/config.h"

#include <array>
#include <optional>
#include <string_view>

#include "hf/json.h"

namespace tenon::hf {
namespace {

// Far beyond any model of these families; keeps sizes computed from them small.
constexpr int64_t kMaxSize = int64_t{1} << 24;
constexpr int64_t kMaxLayers = 1000;
constexpr int64_t kMaxPositions = int64_t{1} << 20;

// The defaults of transformers' configuration classes, and where DistilBERT's names differ.
struct Defaults {
  std::string_view model_type;
  int64_t vocab_size, hidden_size, layers, heads, intermediate_size, max_positions, type_vocab_size, pad_token_id;
  double layer_norm_eps;
};
constexpr std::array<Defaults, 11> kDefaults = {{
    {"bert", 30522, 768, 12, 12, 3072, 512, 2, 0, 1e-12},
    {"roberta", 50265, 768, 12, 12, 3072, 512, 2, 1, 1e-12},
    {"xlm-roberta", 30522, 768, 12, 12, 3072, 512, 2, 1, 1e-12},
    {"camembert", 30522, 768, 12, 12, 3072, 512, 2, 1, 1e-12},
    {"distilbert", 30522, 768, 6, 12, 3072, 512, 0, 0, 1e-12},
    {"electra", 30522, 256, 12, 4, 1024, 512, 2, 0, 1e-12},
    {"albert", 30000, 4096, 12, 64, 16384, 512, 2, 0, 1e-12},
    {"modernbert", 50368, 768, 22, 12, 1152, 8192, 0, 50283, 1e-5},
    {"mpnet", 30527, 768, 12, 12, 3072, 512, 0, 1, 1e-12},
    {"deberta-v2", 128100, 1536, 24, 24, 6144, 512, 0, 0, 1e-7},
    {"vit", 1, 768, 12, 12, 3072, 1, 0, 0, 1e-12},
}};

Result<const Defaults*> find_defaults(const std::string& model_type) {
  std::string known;
  for (const Defaults& d : kDefaults) {
    if (d.model_type == model_type) return &d;
    known += (known.empty() ? "" : ", ") + std::string(d.model_type);
  }
  if (model_type.empty()) return error(ErrorCode::kBadModel, "\"model_type\" is missing");
  return error(ErrorCode::kUnsupported,
               "model type '{}' is not supported; supported are {} (others import through ONNX)", model_type, known);
}

Result<Activation> parse_activation(const std::string& name) {
  static constexpr std::array<std::pair<std::string_view, Activation>, 12> kNames = {{
      {"gelu", Activation::kGelu},
      {"gelu_python", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"quick_gelu", Activation::kGeluSigmoid},
      {"relu", Activation::kRelu},
      {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
      {"tanh", Activation::kTanh},
      {"sigmoid", Activation::kSigmoid},
      {"linear", Activation::kNone},
  }};
  for (const auto& [text, kind] : kNames)
    if (text == name) return kind;
  return error(ErrorCode::kUnsupported, "activation '{}' is not supported", name);
}

Result<int64_t> get_size(const Json& json, const char* key, int64_t fallback, int64_t least, int64_t most) {
  TENON_ASSIGN(const int64_t value, get_int(json, key, fallback));
  if (value < least || value > most)
    return error(ErrorCode::kBadModel, "\"{}\" is {}, not within {} to {}", key, value, least, most);
  return value;
}

// {"0": "NEGATIVE", "1": "POSITIVE"}: keys are the indices, in any order, none left out. Empty: there are no names.
Result<std::vector<std::string>> get_label_names(const Json& json) {
  std::vector<std::string> names;
  const auto map = json.find("id2label");
  if (map == json.end() || !map->is_object()) return names;
  for (size_t i = 0; i < map->size(); ++i) {
    const auto label = map->find(std::to_string(i));
    if (label == map->end() || !label->is_string())
      return error(ErrorCode::kBadModel, "\"id2label\" has no name for label {} of {}", i, map->size());
    names.push_back(label->get<std::string>());
  }
  return names;
}

Result<std::vector<std::string>> get_labels(const Json& json) {
  constexpr int64_t kMaxLabels = 1'000'000;
  TENON_ASSIGN(const int64_t count, get_size(json, "num_labels", 2, 1, kMaxLabels));
  TENON_ASSIGN(std::vector<std::string> labels, get_label_names(json));
  if (labels.empty())
    for (int64_t i = 0; i < count; ++i) labels.push_back("LABEL_" + std::to_string(i));
  return labels;
}

Result<Classes> parse_classes(const Json& json) {
  Classes classes;
  TENON_ASSIGN(classes.labels, get_label_names(json));
  TENON_ASSIGN(classes.problem_type, get_string(json, "problem_type", ""));
  return classes;
}

Result<std::string> get_architecture(const Json& json) {
  const auto list = json.find("architectures");
  if (list == json.end() || list->is_null() || (list->is_array() && list->empty())) return std::string();
  if (!list->is_array() || !list->front().is_string())
    return error(ErrorCode::kBadModel, "\"architectures\" is not a list of names");
  return list->front().get<std::string>();
}

Status refuse_variants(const Json& json) {
  TENON_ASSIGN(const std::string positions, get_string(json, "position_embedding_type", "absolute"));
  if (positions != "absolute")
    return error(ErrorCode::kUnsupported, "position_embedding_type '{}' is not supported", positions);
  TENON_ASSIGN(const bool decoder, get_bool(json, "is_decoder", false));
  if (decoder) return error(ErrorCode::kUnsupported, "decoders (is_decoder) are not supported");
  return {};
}

// The base of the rotary angles of one kind of layer, as transformers 5 writes it, or 4.
Result<double> get_theta(const Json& json, const char* kind, const char* old_key, double fallback) {
  const auto all = json.find("rope_parameters");
  if (all == json.end() || !all->is_object() || !all->contains(kind)) return get_number(json, old_key, fallback);
  const Json& own = all->at(kind);
  if (!own.is_object()) return error(ErrorCode::kBadModel, "\"rope_parameters\" of {} are not an object", kind);
  TENON_ASSIGN(const std::string type, get_string(own, "rope_type", "default"));
  if (type != "default") return error(ErrorCode::kUnsupported, "rope_type '{}' is not supported", type);
  return get_number(own, "rope_theta", fallback);
}

Status parse_modernbert(const Json& json, Config& c) {
  TENON_ASSIGN(c.layer_norm_eps, get_number(json, "norm_eps", c.layer_norm_eps));
  TENON_ASSIGN(c.norm_bias, get_bool(json, "norm_bias", false));
  TENON_ASSIGN(c.attention_bias, get_bool(json, "attention_bias", false));
  TENON_ASSIGN(c.mlp_bias, get_bool(json, "mlp_bias", false));
  TENON_ASSIGN(c.classifier_bias, get_bool(json, "classifier_bias", false));
  TENON_ASSIGN(c.decoder_bias, get_bool(json, "decoder_bias", true));
  TENON_ASSIGN(const std::string pooling, get_string(json, "classifier_pooling", "cls"));
  if (pooling != "cls" && pooling != "mean")
    return error(ErrorCode::kUnsupported, "classifier_pooling '{}' is not supported", pooling);
  c.mean_classifier = pooling == "mean";
  TENON_ASSIGN(const std::string activation, get_string(json, "classifier_activation", "gelu"));
  TENON_ASSIGN(c.classifier_activation, parse_activation(activation));
  TENON_ASSIGN(c.local_attention, get_size(json, "local_attention", 128, 2, kMaxPositions));
  TENON_ASSIGN(const int64_t every, get_size(json, "global_attn_every_n_layers", 3, 1, kMaxLayers));
  const auto types = json.find("layer_types");
  const bool listed = types != json.end() && types->is_array();
  if (listed && types->size() != static_cast<size_t>(c.layers))
    return error(ErrorCode::kBadModel, "\"layer_types\" has {} entries for {} layers", types->size(), c.layers);
  for (int64_t i = 0; i < c.layers; ++i)
    c.attends_globally.push_back(listed ? (*types)[static_cast<size_t>(i)] == "full_attention" : i % every == 0);
  TENON_ASSIGN(c.global_rope_theta, get_theta(json, "full_attention", "global_rope_theta", 160000));
  TENON_ASSIGN(c.local_rope_theta, get_theta(json, "sliding_attention", "local_rope_theta", 10000));
  const int64_t head_dim = c.hidden_size / c.heads;
  if (head_dim % 2 != 0) return error(ErrorCode::kBadModel, "heads of {} columns cannot rotate in pairs", head_dim);
  constexpr int64_t kLargestTable = int64_t{1} << 26;  // elements: tables of angles are made for all positions
  if (c.max_positions * head_dim > kLargestTable)
    return error(ErrorCode::kUnsupported, "{} positions of {} columns are too many to tabulate", c.max_positions,
                 head_dim);
  return {};
}

Status parse_deberta(const Json& json, Config& c) {
  if (const auto kernel = json.find("conv_kernel_size"); kernel != json.end() && *kernel != 0 && !kernel->is_null())
    return error(ErrorCode::kUnsupported, "a convolution behind the first layer (conv_kernel_size) is not supported");
  TENON_ASSIGN(const int64_t head_size, get_int(json, "attention_head_size", c.hidden_size / c.heads));
  if (head_size * c.heads != c.hidden_size)
    return error(ErrorCode::kUnsupported, "attention_head_size {} is not supported with {} columns", head_size, c.hidden_size);
  TENON_ASSIGN(c.position_input, get_bool(json, "position_biased_input", true));
  TENON_ASSIGN(c.share_distance_projections, get_bool(json, "share_att_key", false));
  TENON_ASSIGN(const std::string activation, get_string(json, "pooler_hidden_act", "gelu"));
  TENON_ASSIGN(c.classifier_activation, parse_activation(activation));
  // A list, or "c2p|p2c".
  if (const auto kinds = json.find("pos_att_type"); kinds != json.end()) {
    const std::string text = kinds->dump();
    c.content_to_position = text.find("c2p") != std::string::npos;
    c.position_to_content = text.find("p2c") != std::string::npos;
  }
  TENON_ASSIGN(const bool relative, get_bool(json, "relative_attention", false));
  if (!relative) return {};
  TENON_ASSIGN(const std::string norms, get_string(json, "norm_rel_ebd", "none"));
  c.norm_distances = norms.find("layer_norm") != std::string::npos;
  TENON_ASSIGN(c.max_distance, get_size(json, "max_relative_positions", -1, -1, kMaxPositions));
  if (c.max_distance < 1) c.max_distance = c.max_positions;
  TENON_ASSIGN(c.position_buckets, get_size(json, "position_buckets", -1, -1, kMaxPositions));
  c.position_buckets = std::max<int64_t>(c.position_buckets, 0);
  if (c.position_buckets > 0 && (c.position_buckets < 4 || c.max_distance - 1 <= c.position_buckets / 2))
    return error(ErrorCode::kBadModel, "{} position_buckets for distances up to {}", c.position_buckets, c.max_distance);
  c.distance_rows = 2 * (c.position_buckets > 0 ? c.position_buckets : c.max_distance);
  return {};
}

// A number, or two equal ones.
Result<int64_t> get_side(const Json& json, const char* key, int64_t fallback) {
  constexpr int64_t kMostPixels = 16384;
  const auto pair = json.find(key);
  if (pair == json.end() || !pair->is_array()) return get_size(json, key, fallback, 1, kMostPixels);
  if (pair->size() != 2 || (*pair)[0] != (*pair)[1])
    return error(ErrorCode::kUnsupported, "\"{}\" {} is not square", key, pair->dump());
  return get_size({{key, (*pair)[0]}}, key, fallback, 1, kMostPixels);
}

Status parse_vit(const Json& json, Config& c) {
  TENON_ASSIGN(c.image_size, get_side(json, "image_size", 224));
  TENON_ASSIGN(c.patch_size, get_side(json, "patch_size", 16));
  constexpr int64_t kMostChannels = 4096;
  TENON_ASSIGN(c.channels, get_size(json, "num_channels", 3, 1, kMostChannels));
  TENON_ASSIGN(c.attention_bias, get_bool(json, "qkv_bias", true));
  if (c.image_size % c.patch_size != 0)
    return error(ErrorCode::kUnsupported, "image_size {} is no multiple of patch_size {}", c.image_size, c.patch_size);
  TENON_ASSIGN(const std::string pooler, get_string(json, "pooler_act", "tanh"));
  TENON_ASSIGN(const int64_t width, get_int(json, "pooler_output_size", c.hidden_size));
  if (pooler != "tanh" || width != c.hidden_size)
    return error(ErrorCode::kUnsupported, "a pooler with '{}' and {} columns is not supported", pooler, width);
  return {};
}

Result<Config> parse_config(const Json& json) {
  Config c;
  TENON_ASSIGN(c.model_type, get_string(json, "model_type", ""));
  TENON_ASSIGN(const Defaults* d, find_defaults(c.model_type));
  TENON_TRY(refuse_variants(json));
  const bool distilbert = c.model_type == "distilbert";
  TENON_ASSIGN(c.architecture, get_architecture(json));
  TENON_ASSIGN(c.vocab_size, get_size(json, "vocab_size", d->vocab_size, 1, kMaxSize));
  TENON_ASSIGN(c.hidden_size, get_size(json, distilbert ? "dim" : "hidden_size", d->hidden_size, 1, kMaxSize));
  const bool albert = c.model_type == "albert";
  c.embedding_size = c.hidden_size;
  if (albert || c.model_type == "electra" || c.model_type == "deberta-v2") {
    const int64_t usual = c.model_type == "deberta-v2" ? c.hidden_size : 128;
    TENON_ASSIGN(c.embedding_size, get_size(json, "embedding_size", usual, 1, kMaxSize));
  }
  TENON_ASSIGN(c.layers, get_size(json, distilbert ? "n_layers" : "num_hidden_layers", d->layers, 1, kMaxLayers));
  if (albert) {
    TENON_ASSIGN(c.layer_groups, get_size(json, "num_hidden_groups", 1, 1, c.layers));
    TENON_ASSIGN(c.group_layers, get_size(json, "inner_group_num", 1, 1, kMaxLayers));
  }
  TENON_ASSIGN(c.heads, get_size(json, distilbert ? "n_heads" : "num_attention_heads", d->heads, 1, kMaxSize));
  TENON_ASSIGN(c.intermediate_size,
               get_size(json, distilbert ? "hidden_dim" : "intermediate_size", d->intermediate_size, 1, kMaxSize));
  TENON_ASSIGN(c.max_positions, get_size(json, "max_position_embeddings", d->max_positions, 1, kMaxPositions));
  TENON_ASSIGN(c.type_vocab_size, get_size(json, "type_vocab_size", d->type_vocab_size, 0, kMaxSize));
  TENON_ASSIGN(c.pad_token_id, get_size(json, "pad_token_id", d->pad_token_id, 0, kMaxSize));
  TENON_ASSIGN(c.layer_norm_eps, get_number(json, "layer_norm_eps", d->layer_norm_eps));
  const bool modernbert = c.model_type == "modernbert";
  const char* activation_key = distilbert ? "activation" : modernbert ? "hidden_activation" : "hidden_act";
  TENON_ASSIGN(const std::string activation, get_string(json, activation_key, albert ? "gelu_new" : "gelu"));
  TENON_ASSIGN(c.activation, parse_activation(activation));
  TENON_ASSIGN(c.tied_embeddings, get_bool(json, "tie_word_embeddings", true));
  TENON_ASSIGN(c.problem_type, get_string(json, "problem_type", ""));
  TENON_ASSIGN(c.labels, get_labels(json));
  if (c.hidden_size % c.heads != 0)
    return error(ErrorCode::kBadModel, "{} columns do not divide by {} heads", c.hidden_size, c.heads);
  if (modernbert) TENON_TRY(parse_modernbert(json, c));
  if (c.model_type == "deberta-v2") TENON_TRY(parse_deberta(json, c));
  if (c.model_type == "vit") TENON_TRY(parse_vit(json, c));
  return c;
}

}  // namespace

Result<Classes> read_classes(const std::string& path) {
  TENON_ASSIGN(const Json json, read_object(path));
  auto classes = parse_classes(json);
  return classes.ok() ? std::move(classes) : classes.status().with_context(path);
}

Result<Config> read_config(const std::string& path) {
  TENON_ASSIGN(const Json json, read_object(path));
  auto config = parse_config(json);
  return config.ok() ? std::move(config) : config.status().with_context(path);
}

}  // namespace tenon::hf
