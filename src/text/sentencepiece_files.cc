// SentencePiece models, read as the converters of Hugging Face `transformers` read them.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "sentencepiece.pb.h"
#include "text/bpe.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"
#include "text/unigram.h"

namespace tenon::text {
namespace {

constexpr int kUnigramModel = 1, kBpeModel = 2;
constexpr int kControlPiece = 3, kUserPiece = 4;
const std::string kBlankPiece = "\u2581";

enum class Family { kPlain, kXlmRoberta, kAlbert, kT5, kDebertaV2, kLlama };

struct FamilyTokens {
  Family family;
  std::string_view class_name;  // part of the tokenizer's class
  const char *cls, *sep, *pad, *mask;
};
constexpr FamilyTokens kFamilies[] = {
    {Family::kXlmRoberta, "XLMRoberta", "<s>", "</s>", "<pad>", "<mask>"},
    {Family::kAlbert, "Albert", "[CLS]", "[SEP]", "<pad>", "[MASK]"},
    {Family::kT5, "T5", "", "</s>", "<pad>", ""},
    {Family::kDebertaV2, "DebertaV2", "[CLS]", "[SEP]", "[PAD]", "[MASK]"},
    {Family::kLlama, "Llama", "<s>", "</s>", "", ""},
    {Family::kPlain, "", "", "", "", ""},
};

// By the tokenizer's class, or else by the file's usual name and what only one of them has.
const FamilyTokens& family_of(const TokenizerConfig& config, const sentencepiece_pb::Model& model,
                              const std::string& name) {
  const auto has = [&](std::string_view token) {
    return std::any_of(model.pieces().begin(), model.pieces().end(), [&](const auto& p) { return p.piece() == token; });
  };
  Family family = Family::kPlain;
  if (name.ends_with("sentencepiece.bpe.model")) family = Family::kXlmRoberta;
  if (name.ends_with("spm.model") && has("[CLS]")) family = Family::kDebertaV2;
  if (name.ends_with("spiece.model")) family = has("[CLS]") ? Family::kAlbert : Family::kT5;
  if (model.trainer_spec().model_type() == kBpeModel) family = Family::kLlama;
  for (const FamilyTokens& row : kFamilies) {
    if (!row.class_name.empty() && config.tokenizer_class.find(row.class_name) != std::string::npos) return row;
  }
  return *std::find_if(std::begin(kFamilies), std::end(kFamilies),
                       [&](const auto& row) { return row.family == family; });
}

struct ScoredPieces {
  Vocabulary::Entries entries;
  std::vector<double> scores;
  void add(std::string_view piece, double score) {
    entries.add(piece, static_cast<int32_t>(scores.size()));
    scores.push_back(score);
  }
};

// A number with a comma behind it, which ALBERT does not keep as one token.
bool is_number_with_comma(std::string_view piece) {
  if (!piece.ends_with(',')) return false;
  const std::string_view head = piece.substr(0, piece.size() - 1);
  return !head.empty() && head.back() >= '0' && head.back() <= '9';
}

ScoredPieces pieces_of(const sentencepiece_pb::Model& model, Family family) {
  constexpr double kAlbertPenalty = 100;
  constexpr int kXlmRobertaSkipped = 3;  // <unk>, <s>, </s>
  constexpr int kT5Sentinels = 100;
  ScoredPieces out;
  if (family == Family::kXlmRoberta) {
    for (const char* special : {"<s>", "<pad>", "</s>", "<unk>"}) out.add(special, 0);
  }
  for (int i = family == Family::kXlmRoberta ? kXlmRobertaSkipped : 0; i < model.pieces_size(); ++i) {
    const auto& piece = model.pieces(i);
    const bool penalty = family == Family::kAlbert && is_number_with_comma(piece.piece());
    out.add(piece.piece(), static_cast<double>(piece.score()) - (penalty ? kAlbertPenalty : 0));
  }
  if (family == Family::kXlmRoberta) out.add("<mask>", 0);
  if (family == Family::kT5) {
    for (int i = kT5Sentinels; i-- > 0;) out.add(fmt::format("<extra_id_{}>", i), 0);
  }
  return out;
}

// SentencePiece merges what gives the piece with the best score: every way to make each piece is a merge.
Bpe::Merges merges_of(const Vocabulary& vocabulary, const std::vector<double>& scores) {
  struct Way {
    int32_t left, right;
    double score;
    int64_t left_length, right_length;  // code points
  };
  std::vector<Way> ways;
  for (int32_t id = 0; id < vocabulary.id_end(); ++id) {
    const std::string_view piece = vocabulary.token(id);
    const size_t first = ways.size();
    for (size_t cut = 1; cut < piece.size(); ++cut) {
      if ((piece[cut] & 0xC0) == 0x80) continue;
      const std::string_view left = piece.substr(0, cut), right = piece.substr(cut);
      const int32_t l = vocabulary.find(left), r = vocabulary.find(right);
      if (l < 0 || r < 0) continue;
      ways.push_back({l, r, scores[static_cast<size_t>(id)], count_code_points(left), count_code_points(right)});
    }
    std::sort(ways.begin() + static_cast<std::ptrdiff_t>(first), ways.end(),
              [](const Way& a, const Way& b) { return std::pair(a.left, a.right) < std::pair(b.left, b.right); });
  }
  std::stable_sort(ways.begin(), ways.end(), [](const Way& a, const Way& b) {
    return std::tuple(a.score, a.left_length, a.right_length) > std::tuple(b.score, b.left_length, b.right_length);
  });
  Bpe::Merges merges;
  for (const Way& way : ways) merges.emplace_back(vocabulary.token(way.left), vocabulary.token(way.right));
  return merges;
}

Result<Normalizer> normalizer_of(const sentencepiece_pb::Model& model, Family family, const TokenizerConfig& config,
                                 const std::string& name) {
  std::vector<Normalizer::Step> steps;
  if (family == Family::kAlbert) {
    steps.emplace_back(Replace{"``", "\""});
    steps.emplace_back(Replace{"''", "\""});
    if (!config.keep_accents.value_or(false)) {
      steps.emplace_back(UnicodeForm{true, false});
      steps.emplace_back(StripAccents{});
    }
    if (config.lowercase.value_or(true)) steps.emplace_back(Lowercase{});
  }
  if (family == Family::kDebertaV2) {
    if (config.lowercase.value_or(false)) steps.emplace_back(Lowercase{});
    steps.emplace_back(StripSpace{true, true});
  }
  const std::string& bytes = model.normalizer_spec().precompiled_charsmap();
  if (!bytes.empty()) {
    TENON_ASSIGN(Charsmap map, Charsmap::parse(bytes, name + ": normalizer_spec.precompiled_charsmap"));
    steps.emplace_back(Precompiled{std::make_shared<const Charsmap>(std::move(map))});
  }
  if (family == Family::kPlain) {
    steps.emplace_back(StripSpace{false, true});
    steps.emplace_back(ReplaceSpaces{false, 2, false, kBlankPiece});
  }
  if (family == Family::kDebertaV2) steps.emplace_back(ReplaceSpaces{false, 2, false, " "});
  return Normalizer(std::move(steps));
}

PreTokenizer pre_tokenizer_of(Family family) {
  switch (family) {
    case Family::kXlmRoberta:
    case Family::kAlbert:
    case Family::kT5:
      return PreTokenizer({WhitespaceSplit{}, Metaspace{}});
    case Family::kLlama:
      return PreTokenizer({Metaspace{0x2581, Metaspace::Prepend::kFirst, false}});
    default:
      return PreTokenizer({Metaspace{}});
  }
}

Decoder decoder_of(Family family) {
  if (family != Family::kLlama) return Decoder({MetaspaceDecoder{kBlankPiece, true}});
  return Decoder({ReplaceDecoder{kBlankPiece, " "}, ByteFallbackDecoder{}, FuseDecoder{}, StripDecoder{" ", 1, 0}});
}

Result<sentencepiece_pb::Model> parse(std::string_view bytes, const std::string& name) {
  sentencepiece_pb::Model model;
  constexpr size_t kMaxBytes = size_t{1} << 30;
  if (bytes.size() > kMaxBytes || !model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return error(ErrorCode::kBadModel, "{}: not a SentencePiece model", name);
  }
  const int type = model.trainer_spec().has_model_type() ? model.trainer_spec().model_type() : kUnigramModel;
  if (type != kUnigramModel && type != kBpeModel) {
    return error(ErrorCode::kUnsupported, "{}: trainer_spec.model_type {}; only Unigram (1) and BPE (2) are known",
                 name, type);
  }
  if (model.pieces_size() == 0) return error(ErrorCode::kBadModel, "{}: no pieces", name);
  if (model.pieces_size() > Vocabulary::kMaxId / 2) return error(ErrorCode::kBadModel, "{}: too many pieces", name);
  for (int i = 0; i < model.pieces_size(); ++i) {
    const auto& piece = model.pieces(i);
    if (valid_utf8_prefix(piece.piece()) != piece.piece().size()) {
      return error(ErrorCode::kBadModel, "{}: pieces[{}]: not valid UTF-8", name, i);
    }
    if (!std::isfinite(piece.score())) {
      return error(ErrorCode::kBadModel, "{}: pieces[{}]: the score is no number", name, i);
    }
  }
  return model;
}

Result<std::unique_ptr<const Model>> model_of(const sentencepiece_pb::Model& file, Family family,
                                              const std::string& name) {
  ScoredPieces pieces = pieces_of(file, family);
  TENON_ASSIGN(Vocabulary vocabulary,
               Vocabulary::build(std::move(pieces.entries), Vocabulary::Duplicates::kReject, name + ": pieces"));
  const sentencepiece_pb::TrainerSpec& trainer = file.trainer_spec();
  if (trainer.model_type() == kBpeModel) {
    BpeSettings settings;
    settings.unk_token = trainer.has_unk_piece() ? trainer.unk_piece() : "<unk>";
    settings.fuse_unk = true;
    settings.byte_fallback = trainer.byte_fallback();
    const Bpe::Merges merges = merges_of(vocabulary, pieces.scores);
    TENON_ASSIGN(auto bpe, Bpe::build(std::move(vocabulary), merges, std::move(settings), name));
    return std::unique_ptr<const Model>(std::move(bpe));
  }
  constexpr int32_t kXlmRobertaUnknown = 3;
  const int32_t unk_id = family == Family::kXlmRoberta ? kXlmRobertaUnknown : trainer.unk_id();
  TENON_ASSIGN(auto unigram, Unigram::build(std::move(vocabulary), std::move(pieces.scores), std::max(unk_id, -1),
                                            trainer.byte_fallback(), name));
  return std::unique_ptr<const Model>(std::move(unigram));
}

}  // namespace

Result<TokenizerParts> parts_from_sentencepiece(std::string_view bytes, const TokenizerConfig& config,
                                                const std::string& name) {
  TENON_ASSIGN(const sentencepiece_pb::Model file, parse(bytes, name));
  const FamilyTokens& usual = family_of(config, file, name);
  const Family family = usual.family;
  TENON_ASSIGN(std::unique_ptr<const Model> model, model_of(file, family, name));
  TENON_ASSIGN(Normalizer normalizer, normalizer_of(file, family, config, name));

  const auto either = [](const std::string& stated, const char* fallback) {
    return stated.empty() ? std::string(fallback) : stated;
  };
  TokenizerSettings settings{either(config.cls, usual.cls),
                             either(config.sep, usual.sep),
                             either(config.pad, usual.pad),
                             either(config.mask, usual.mask),
                             0,
                             config.model_max_length};
  std::vector<AddedToken> added = config.added;
  const auto add = [&](const std::string& content, bool is_special) {
    const bool listed = std::any_of(added.begin(), added.end(), [&](const auto& a) { return a.content == content; });
    if (content.empty() || listed) return;
    AddedToken token;
    token.content = content;
    token.special = is_special;
    token.lstrip = content == settings.mask_token;
    added.push_back(std::move(token));
  };
  add(std::string(model->unk_token()), true);
  for (const std::string& token : {settings.cls_token, settings.pad_token, settings.sep_token, settings.mask_token}) {
    add(token, true);
  }
  for (const auto& piece : file.pieces()) {
    if (piece.type() == kControlPiece || piece.type() == kUserPiece) add(piece.piece(), piece.type() == kControlPiece);
  }
  if (family == Family::kT5) {
    for (int32_t id = file.pieces_size(); id < model->vocabulary().id_end(); ++id) {
      add(std::string(model->vocabulary().token(id)), true);
    }
  }
  TENON_ASSIGN(AddedTokens tokens, AddedTokens::build(std::move(added), model->vocabulary(), normalizer, name));
  const auto named = [&](const std::string& token) {
    const AddedToken* found = tokens.find(token);
    return std::pair<std::string, int32_t>(token, found == nullptr ? 0 : found->id);
  };
  PostProcessor post_processor;
  const auto cls = named(settings.cls_token), sep = named(settings.sep_token);
  if (family == Family::kXlmRoberta) post_processor = PostProcessor::roberta(cls, sep, std::nullopt);
  if (family == Family::kAlbert || family == Family::kDebertaV2) post_processor = PostProcessor::bert(cls, sep);
  if (family == Family::kT5) post_processor = PostProcessor::t5(sep);
  if (family == Family::kLlama) post_processor = PostProcessor::llama(cls);
  return make_parts(std::move(normalizer), pre_tokenizer_of(family), std::move(model), std::move(tokens),
                    std::move(post_processor), decoder_of(family), std::move(settings));
}

}  // namespace tenon::text
