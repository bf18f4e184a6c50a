#include "text/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>
#include <queue>

#include "text/unicode.h"

namespace tenon::text {
namespace {

constexpr std::string_view kBlank = "\u2581";
// Up to this many symbols it is quicker to look through all pairs for the best than to keep them in order.
constexpr size_t kShort = 24;

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

size_t hash_of_pair(uint64_t pair) {
  pair *= 0x9E3779B97F4A7C15u;
  return static_cast<size_t>(pair ^ pair >> 32);
}

size_t character_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// A blank of SentencePiece behind anything else.
bool has_inner_blank(std::string_view token) {
  size_t at = 0;
  while (token.substr(at).starts_with(kBlank)) at += kBlank.size();
  return token.find(kBlank, at) != std::string_view::npos;
}

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, BpeSettings settings)
    : vocabulary_(std::move(vocabulary)), settings_(std::move(settings)) {
  if (!settings_.unk_token.empty()) unk_id_ = vocabulary_.find(settings_.unk_token);
  if (!settings_.byte_fallback) return;
  for (int byte = 0; byte < 256; ++byte) byte_ids_.push_back(vocabulary_.find(fmt::format("<0x{:02X}>", byte)));
}

size_t Bpe::slot_of(uint64_t pair) const {
  const size_t mask = merges_.size() - 1;
  size_t at = hash_of_pair(pair) & mask;
  while (merges_[at].pair != pair && merges_[at].pair != kNoPair) at = (at + 1) & mask;
  return at;
}

const Bpe::Merge& Bpe::find(int32_t left, int32_t right) const { return merges_[slot_of(pair_of(left, right))]; }

Result<std::unique_ptr<const Bpe>> Bpe::build(Vocabulary vocabulary, const Merges& merges, BpeSettings settings,
                                              const std::string& where) {
  if (!settings.unk_token.empty() && vocabulary.find(settings.unk_token) < 0) {
    return error(ErrorCode::kBadModel, "{}: the unknown token \"{}\" is not in the vocabulary", where,
                 settings.unk_token);
  }
  std::unique_ptr<Bpe> bpe(new Bpe(std::move(vocabulary), std::move(settings)));
  bpe->merges_.resize(std::bit_ceil(2 * merges.size() + 2));
  const size_t prefix = bpe->settings_.continuing_prefix.size();
  bool inner_blanks = false;
  std::string whole;
  for (const auto& [left, right] : merges) {
    const auto rank = static_cast<int32_t>(bpe->ranked_.size());
    whole = left;
    whole += std::string_view(right).substr(std::min(prefix, right.size()));
    const int32_t l = bpe->vocabulary_.find(left), r = bpe->vocabulary_.find(right), id = bpe->vocabulary_.find(whole);
    if (l < 0 || r < 0 || id < 0) {
      return error(ErrorCode::kBadModel, "{}[{}]: the token \"{}\" is not in the vocabulary", where, rank,
                   l < 0   ? left
                   : r < 0 ? right
                           : whole);
    }
    // Listed again, a pair has its later rank.
    const uint64_t pair = pair_of(l, r);
    bpe->merges_[bpe->slot_of(pair)] = {pair, rank, id};
    bpe->ranked_.push_back(pair);
    inner_blanks = inner_blanks || has_inner_blank(whole);
  }
  const BpeSettings& s = bpe->settings_;
  bpe->cuts_at_blanks_ = !inner_blanks && !s.ignore_merges && s.continuing_prefix.empty() &&
                         s.end_of_word_suffix.empty() && bpe->vocabulary_.find(kBlank) >= 0;
  return std::unique_ptr<const Bpe>(std::move(bpe));
}

size_t Bpe::part_end(std::string_view word, size_t begin) const {
  if (!cuts_at_blanks_) return word.size();
  while (word.substr(begin).starts_with(kBlank)) begin += kBlank.size();
  return std::min(word.find(kBlank, begin), word.size());
}

// The characters of a word as tokens, unknown ones as the settings say.
void Bpe::symbols_of(std::string_view word, std::vector<Piece>& symbols) const {
  Piece unknown{-1, 0, 0};  // not yet appended; id -1: none
  const auto flush = [&] {
    if (unknown.id >= 0) symbols.push_back(unknown);
    unknown.id = -1;
  };
  const bool plain = settings_.continuing_prefix.empty() && settings_.end_of_word_suffix.empty();
  std::string decorated;
  size_t end = 0;
  for (size_t begin = 0; begin < word.size(); begin = end) {
    end = std::min(begin + character_length(word[begin]), word.size());
    std::string_view character = word.substr(begin, end - begin);
    if (!plain) {
      decorated = begin > 0 ? settings_.continuing_prefix : std::string();
      decorated += character;
      if (end == word.size()) decorated += settings_.end_of_word_suffix;
      character = decorated;
    }
    const auto from = static_cast<int32_t>(begin), to = static_cast<int32_t>(end);
    const int32_t id = vocabulary_.find(character);
    if (id >= 0) {
      flush();
      symbols.push_back({id, from, to});
      continue;
    }
    const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
    if (settings_.byte_fallback &&
        std::all_of(character.begin(), character.end(), [&](char c) { return byte_id(c) >= 0; })) {
      // A decorated character has more bytes than the word: the last one stands for the rest.
      for (size_t i = 0; i < character.size(); ++i) {
        const auto at = std::min(from + static_cast<int32_t>(i), to - 1);
        symbols.push_back({byte_id(character[i]), at, at + 1});
      }
      continue;
    }
    if (unk_id_ < 0) continue;
    if (unknown.id >= 0 && settings_.fuse_unk) {
      unknown.end = to;
    } else {
      flush();
      unknown = {unk_id_, from, to};
    }
  }
  flush();
}

// Merges the best pair, the leftmost of equals, until there is none.
void Bpe::merge_short(Piece* symbols, size_t& count) const {
  std::array<int32_t, kShort> ranks, ids;  // of symbol i with the next one
  const auto rate = [&](size_t i) {
    const Merge& merge = find(symbols[i].id, symbols[i + 1].id);
    ranks[i] = merge.rank;
    ids[i] = merge.id;
  };
  for (size_t i = 0; i + 1 < count; ++i) rate(i);
  while (count > 1) {
    const auto best = static_cast<size_t>(std::min_element(ranks.begin(), ranks.begin() + count - 1) - ranks.begin());
    if (ranks[best] == kNoRank) return;
    symbols[best] = {ids[best], symbols[best].begin, symbols[best + 1].end};
    std::copy(symbols + best + 2, symbols + count, symbols + best + 1);
    std::copy(ranks.begin() + best + 1, ranks.begin() + count - 1, ranks.begin() + best);
    std::copy(ids.begin() + best + 1, ids.begin() + count - 1, ids.begin() + best);
    --count;
    if (best > 0) rate(best - 1);
    if (best + 1 < count) rate(best);
  }
}

// The same with the pairs in a queue: time n log n for words of any length.
void Bpe::merge_long(std::vector<Piece>& symbols, size_t first) const {
  struct Candidate {
    int32_t rank;
    uint32_t left, right;  // symbols
    int32_t left_id, right_id, id;
    bool operator>(const Candidate& o) const { return rank != o.rank ? rank > o.rank : left > o.left; }
  };
  const auto count = static_cast<uint32_t>(symbols.size() - first);
  Piece* const s = symbols.data() + first;
  std::vector<uint32_t> next(count), previous(count);
  for (uint32_t i = 0; i < count; ++i) next[i] = i + 1, previous[i] = i - 1;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto add = [&](uint32_t left, uint32_t right) {
    const Merge& merge = find(s[left].id, s[right].id);
    if (merge.rank != kNoRank) queue.push({merge.rank, left, right, s[left].id, s[right].id, merge.id});
  };
  for (uint32_t i = 0; i + 1 < count; ++i) add(i, i + 1);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    const uint32_t left = best.left, right = best.right;
    // Either may have become another token, or part of one, since.
    if (s[left].id != best.left_id || s[right].id != best.right_id || next[left] != right) continue;
    s[left].id = best.id;
    s[left].end = s[right].end;
    s[right].id = -1;
    next[left] = next[right];
    if (next[left] < count) previous[next[left]] = left;
    if (left > 0) add(previous[left], left);
    if (next[left] < count) add(left, next[left]);
  }
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i = next[i]) s[kept++] = s[i];
  symbols.resize(first + kept);
}

