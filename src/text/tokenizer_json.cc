// tokenizer.json, and the blob that an engine carries: the same text with the settings inside.
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "text/bpe.h"
#include "text/json_node.h"
#include "text/tokenizer_parts.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace tenon::text {
namespace {

using nlohmann::json;

constexpr int64_t kMaxLength = 1 << 30;

// Old files leave the type out; these members are each one type's alone.
std::string inferred_type(const JsonNode& node, const JsonFile& file) {
  if (node.value().contains("max_input_chars_per_word")) return "WordPiece";
  if (!file.merges.empty()) return "BPE";
  if (node.value().contains("unk_id")) return "Unigram";
  return "";
}

using ModelPtr = std::unique_ptr<const Model>;

Result<ModelPtr> wordpiece_from_json(const JsonNode& node, Vocabulary vocabulary) {
  WordPieceSettings settings;
  TENON_ASSIGN(settings.unk_token, node.string("unk_token", settings.unk_token));
  TENON_ASSIGN(settings.continuing_prefix, node.string("continuing_subword_prefix", settings.continuing_prefix));
  TENON_ASSIGN(const int64_t longest,
               node.integer("max_input_chars_per_word", 0, kMaxLength, settings.max_word_length));
  settings.max_word_length = static_cast<int32_t>(longest);
  TENON_ASSIGN(auto model, WordPiece::build(std::move(vocabulary), std::move(settings), node.where() + ".unk_token"));
  return ModelPtr(std::move(model));
}

Result<ModelPtr> bpe_from_json(const JsonNode& node, Vocabulary vocabulary, const Bpe::Merges& merges) {
  TENON_ASSIGN(const std::optional<JsonNode> dropout, node.find("dropout"));
  if (dropout && dropout->value() != 0) return dropout->unsupported("merges left out at random");
  BpeSettings settings;
  TENON_ASSIGN(settings.unk_token, node.string("unk_token", ""));
  TENON_ASSIGN(settings.continuing_prefix, node.string("continuing_subword_prefix", ""));
  TENON_ASSIGN(settings.end_of_word_suffix, node.string("end_of_word_suffix", ""));
  TENON_ASSIGN(settings.fuse_unk, node.boolean("fuse_unk", false));
  TENON_ASSIGN(settings.byte_fallback, node.boolean("byte_fallback", false));
  TENON_ASSIGN(settings.ignore_merges, node.boolean("ignore_merges", false));
  TENON_ASSIGN(auto model, Bpe::build(std::move(vocabulary), merges, std::move(settings), node.where() + ".merges"));
  return ModelPtr(std::move(model));
}

Result<ModelPtr> unigram_from_json(const JsonNode& node, Vocabulary vocabulary, std::vector<double> scores) {
  TENON_ASSIGN(const int64_t unk_id, node.integer("unk_id", 0, Vocabulary::kMaxId, -1));
  TENON_ASSIGN(const bool byte_fallback, node.boolean("byte_fallback", false));
  TENON_ASSIGN(auto model, Unigram::build(std::move(vocabulary), std::move(scores), static_cast<int32_t>(unk_id),
                                          byte_fallback, node.where() + ".vocab"));
  return ModelPtr(std::move(model));
}

Result<ModelPtr> model_from_json(const JsonNode& node, JsonFile& file) {
  TENON_ASSIGN(std::string type, node.string("type", ""));
  if (type.empty()) type = inferred_type(node, file);
  if (type.empty()) return node.bad("\"type\" is missing");
  if (type != "WordPiece" && type != "BPE" && type != "Unigram") {
    return error(ErrorCode::kUnsupported, "{}.type: models of type \"{}\"; known are WordPiece, BPE and Unigram",
                 node.where(), type);
  }
  const bool scored = type == "Unigram";
  if (!file.has_vocab || file.has_scores != scored) {
    return node.bad(fmt::format("\"vocab\" is missing, or no {}", scored ? "list of tokens and scores" : "object"));
  }
  TENON_ASSIGN(Vocabulary vocabulary,
               Vocabulary::build(std::move(file.vocab), Vocabulary::Duplicates::kReject, node.where() + ".vocab"));
  if (scored) return unigram_from_json(node, std::move(vocabulary), std::move(file.scores));
  if (type == "BPE") return bpe_from_json(node, std::move(vocabulary), file.merges);
  return wordpiece_from_json(node, std::move(vocabulary));
}

// A part of the file that may be absent or null.
template <class Part>
Result<Part> optional_part(const JsonNode& root, const char* key) {
  TENON_ASSIGN(const std::optional<JsonNode> node, root.find(key));
  return node ? Part::from_json(*node) : Result<Part>(Part());
}

Result<std::vector<AddedToken>> added_from_json(const JsonNode& root) {
  std::vector<AddedToken> tokens;
  TENON_ASSIGN(const std::optional<JsonNode> list, root.find("added_tokens"));
  if (!list) return tokens;
  TENON_ASSIGN(const std::vector<JsonNode> nodes, list->elements());
  for (const JsonNode& node : nodes) {
    TENON_ASSIGN(AddedToken token, AddedTokens::token_from_json(node));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

Result<TokenizerSettings> settings_from_json(const JsonNode& root) {
  TokenizerSettings settings;
  TENON_ASSIGN(const std::optional<JsonNode> padding, root.find("padding"));
  if (padding) {
    TENON_ASSIGN(settings.pad_token, padding->string("pad_token", ""));
    TENON_ASSIGN(const int64_t type_id, padding->integer("pad_type_id", 0, 255, 0));
    settings.pad_type_id = static_cast<int32_t>(type_id);
  }
  TENON_ASSIGN(const std::optional<JsonNode> own, root.find("tenon"));
  if (own) {
    TENON_ASSIGN(settings.cls_token, own->string("cls_token", ""));
    TENON_ASSIGN(settings.sep_token, own->string("sep_token", ""));
    TENON_ASSIGN(settings.pad_token, own->string("pad_token", ""));
    TENON_ASSIGN(settings.mask_token, own->string("mask_token", ""));
    TENON_ASSIGN(const int64_t type_id, own->integer("pad_type_id", 0, 255, 0));
    settings.pad_type_id = static_cast<int32_t>(type_id);
    TENON_ASSIGN(const int64_t longest, own->integer("model_max_length", 0, kMaxLength, 0));
    settings.model_max_length = static_cast<int32_t>(longest);
  }
  return settings;
}

}  // namespace

TokenizerParts make_parts(Normalizer normalizer, PreTokenizer pre_tokenizer, std::unique_ptr<const Model> model,
                          AddedTokens added, PostProcessor post_processor, Decoder decoder,
                          TokenizerSettings settings) {
  const std::optional<PostProcessor::Trim>& trim = post_processor.trim();
  const Pipeline::Offsets offsets{trim.has_value(), trim && trim->add_prefix_space};
  return {Pipeline(std::move(normalizer), std::move(pre_tokenizer), std::move(model), std::move(added), offsets),
          std::move(post_processor), std::move(decoder), std::move(settings)};
}

int32_t TokenizerParts::token_to_id(std::string_view token) const {
  const AddedToken* added = pipeline.added().find(token);
  return added != nullptr ? added->id : pipeline.model().vocabulary().find(token);
}

Result<TokenizerParts> parts_from_json(std::string_view text, const std::string& name) {
  TENON_ASSIGN(JsonFile file, parse_json(text, name));
  const JsonNode root(file.root, name);
  TENON_ASSIGN(const std::string version, root.string("version", "1.0"));
  if (version != "1.0") return root.unsupported(fmt::format("version: \"{}\"; only \"1.0\" is known", version));
  TENON_ASSIGN(const JsonNode model_node, root.at("model"));
  TENON_ASSIGN(std::unique_ptr<const Model> model, model_from_json(model_node, file));
  TENON_ASSIGN(Normalizer normalizer, optional_part<Normalizer>(root, "normalizer"));
  TENON_ASSIGN(PreTokenizer pre_tokenizer, optional_part<PreTokenizer>(root, "pre_tokenizer"));
  TENON_ASSIGN(PostProcessor post_processor, optional_part<PostProcessor>(root, "post_processor"));
  TENON_ASSIGN(Decoder decoder, optional_part<Decoder>(root, "decoder"));
  TENON_ASSIGN(TokenizerSettings settings, settings_from_json(root));
  TENON_ASSIGN(std::vector<AddedToken> tokens, added_from_json(root));
  TENON_ASSIGN(AddedTokens added,
               AddedTokens::build(std::move(tokens), model->vocabulary(), normalizer, name + ": added_tokens"));
  TokenizerParts parts = make_parts(std::move(normalizer), std::move(pre_tokenizer), std::move(model), std::move(added),
                                    std::move(post_processor), std::move(decoder), std::move(settings));
  // Tenon's own files say which tokens there are, others leave it to guess.
  if (root.value().contains("tenon")) return parts;
  const auto settle = [&](std::string& token, std::initializer_list<const char*> usual) {
    for (const char* candidate : usual) {
      if (token.empty() && parts.token_to_id(candidate) >= 0) token = candidate;
    }
  };
  settle(parts.settings.cls_token, {"[CLS]", "<s>"});
  settle(parts.settings.sep_token, {"[SEP]", "</s>"});
  settle(parts.settings.pad_token, {"[PAD]", "<pad>"});
  settle(parts.settings.mask_token, {"[MASK]", "<mask>"});
  return parts;
}

std::string parts_to_json(const TokenizerParts& parts) {
  const TokenizerSettings& settings = parts.settings;
  json root = {{"version", "1.0"},
               {"truncation", nullptr},
               {"padding", nullptr},
               {"added_tokens", parts.pipeline.added().to_json()},
               {"normalizer", parts.pipeline.normalizer().to_json()},
               {"pre_tokenizer", parts.pipeline.pre_tokenizer().to_json()},
               {"post_processor", parts.post_processor.to_json()},
               {"decoder", parts.decoder.to_json()},
               {"tenon",
                {{"cls_token", settings.cls_token},
                 {"sep_token", settings.sep_token},
                 {"pad_token", settings.pad_token},
                 {"mask_token", settings.mask_token},
                 {"pad_type_id", settings.pad_type_id},
                 {"model_max_length", settings.model_max_length}}}};
  // The model writes its own text, as its vocabulary would take long as a tree of values.
  std::string text = root.dump();
  text.pop_back();
  return text + ",\"model\":" + parts.pipeline.model().to_json() + "}";
}

}  // namespace tenon::text
