#include "text/tokenizer_config.h"

#include <algorithm>

#include "base/write_file.h"
#include "text/json_node.h"

namespace tenon::text {
namespace {

// "[CLS]" or {"content": "[CLS]", …}
Status read_token_name(const JsonNode& root, const char* key, std::string& name) {
  TENON_ASSIGN(const std::optional<JsonNode> node, root.find(key));
  if (!node || !name.empty()) return {};
  if (node->value().is_object()) {
    TENON_ASSIGN(name, node->string("content", ""));
  } else {
    TENON_ASSIGN(name, node->string());
  }
  return {};
}

Status read_token_names(const JsonNode& root, TokenizerConfig& config) {
  TENON_TRY(read_token_name(root, "cls_token", config.cls));
  TENON_TRY(read_token_name(root, "sep_token", config.sep));
  TENON_TRY(read_token_name(root, "pad_token", config.pad));
  TENON_TRY(read_token_name(root, "mask_token", config.mask));
  TENON_TRY(read_token_name(root, "unk_token", config.unk));
  TENON_TRY(read_token_name(root, "bos_token", config.bos));
  TENON_TRY(read_token_name(root, "eos_token", config.eos));
  return {};
}

Status read_flag(const JsonNode& root, const char* key, std::optional<bool>& flag) {
  TENON_ASSIGN(const std::optional<JsonNode> node, root.find(key));
  if (!node) return {};
  TENON_ASSIGN(const bool value, root.boolean(key, false));
  flag = value;
  return {};
}

// {"30522": {"content": …}, …}
Status read_added_tokens(const JsonNode& root, std::vector<AddedToken>& added) {
  TENON_ASSIGN(const std::optional<JsonNode> list, root.find("added_tokens_decoder"));
  if (!list) return {};
  TENON_ASSIGN(const auto members, list->members());
  for (const auto& [key, node] : members) {
    const bool number = !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!number) return node.bad("the name of this member is not an id");
    TENON_ASSIGN(AddedToken token, AddedTokens::token_from_json(node));
    token.id = static_cast<int32_t>(std::stol(key));
    added.push_back(std::move(token));
  }
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return {};
}

}  // namespace

Result<TokenizerConfig> read_tokenizer_config(const std::string& dir) {
  TokenizerConfig config;
  const std::string config_path = dir + "/tokenizer_config.json", map_path = dir + "/special_tokens_map.json";
  TENON_ASSIGN(const std::optional<std::string> config_text, read_optional_file(config_path));
  if (config_text) {
    TENON_ASSIGN(const JsonFile file, parse_json(*config_text, config_path));
    const JsonNode root(file.root, config_path);
    TENON_TRY(read_token_names(root, config));
    TENON_TRY(read_flag(root, "do_lower_case", config.lowercase));
    TENON_TRY(read_flag(root, "strip_accents", config.strip_accents));
    TENON_TRY(read_flag(root, "tokenize_chinese_chars", config.chinese));
    TENON_TRY(read_flag(root, "add_prefix_space", config.add_prefix_space));
    TENON_TRY(read_flag(root, "keep_accents", config.keep_accents));
    TENON_ASSIGN(config.tokenizer_class, root.string("tokenizer_class", ""));
    TENON_TRY(read_added_tokens(root, config.added));
    // Files say "no limit" by a huge number, often 1e30.
    TENON_ASSIGN(const std::optional<JsonNode> longest, root.find("model_max_length"));
    if (longest && !longest->value().is_number()) return longest->bad("expected a number");
    const double limit = longest ? longest->value().get<double>() : 0;
    if (limit > 0 && limit < 1e9) config.model_max_length = static_cast<int32_t>(limit);
  }
  TENON_ASSIGN(const std::optional<std::string> map_text, read_optional_file(map_path));
  if (map_text) {
    TENON_ASSIGN(const JsonFile file, parse_json(*map_text, map_path));
    TENON_TRY(read_token_names(JsonNode(file.root, map_path), config));
  }
  return config;
}

Result<std::optional<std::string>> read_optional_file(const std::string& path) {
  Result<std::string> text = read_file(path);
  if (text.ok()) return std::optional<std::string>(*text);
  if (text.status().code() == ErrorCode::kNotFound) return std::optional<std::string>();
  return text.status();
}

}  // namespace tenon::text
