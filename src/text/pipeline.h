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
    std::vector<UnitRange> ranges;
    std::vector<size_t> bytes_of_units;
    std::string word;
    std::vector<AddedTokens::Part> source_parts, normalized_parts;
  };

  // `trims`: white space that an added token took is not part of its offsets; `keeps_prefix_space`: but one blank
  // before the first token is.
  struct AddedOffsets {
    bool trims = false;
    bool keeps_prefix_space = false;
  };

  Pipeline(Normalizer normalizer, PreTokenizer pre_tokenizer, std::unique_ptr<const Model> model, AddedTokens added,
           AddedOffsets added_offsets = {false, false});

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

  void push_added(std::string_view text, AddedTokens::Part part, Scratch& scratch) const;
  void run_part(std::string_view text, size_t begin, size_t end, Scratch& scratch) const;
  void run_bert(std::string_view text, size_t begin, size_t end, Scratch& scratch) const;
  void run_units(std::string_view text, size_t begin, size_t end, Scratch& scratch) const;
  // `first`: index of the part's first code point in the text.
  void run_words(UnitRange range, int32_t first, Scratch& scratch) const;
  static void push(int32_t id, UnitRange range, int32_t first, Scratch& scratch);

  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<const Model> model_;
  AddedTokens added_;
  AddedOffsets added_offsets_;
  bool bert_ = false;  // ASCII goes the short way
  bool fold_ = false;  // … in lower case
  std::array<ByteKind, 256> kinds_{};
};

}  // namespace tenon::text
