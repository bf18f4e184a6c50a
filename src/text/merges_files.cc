// vocab.json and merges.txt: byte-level BPE as RoBERTa, GPT-2 and CLIP keep it.
#include "text/bpe.h"
#include "text/json_node.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"

namespace tenon::text {
namespace {

enum class MergesFamily { kRoberta, kGpt2, kClip };

// By the tokenizer's class, or else by the tokens that only one of them has.
MergesFamily family_of(const TokenizerConfig& config, const Vocabulary& vocabulary) {
  const auto named = [&](std::string_view name) { return config.tokenizer_class.find(name) != std::string::npos; };
  if (named("CLIP")) return MergesFamily::kClip;
  if (named("GPT2") || named("Whisper")) return MergesFamily::kGpt2;
  if (vocabulary.find("<|startoftext|>") >= 0) return MergesFamily::kClip;
  return vocabulary.find("<s>") >= 0 && vocabulary.find("</s>") >= 0 ? MergesFamily::kRoberta : MergesFamily::kGpt2;
}

Result<Bpe::Merges> merges_from_lines(std::string_view text, const std::string& name) {
  Bpe::Merges merges;
  for (size_t line = 1; !text.empty(); ++line) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view merge = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (merge.ends_with('\r')) merge.remove_suffix(1);
    if (merge.empty() || merge.starts_with("#version")) continue;
    TENON_ASSIGN(auto pair, split_merge(merge, fmt::format("{}: line {}", name, line)));
    merges.push_back(std::move(pair));
  }
  return merges;
}

const std::string& either(const std::string& stated, const std::string& fallback) {
  return stated.empty() ? fallback : stated;
}

}  // namespace

Result<TokenizerParts> parts_from_merges(std::string_view vocab, std::string_view merges, const TokenizerConfig& config,
                                         const std::string& name) {
  const std::string vocab_name = name + "/vocab.json", merges_name = name + "/merges.txt";
  TENON_ASSIGN(JsonFile file, parse_vocab_json(vocab, vocab_name));
  if (!file.has_vocab || file.has_scores) return error(ErrorCode::kBadModel, "{}: expected an object of tokens and ids", vocab_name);
  TENON_ASSIGN(Vocabulary vocabulary,
               Vocabulary::build(std::move(file.vocab), Vocabulary::Duplicates::kReject, vocab_name));
  TENON_ASSIGN(const Bpe::Merges pairs, merges_from_lines(merges, merges_name));

  const MergesFamily family = family_of(config, vocabulary);
  const bool roberta = family == MergesFamily::kRoberta, clip = family == MergesFamily::kClip;
  const std::string end = roberta ? "</s>" : "<|endoftext|>";
  const std::string begin = roberta ? "<s>" : clip ? "<|startoftext|>" : end;
  const std::string cls = either(config.cls, either(config.bos, begin)),
                    sep = either(config.sep, either(config.eos, end));
  const std::string pad = either(config.pad, roberta ? "<pad>" : clip ? end : "");
  const std::string mask = either(config.mask, roberta ? "<mask>" : "");
  BpeSettings settings;
  if (clip) {
    settings.unk_token = either(config.unk, end);
    settings.end_of_word_suffix = "</w>";
  }
  TENON_ASSIGN(std::unique_ptr<const Model> model,
               Bpe::build(std::move(vocabulary), pairs, std::move(settings), merges_name));

  std::vector<AddedToken> added = config.added;
  for (const std::string& token : {cls, pad, sep, either(config.unk, roberta ? "<unk>" : end), mask}) {
    const bool listed = std::any_of(added.begin(), added.end(), [&](const auto& a) { return a.content == token; });
    if (token.empty() || listed || model->vocabulary().find(token) < 0) continue;
    AddedToken special;
    special.content = token;
    special.special = true;
    special.lstrip = roberta && token == mask;
    added.push_back(std::move(special));
  }
  Normalizer normalizer;
  if (clip) normalizer = Normalizer({UnicodeForm{false, true}, ReplaceSpaces{true, 1, false, " "}, Lowercase{}});
  TENON_ASSIGN(AddedTokens tokens, AddedTokens::build(std::move(added), model->vocabulary(), normalizer, name));

  ByteLevel bytes;
  bytes.add_prefix_space = config.add_prefix_space.value_or(false);
  std::vector<PreTokenizer::Step> steps;
  if (clip) {
    steps.emplace_back(PatternSplit{WordPattern(WordPattern::kClip), Delimiter::kRemoved, true});
    bytes.use_pattern = false;
  }
  steps.emplace_back(bytes);
  PostProcessor post_processor;
  if (family != MergesFamily::kGpt2) {
    const auto named = [&](const std::string& token) {
      return std::pair<std::string, int32_t>(token, model->vocabulary().find(token));
    };
    for (const std::string& token : {cls, sep}) {
      if (named(token).second < 0) {
        return error(ErrorCode::kBadModel, "{}: the token \"{}\" is not in the vocabulary", vocab_name, token);
      }
    }
    const std::optional<PostProcessor::Trim> trim{PostProcessor::Trim{bytes.add_prefix_space}};
    post_processor = PostProcessor::roberta(named(cls), named(sep), roberta ? trim : std::nullopt);
  }
  return make_parts(std::move(normalizer), PreTokenizer(std::move(steps)), std::move(model), std::move(tokens),
                    std::move(post_processor), Decoder({ByteLevelDecoder{}}),
                    {cls, sep, pad, mask, 0, config.model_max_length});
}

}  // namespace tenon::text
