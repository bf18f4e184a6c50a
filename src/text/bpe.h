// Byte pair encoding: the characters of a word are merged, two neighbours at a time, in the order in which the merges
// were learned (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units"). The byte-level
// kind (GPT-2, RoBERTa) is this model behind a pre-tokenizer that writes bytes as characters; the kind of SentencePiece
// (LLaMA) falls back to bytes for characters that it lacks.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/model.h"

namespace tenon::text {

struct BpeSettings {
  std::string unk_token;           // empty: unknown characters are left out
  std::string continuing_prefix;   // before every character of a word but the first
  std::string end_of_word_suffix;  // behind the last
  bool fuse_unk = false;           // neighbours that are unknown become one token
  bool byte_fallback = false;      // unknown characters become the tokens <0x00> to <0xFF> of their bytes
  bool ignore_merges = false;      // a word that is a token stays whole
};

class Bpe final : public Model {
 public:
  // Two tokens that are merged; the first pair goes first.
  using Merges = std::vector<std::pair<std::string, std::string>>;

  // Errors: bad-model (a merge of or to a token that the vocabulary lacks); `where` begins the message.
  static Result<std::unique_ptr<const Bpe>> build(Vocabulary vocabulary, const Merges& merges, BpeSettings settings,
                                                  const std::string& where);

  void tokenize(std::string_view word, std::vector<Piece>& pieces) const override;
  size_t part_end(std::string_view word, size_t begin) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::string_view unk_token() const override { return settings_.unk_token; }
  std::string to_json() const override;

 private:
  struct Merge {
    uint64_t pair = kNoPair;  // the ids, left in the high half
    int32_t rank = kNoRank;
    int32_t id = -1;  // of what they become
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};
  static constexpr int32_t kNoRank = 0x7FFFFFFF;

  Bpe(Vocabulary vocabulary, BpeSettings settings);
  size_t slot_of(uint64_t pair) const;                   // where it is, or the empty slot where it belongs
  const Merge& find(int32_t left, int32_t right) const;  // without a rank: the two do not merge
  void symbols_of(std::string_view word, std::vector<Piece>& symbols) const;
  void merge_short(Piece* symbols, size_t& count) const;
  void merge_long(std::vector<Piece>& symbols, size_t first) const;

  Vocabulary vocabulary_;
  BpeSettings settings_;
  int32_t unk_id_ = -1;
  std::vector<int32_t> byte_ids_;  // of <0x00> to <0xFF>; -1: not there
  std::vector<Merge> merges_;      // open addressing; a power of two, at most half in use
  std::vector<uint64_t> ranked_;   // all pairs by rank, for to_json
  bool cuts_at_blanks_ = false;    // no merge reaches over the beginning of a word of SentencePiece
};

}  // namespace tenon::text
