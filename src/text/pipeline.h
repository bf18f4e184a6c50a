// The path of a text: added tokens -> normalizer -> pre-tokenizer -> model. Gives tokens with their origin.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/word_cache.h"

namespace tenon::text {

struct Token {
  int32_t id;
  int32_t word;
  int32_t begin, end;            // code points of the source text
  int32_t byte_begin, byte_end;  // bytes of the source text
};

class Pipeline {
 public:
  // Memory of a run, kept from text to text. `tokens` is the result.
  struct Scratch {
    std::vector<Token> tokens;
    int32_t words = 0;
    int32_t shift = 0;  // bytes minus code points of the text so far
    std::string folded;
    std::vector<Piece> pieces;
    UnitText units;
    PreTokenizer::Words split;
    std::vector<size_t> bytes_of_units;
    std::string word;
    WordCache cache;
    std::vector<AddedTokens::Part> source_parts, normalized_parts;
  };

  // `trims`: white space at the ends of a token is not part of its offsets; `keeps_prefix_space`: but one blank before
  // the first token is.
  struct Offsets {
    bool trims = false;
    bool keeps_prefix_space = false;
  };

  Pipeline(Normalizer normalizer, PreTokenizer pre_tokenizer, std::unique_ptr<const Model> model, AddedTokens added,
           Offsets offsets = {false, false});

  // `text` is valid UTF-8. Replaces scratch.tokens.
  void run(std::string_view text, Scratch& scratch) const;

  const Normalizer& normalizer() const { return normalizer_; }
  const PreTokenizer& pre_tokenizer() const { return pre_tokenizer_; }
  const Model& model() const { return *model_; }
  const AddedTokens& added() const { return added_; }

 private:
  // What BERT's normalizer and pre-tokenizer make of a byte.
  enum ByteKind : uint8_t {
    kLetter,     // part of a word, itself or in lower case
    kSeparator,  // white space
    kMarkSign,   // punctuation: a word of its own
    kOther,      // dropped, or no ASCII
  };

  // Characters of white space at both ends of a token.
  struct WhiteSpace {
    int32_t left = 0, right = 0;
  };

  // The offsets [begin, end) of the next token without it.
  void trim(WhiteSpace space, const Scratch& scratch, int32_t& begin, int32_t& end) const;
  void push_added(std::string_view text, AddedTokens::Part part, Scratch& scratch) const;
  void run_part(std::string_view text, size_t begin, size_t end, Scratch& scratch) const;
  void run_bert(std::string_view text, size_t begin, size_t end, Scratch& scratch) const;
  void run_units(std::string_view text, size_t begin, size_t end, Scratch& scratch) const;
  // `first`: index of the part's first code point in the text.
  void run_words(UnitRange range, int32_t first, Scratch& scratch) const;
  // The pieces of scratch.word, from `begin` on up to where the model can stop, which is returned.
  size_t run_model(size_t begin, Scratch& scratch) const;
  // A token of the source code points [begin, end) behind `first`, less the white space at its ends.
  void push(int32_t id, int32_t begin, int32_t end, WhiteSpace space, int32_t first, Scratch& scratch) const;

  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<const Model> model_;
  AddedTokens added_;
  Offsets offsets_;
  std::vector<WhiteSpace> spaces_;  // of the vocabulary's tokens by id, when offsets are trimmed
  bool bert_ = false;               // ASCII goes the short way
  bool fold_ = false;               // … in lower case
  std::array<ByteKind, 256> kinds_{};
};

}  // namespace tenon::text
