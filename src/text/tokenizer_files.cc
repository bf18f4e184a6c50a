// vocab.txt, and the folder of a model.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/mapped_file.h"
#include "text/json_node.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"
#include "text/wordpiece.h"

namespace tenon::text {
namespace {

using nlohmann::json;

Result<std::string> read_file(const std::string& path) {
  TENON_ASSIGN(const auto file, MappedFile::open(path));
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

// The text of a file, or nothing where there is none.
Result<std::optional<std::string>> read_optional(const std::string& path) {
  Result<std::string> text = read_file(path);
  if (text.ok()) return std::optional<std::string>(*text);
  if (text.status().code() == ErrorCode::kNotFound) return std::optional<std::string>();
  return text.status();
}

std::string_view without_trailing_space(std::string_view line) {
  const char* const begin = line.data();
  const char* end = begin + line.size();
  while (end != begin) {
    const char* p = end - 1;
    while (p != begin && (static_cast<unsigned char>(*p) & 0xC0) == 0x80) --p;
    const char* c = p;
    if (!(char_flags(next_code_point(c)) & kSpace)) break;
    end = p;
  }
  return {begin, static_cast<size_t>(end - begin)};
}

Result<Vocabulary> vocabulary_from_lines(std::string_view text, const std::string& name) {
  const size_t valid = valid_utf8_prefix(text);
  if (valid < text.size()) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(valid), '\n');
    return error(ErrorCode::kBadModel, "{}: line {}: not valid UTF-8", name, line);
  }
  Vocabulary::Entries entries;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (entries.list.size() > static_cast<size_t>(Vocabulary::kMaxId)) {
      return error(ErrorCode::kBadModel, "{}: more than {} lines", name, Vocabulary::kMaxId);
    }
    entries.add(without_trailing_space(text.substr(0, end)), static_cast<int32_t>(entries.list.size()));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (entries.list.empty()) return error(ErrorCode::kBadModel, "{}: no tokens", name);
  return Vocabulary::build(std::move(entries), Vocabulary::Duplicates::kLastWins, name);
}

// What tokenizer_config.json and special_tokens_map.json say. Unset: they do not.
struct Config {
  std::string cls, sep, pad, mask, unk;
  std::optional<bool> lowercase, strip_accents, chinese;
  int32_t model_max_length = 0;
  std::vector<AddedToken> added;
};

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

Status read_token_names(const JsonNode& root, Config& config) {
  TENON_TRY(read_token_name(root, "cls_token", config.cls));
  TENON_TRY(read_token_name(root, "sep_token", config.sep));
  TENON_TRY(read_token_name(root, "pad_token", config.pad));
  TENON_TRY(read_token_name(root, "mask_token", config.mask));
  TENON_TRY(read_token_name(root, "unk_token", config.unk));
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

Result<Config> read_config(const std::string& dir) {
  Config config;
  const std::string config_path = dir + "/tokenizer_config.json", map_path = dir + "/special_tokens_map.json";
  TENON_ASSIGN(const std::optional<std::string> config_text, read_optional(config_path));
  if (config_text) {
    TENON_ASSIGN(const JsonFile file, parse_json(*config_text, config_path));
    const JsonNode root(file.root, config_path);
    TENON_TRY(read_token_names(root, config));
    TENON_TRY(read_flag(root, "do_lower_case", config.lowercase));
    TENON_TRY(read_flag(root, "strip_accents", config.strip_accents));
    TENON_TRY(read_flag(root, "tokenize_chinese_chars", config.chinese));
    TENON_TRY(read_added_tokens(root, config.added));
    // Files say "no limit" by a huge number, often 1e30.
    TENON_ASSIGN(const std::optional<JsonNode> longest, root.find("model_max_length"));
    if (longest && !longest->value().is_number()) return longest->bad("expected a number");
    const double limit = longest ? longest->value().get<double>() : 0;
    if (limit > 0 && limit < 1e9) config.model_max_length = static_cast<int32_t>(limit);
  }
  TENON_ASSIGN(const std::optional<std::string> map_text, read_optional(map_path));
  if (map_text) {
    TENON_ASSIGN(const JsonFile file, parse_json(*map_text, map_path));
    TENON_TRY(read_token_names(JsonNode(file.root, map_path), config));
  }
  return config;
}

void prefer(std::string& name, const std::string& stated) {
  if (!stated.empty()) name = stated;
}

VocabSettings vocab_settings(const Config& config) {
  VocabSettings settings;
  settings.lowercase = config.lowercase.value_or(true);
  settings.strip_accents = config.strip_accents ? *config.strip_accents : -1;
  settings.handle_chinese_chars = config.chinese.value_or(true);
  prefer(settings.unk_token, config.unk);
  prefer(settings.cls_token, config.cls);
  prefer(settings.sep_token, config.sep);
  prefer(settings.pad_token, config.pad);
  prefer(settings.mask_token, config.mask);
  settings.model_max_length = config.model_max_length;
  return settings;
}

}  // namespace

Result<TokenizerParts> parts_from_vocab(std::string_view text, const VocabSettings& settings,
                                        std::vector<AddedToken> added, const std::string& name) {
  TENON_ASSIGN(Vocabulary vocabulary, vocabulary_from_lines(text, name));
  for (const std::string& token : {settings.cls_token, settings.sep_token}) {
    if (vocabulary.find(token) < 0) {
      return error(ErrorCode::kBadModel, "{}: the token \"{}\" is not in the vocabulary", name, token);
    }
  }
  const std::pair<std::string, int32_t> cls(settings.cls_token, vocabulary.find(settings.cls_token));
  const std::pair<std::string, int32_t> sep(settings.sep_token, vocabulary.find(settings.sep_token));
  for (const std::string& token :
       {settings.unk_token, settings.sep_token, settings.cls_token, settings.pad_token, settings.mask_token}) {
    const bool listed = std::any_of(added.begin(), added.end(), [&](const auto& a) { return a.content == token; });
    if (vocabulary.find(token) < 0 || listed) continue;
    AddedToken special;
    special.content = token;
    special.special = true;
    added.push_back(std::move(special));
  }
  WordPieceSettings wordpiece;
  wordpiece.unk_token = settings.unk_token;
  TENON_ASSIGN(std::unique_ptr<const Model> model, WordPiece::build(std::move(vocabulary), wordpiece, name));
  BertNormalizer bert;
  bert.lowercase = settings.lowercase;
  bert.strip_accents = settings.strip_accents < 0 ? settings.lowercase : settings.strip_accents != 0;
  bert.handle_chinese_chars = settings.handle_chinese_chars;
  Normalizer normalizer({bert});
  TENON_ASSIGN(AddedTokens tokens, AddedTokens::build(std::move(added), model->vocabulary(), normalizer, name));
  return TokenizerParts{
      Pipeline(std::move(normalizer), PreTokenizer({{PreTokenizer::Kind::kBert}}), std::move(model), std::move(tokens)),
      PostProcessor::bert(cls, sep), Decoder::wordpiece(),
      TokenizerSettings{settings.cls_token, settings.sep_token, settings.pad_token, settings.mask_token, 0,
                        settings.model_max_length}};
}

Result<TokenizerParts> parts_from_folder(const std::string& dir) {
  const std::string json_path = dir + "/tokenizer.json", vocab_path = dir + "/vocab.txt";
  TENON_ASSIGN(const std::optional<std::string> json_text, read_optional(json_path));
  if (!json_text) {
    TENON_ASSIGN(const std::optional<std::string> vocab, read_optional(vocab_path));
    if (!vocab) return error(ErrorCode::kNotFound, "{}: neither tokenizer.json nor vocab.txt is there", dir);
    TENON_ASSIGN(Config config, read_config(dir));
    return parts_from_vocab(*vocab, vocab_settings(config), std::move(config.added), vocab_path);
  }
  TENON_ASSIGN(TokenizerParts parts, parts_from_json(*json_text, json_path));
  TENON_ASSIGN(const Config config, read_config(dir));
  prefer(parts.settings.cls_token, config.cls);
  prefer(parts.settings.sep_token, config.sep);
  prefer(parts.settings.pad_token, config.pad);
  prefer(parts.settings.mask_token, config.mask);
  parts.settings.model_max_length = config.model_max_length;
  const BertNormalizer* bert = parts.pipeline.normalizer().as_bert();
  if (bert != nullptr && config.lowercase && *config.lowercase != bert->lowercase) {
    log(LogLevel::kWarn,
        "{}: the normalizer says lowercase {}, tokenizer_config.json do_lower_case {}: the former counts", json_path,
        bert->lowercase, *config.lowercase);
  }
  return parts;
}

}  // namespace tenon::text
