#include "hf/sentence_transformers.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "hf/json.h"
#include "hf/tensor_files.h"

namespace tenon::hf {
namespace {

namespace fs = std::filesystem;

bool has_file(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// A module's path, which may not leave the folder.
Result<std::string> contained_path(const std::string& relative) {
  const fs::path path(relative);
  const bool leaves = path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end() ||
                      relative.find('\0') != std::string::npos;
  if (leaves) return error(ErrorCode::kBadModel, "path '{}' leaves the model's folder", relative);
  return relative == "." ? std::string() : relative;
}

std::string join(const std::string& folder, const std::string& relative) {
  return relative.empty() ? folder : folder + "/" + relative;
}

Result<std::vector<Pooling>> read_pooling(const std::string& path) {
  TENON_ASSIGN(const Json json, read_object(path));
  // In the order in which the library concatenates them.
  static constexpr std::pair<const char*, Pooling> kModes[] = {
      {"pooling_mode_cls_token", Pooling::kFirst},
      {"pooling_mode_max_tokens", Pooling::kMax},
      {"pooling_mode_mean_tokens", Pooling::kMean},
      {"pooling_mode_mean_sqrt_len_tokens", Pooling::kMeanSqrt},
  };
  std::vector<Pooling> modes;
  for (const auto& [key, mode] : kModes) {
    TENON_ASSIGN(const bool on, get_bool(json, key, false));
    if (on) modes.push_back(mode);
  }
  for (const char* key : {"pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"}) {
    TENON_ASSIGN(const bool on, get_bool(json, key, false));
    if (on) return error(ErrorCode::kUnsupported, "{}: {} is not supported", path, key);
  }
  // Newer files name the modes in one field.
  TENON_ASSIGN(const std::string named, get_string(json, "pooling_mode", ""));
  if (modes.empty() && !named.empty()) {
    if (named == "cls")
      modes = {Pooling::kFirst};
    else if (named == "max")
      modes = {Pooling::kMax};
    else if (named == "mean")
      modes = {Pooling::kMean};
    else if (named == "mean_sqrt_len_tokens")
      modes = {Pooling::kMeanSqrt};
    else
      return error(ErrorCode::kUnsupported, "{}: pooling mode '{}' is not supported", path, named);
  }
  if (modes.empty()) return error(ErrorCode::kBadModel, "{}: no pooling mode is set", path);
  return modes;
}

Result<SentenceModules::Dense> read_dense(const std::string& folder, const std::string& path) {
  TENON_ASSIGN(const Json json, read_object(path + "/config.json"));
  SentenceModules::Dense dense{.folder = folder};
  TENON_ASSIGN(dense.out, get_int(json, "out_features", 0));
  TENON_ASSIGN(dense.bias, get_bool(json, "bias", true));
  TENON_ASSIGN(const std::string activation,
               get_string(json, "activation_function", "torch.nn.modules.activation.Tanh"));
  if (activation.ends_with(".Tanh"))
    dense.activation = Activation::kTanh;
  else if (activation.ends_with(".Identity"))
    dense.activation = Activation::kNone;
  else if (activation.ends_with(".ReLU"))
    dense.activation = Activation::kRelu;
  else if (activation.ends_with(".GELU"))
    dense.activation = Activation::kGelu;
  else
    return error(ErrorCode::kUnsupported, "{}: activation '{}' is not supported", path, activation);
  return dense;
}

Status read_modules(const std::string& folder, const Json& list, SentenceModules& modules) {
  for (const Json& entry : list) {
    if (!entry.is_object()) return error(ErrorCode::kBadModel, "a module is no object");
    TENON_ASSIGN(const std::string type, get_string(entry, "type", ""));
    TENON_ASSIGN(const std::string given, get_string(entry, "path", ""));
    TENON_ASSIGN(const std::string path, contained_path(given));
    const std::string kind = type.substr(type.rfind('.') + 1);
    const bool first = &entry == &list.front();
    if (first != (kind == "Transformer"))
      return error(ErrorCode::kUnsupported, "module '{}': the first, and only it, must be a Transformer", type);
    if (first) {
      modules.encoder_folder = path;
    } else if (kind == "Pooling" && modules.pooling.empty()) {
      TENON_ASSIGN(modules.pooling, read_pooling(join(folder, path) + "/config.json"));
    } else if (kind == "Dense" && !modules.pooling.empty() && !modules.normalize) {
      TENON_ASSIGN(modules.dense.emplace_back(), read_dense(path, join(folder, path)));
    } else if (kind == "Normalize" && !modules.pooling.empty()) {
      modules.normalize = true;
    } else {
      return error(ErrorCode::kUnsupported, "module '{}' is not supported at this place", type);
    }
  }
  if (modules.pooling.empty()) return error(ErrorCode::kUnsupported, "there is no Pooling module");
  return {};
}

Status read_settings(const std::string& folder, SentenceModules& modules) {
  if (const std::string path = join(folder, modules.encoder_folder) + "/sentence_bert_config.json"; has_file(path)) {
    TENON_ASSIGN(const Json json, read_object(path));
    TENON_ASSIGN(modules.max_tokens, get_int(json, "max_seq_length", 0));
  }
  if (const std::string path = folder + "/config_sentence_transformers.json"; has_file(path)) {
    TENON_ASSIGN(const Json json, read_object(path));
    TENON_ASSIGN(modules.similarity, get_string(json, "similarity_fn_name", ""));
  }
  return {};
}

}  // namespace

bool is_sentence_transformer(const std::string& folder) { return has_file(folder + "/modules.json"); }

Result<SentenceModules> read_sentence_modules(const std::string& folder) {
  const std::string path = folder + "/modules.json";
  TENON_ASSIGN(const Json list, read_json(path));
  if (!list.is_array() || list.empty()) return error(ErrorCode::kBadModel, "{}: not a list of modules", path);
  SentenceModules modules;
  if (Status s = read_modules(folder, list, modules); !s.ok()) return s.with_context(path);
  TENON_TRY(read_settings(folder, modules));
  return modules;
}

Result<Value> embed_sentences(Assembler& a, const SentenceModules& modules, const std::string& folder, Value hidden) {
  a.net.set_scope("pooling");
  std::vector<Value> pooled;
  for (Pooling kind : modules.pooling) pooled.push_back(a.net.pooling(hidden, a.attention_mask, kind));
  Value x = pooled.size() == 1 ? pooled.front() : a.net.concat(pooled, -1);
  for (const SentenceModules::Dense& dense : modules.dense) {
    a.net.set_scope(dense.folder);
    const std::string path = join(folder, dense.folder);
    const std::string file = find_weights(path);
    if (file.empty()) return error(ErrorCode::kNotFound, "{}: no model.safetensors and no pytorch_model.bin", path);
    TENON_ASSIGN(TensorMap tensors, read_weights(path, file));
    WeightSource weights(std::move(tensors));
    Weights matrix = weights.get("linear.weight", {dense.out, x.dim(-1)});
    Weights bias = dense.bias ? weights.get("linear.bias", {dense.out}) : Weights();
    if (Status s = weights.check(); !s.ok()) return s.with_context(path);
    matrix.name = dense.folder + "." + matrix.name;
    if (bias) bias.name = dense.folder + "." + bias.name;
    x = a.net.activation(a.net.linear(x, matrix, bias), dense.activation);
  }
  return modules.normalize ? a.net.l2_normalize(x) : x;
}

}  // namespace tenon::hf
