// The pieces of words that a thread has seen before: a text repeats most of its words.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "text/model.h"

namespace tenon::text {

// Bounded: a word may take the place of another, and a full cache starts anew.
class WordCache {
 public:
  // Empty when the word is not kept; the pieces stay valid until the next insertion.
  std::optional<std::span<const Piece>> find(std::string_view word) const;
  void insert(std::string_view word, std::span<const Piece> pieces);

 private:
  static constexpr size_t kSets = size_t{1} << 15;
  static constexpr size_t kWays = 2;       // slots of a set; the first was filled last
  static constexpr size_t kLongest = 128;  // bytes of a word; longer ones are rarely seen again
  static constexpr size_t kMaxPieces = size_t{1} << 19;

  struct Slot {
    uint32_t hash = 0;    // its high half
    uint32_t first = 0;   // in pieces_: the word's bytes, then its pieces
    uint16_t length = 0;  // bytes of the word; 0: the slot is empty
    uint16_t count = 0;   // pieces
  };

  std::vector<Slot> slots_;
  std::vector<Piece> pieces_;
};

}  // namespace tenon::text
