// What every subword model gives: a word to pieces. WordPiece, BPE and Unigram are the ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace tenon::text {

struct Piece {
  int32_t id;
  int32_t begin, end;  // bytes of the word
};

class Model {
 public:
  virtual ~Model() = default;
  // Appends the pieces of one word, which is valid UTF-8 and not empty.
  virtual void tokenize(std::string_view word, std::vector<Piece>& pieces) const = 0;
  // The end of the part of `word` from byte `begin` on that gives the same pieces alone as within the word.
  virtual size_t part_end(std::string_view word, size_t begin) const {
    static_cast<void>(begin);
    return word.size();
  }
  virtual const Vocabulary& vocabulary() const = 0;
  virtual std::string_view unk_token() const = 0;
  // The "model" object of a tokenizer.json.
  virtual std::string to_json() const = 0;
};

}  // namespace tenon::text
