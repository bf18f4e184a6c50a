#include "text/word_cache.h"

#include <cstring>

#include "text/string_index.h"

namespace tenon::text {
namespace {

// Pieces whose room a word's bytes take.
size_t room_for(size_t length) { return (length + sizeof(Piece) - 1) / sizeof(Piece); }

}  // namespace

std::optional<std::span<const Piece>> WordCache::find(std::string_view word) const {
  if (slots_.empty() || word.size() > kLongest) return std::nullopt;
  const uint64_t hash = hash_of(word);
  const Slot* const set = &slots_[hash % kSets * kWays];
  for (size_t way = 0; way < kWays; ++way) {
    const Slot& slot = set[way];
    if (slot.hash != hash >> 32 || slot.length != word.size()) continue;
    const Piece* const entry = pieces_.data() + slot.first;
    if (std::memcmp(entry, word.data(), word.size()) != 0) continue;
    return std::span<const Piece>(entry + room_for(word.size()), slot.count);
  }
  return std::nullopt;
}

void WordCache::insert(std::string_view word, std::span<const Piece> pieces) {
  if (word.empty() || word.size() > kLongest || pieces.size() > kLongest) return;
  if (slots_.empty() || pieces_.size() + room_for(word.size()) + pieces.size() > kMaxPieces) {
    slots_.assign(kSets * kWays, {});
    pieces_.clear();
  }
  const uint64_t hash = hash_of(word);
  Slot* const set = &slots_[hash % kSets * kWays];
  for (size_t way = kWays; --way > 0;) set[way] = set[way - 1];
  set[0] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(pieces_.size()),
            static_cast<uint16_t>(word.size()), static_cast<uint16_t>(pieces.size())};
  pieces_.resize(pieces_.size() + room_for(word.size()));
  std::memcpy(pieces_.data() + set[0].first, word.data(), word.size());
  pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
}

}  // namespace tenon::text