void Bpe::tokenize(std::string_view word, std::vector<Piece>& pieces) const {
  if (settings_.ignore_merges) {
    if (const int32_t id = vocabulary_.find(word); id >= 0) {
      return pieces.push_back({id, 0, static_cast<int32_t>(word.size())});
    }
  }
  const size_t first = pieces.size();
  symbols_of(word, pieces);
  size_t count = pieces.size() - first;
  if (count > kShort) return merge_long(pieces, first);
  merge_short(pieces.data() + first, count);
  pieces.resize(first + count);
}

std::string Bpe::to_json() const {
  using nlohmann::json;
  std::string out = fmt::format(
      R"({{"type":"BPE","dropout":null,"unk_token":{},"continuing_subword_prefix":{},"end_of_word_suffix":{},)",
      settings_.unk_token.empty() ? "null" : json(settings_.unk_token).dump(), json(settings_.continuing_prefix).dump(),
      json(settings_.end_of_word_suffix).dump());
  out +=
      fmt::format(R"("fuse_unk":{},"byte_fallback":{},"ignore_merges":{},"vocab":{{{}}},"merges":[)",
                  settings_.fuse_unk, settings_.byte_fallback, settings_.ignore_merges, vocabulary_json(vocabulary_));
  for (size_t i = 0; i < ranked_.size(); ++i) {
    const auto token = [&](uint64_t id) { return json(vocabulary_.token(static_cast<int32_t>(id))).dump(); };
    out += fmt::format("{}[{},{}]", i == 0 ? "" : ",", token(ranked_[i] >> 32), token(ranked_[i] & 0xFFFFFFFF));
  }
  return out + "]}";
}

}  // namespace tenon::text
