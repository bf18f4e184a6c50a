// vocab.txt, and the folder of a model.
#include <algorithm>

#include "base/log.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"
#include "text/wordpiece.h"

namespace tenon::text {
namespace {

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

void prefer(std::string& name, const std::string& stated) {
  if (!stated.empty()) name = stated;
}

VocabSettings vocab_settings(const TokenizerConfig& config) {
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
  return make_parts(
      std::move(normalizer), PreTokenizer({BertWords{}}), std::move(model), std::move(tokens),
      PostProcessor::bert(cls, sep), Decoder({WordPieceDecoder{}}),
      {settings.cls_token, settings.sep_token, settings.pad_token, settings.mask_token, 0, settings.model_max_length});
}

namespace {

Result<TokenizerParts> parts_from_json_file(std::string_view text, const std::string& path,
                                            const TokenizerConfig& config) {
  TENON_ASSIGN(TokenizerParts parts, parts_from_json(text, path));
  prefer(parts.settings.cls_token, config.cls);
  prefer(parts.settings.sep_token, config.sep);
  prefer(parts.settings.pad_token, config.pad);
  prefer(parts.settings.mask_token, config.mask);
  parts.settings.model_max_length = config.model_max_length;
  const BertNormalizer* bert = parts.pipeline.normalizer().as_bert();
  if (bert != nullptr && config.lowercase && *config.lowercase != bert->lowercase) {
    log(LogLevel::kWarn,
        "{}: the normalizer says lowercase {}, tokenizer_config.json do_lower_case {}: the former counts", path,
        bert->lowercase, *config.lowercase);
  }
  return parts;
}

}  // namespace

Result<TokenizerParts> parts_from_folder(const std::string& dir) {
  TENON_ASSIGN(TokenizerConfig config, read_tokenizer_config(dir));
  // The first of these that is there.
  TENON_ASSIGN(const std::optional<std::string> json_text, read_optional_file(dir + "/tokenizer.json"));
  if (json_text) return parts_from_json_file(*json_text, dir + "/tokenizer.json", config);
  for (const char* name : {"sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model"}) {
    const std::string path = dir + "/" + name;
    TENON_ASSIGN(const std::optional<std::string> model, read_optional_file(path));
    if (model) return parts_from_sentencepiece(*model, config, path);
  }
  TENON_ASSIGN(const std::optional<std::string> merges, read_optional_file(dir + "/merges.txt"));
  TENON_ASSIGN(const std::optional<std::string> vocab_json, read_optional_file(dir + "/vocab.json"));
  if (merges && vocab_json) return parts_from_merges(*vocab_json, *merges, config, dir);
  TENON_ASSIGN(const std::optional<std::string> vocab, read_optional_file(dir + "/vocab.txt"));
  if (vocab) return parts_from_vocab(*vocab, vocab_settings(config), std::move(config.added), dir + "/vocab.txt");
  return error(ErrorCode::kNotFound,
               "{}: no tokenizer is there (tokenizer.json, vocab.txt, vocab.json with merges.txt, or a SentencePiece "
               "model such as spiece.model)",
               dir);
}

}  // namespace tenon::text
