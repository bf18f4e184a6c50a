// WordPiece: the longest token that begins a word, then the longest that continues it, until the word is used up.
#pragma once

#include <memory>
#include <string>

#include "text/model.h"

namespace tenon::text {

struct WordPieceSettings {
  std::string unk_token = "[UNK]";
  std::string continuing_prefix = "##";
  int32_t max_word_length = 100;  // code points; a longer word is unknown
};

class WordPiece final : public Model {
 public:
  // Errors: bad-model when the unknown token is not in the vocabulary; `where` begins the message.
  static Result<std::unique_ptr<const WordPiece>> build(Vocabulary vocabulary, WordPieceSettings settings,
                                                        const std::string& where);

  void tokenize(std::string_view word, std::vector<Piece>& pieces) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::string_view unk_token() const override { return settings_.unk_token; }
  std::string to_json() const override;

 private:
  WordPiece(Vocabulary vocabulary, WordPieceSettings settings);
  bool too_long(std::string_view word) const;

  Vocabulary vocabulary_;
  WordPieceSettings settings_;
  StringIndex continuations_;  // tokens with the prefix, without it
  int32_t unk_id_ = 0;
};

}  // namespace tenon::text
