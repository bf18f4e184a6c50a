#include "text/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "text/unicode.h"

namespace tenon::text {
namespace {

// Below the least probable token, as SentencePiece has it.
constexpr double kUnknownPenalty = 10.0;

}  // namespace

Result<std::unique_ptr<const Unigram>> Unigram::build(Vocabulary vocabulary, std::vector<double> scores, int32_t unk_id,
                                                      bool byte_fallback, const std::string& where) {
  if (vocabulary.size() == 0) return error(ErrorCode::kBadModel, "{}: no tokens", where);
  scores.resize(static_cast<size_t>(vocabulary.id_end()));
  for (size_t id = 0; id < scores.size(); ++id) {
    scores[id] += 0.0;  // minus zero would be written as another text than it was read from
    if (!std::isfinite(scores[id])) return error(ErrorCode::kBadModel, "{}[{}]: the score is no number", where, id);
  }
  if (unk_id >= 0 && !vocabulary.has(unk_id)) {
    return error(ErrorCode::kBadModel, "{}: the unknown token's id {} is not in the vocabulary", where, unk_id);
  }
  return std::unique_ptr<const Unigram>(new Unigram(std::move(vocabulary), std::move(scores), unk_id, byte_fallback));
}

Unigram::Unigram(Vocabulary vocabulary, std::vector<double> scores, int32_t unk_id, bool byte_fallback)
    : vocabulary_(std::move(vocabulary)), scores_(std::move(scores)), unk_id_(unk_id), byte_fallback_(byte_fallback) {
  unk_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  if (byte_fallback_) {
    for (int byte = 0; byte < 256; ++byte) byte_ids_.push_back(vocabulary_.find(fmt::format("<0x{:02X}>", byte)));
  }
  build_trie();
}

// Level by level: a node stands for a range of the sorted tokens that share its bytes.
void Unigram::build_trie() {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocabulary_.id_end(); ++id) {
    if (!vocabulary_.token(id).empty()) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return vocabulary_.token(a) < vocabulary_.token(b); });
  struct Range {
    size_t begin, end;
  };
  std::vector<Range> level{{0, ids.size()}};
  nodes_.push_back({});
  size_t node = 0;
  for (size_t depth = 0; !level.empty(); ++depth) {
    std::vector<Range> next;
    for (Range range : level) {
      const auto byte_at = [&](size_t i) { return static_cast<uint8_t>(vocabulary_.token(ids[i])[depth]); };
      if (range.begin < range.end && vocabulary_.token(ids[range.begin]).size() == depth) {
        nodes_[node].id = ids[range.begin++];
      }
      nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
      for (size_t begin = range.begin, end; begin < range.end; begin = end) {
        for (end = begin + 1; end < range.end && byte_at(end) == byte_at(begin); ++end) continue;
        Node child;
        child.byte = byte_at(begin);
        nodes_.push_back(child);
        next.push_back({begin, end});
        ++nodes_[node].children;
      }
      ++node;
    }
    level = std::move(next);
  }
}

const Unigram::Node* Unigram::child(const Node& node, uint8_t byte) const {
  const Node* const begin = nodes_.data() + node.first_child;
  const Node* const end = begin + node.children;
  const Node* const found = std::lower_bound(begin, end, byte, [](const Node& n, uint8_t b) { return n.byte < b; });
  return found != end && found->byte == byte ? found : nullptr;
}

void Unigram::append(std::string_view word, int32_t id, size_t begin, size_t end, std::vector<Piece>& pieces) const {
  const auto from = static_cast<int32_t>(begin), to = static_cast<int32_t>(end);
  if (id != unk_id_) return pieces.push_back({id, from, to});
  // Several unknown characters may be a token together that another way to cut the word was preferred to.
  const std::string_view part = word.substr(begin, end - begin);
  if (const int32_t known = vocabulary_.find(part); known >= 0) return pieces.push_back({known, from, to});
  const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
  if (byte_fallback_ && std::all_of(part.begin(), part.end(), [&](char c) { return byte_id(c) >= 0; })) {
    for (const char c : part) pieces.push_back({byte_id(c), from, to});
  } else if (unk_id_ >= 0) {
    pieces.push_back({unk_id_, from, to});
  }
}

void Unigram::tokenize(std::string_view word, std::vector<Piece>& pieces) const {
  struct Best {
    double score = 0;
    int32_t begin = -1;  // of the last token; -1: no way here yet
    int32_t id = -1;
  };
  std::vector<Best> best(word.size() + 1);  // of all ways to cut the first bytes of the word
  const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
    score += best[begin].score;
    if (best[end].begin < 0 || score > best[end].score) best[end] = {score, static_cast<int32_t>(begin), id};
  };
  for (size_t begin = 0; begin < word.size();) {
    const char* p = word.data() + begin;
    next_code_point(p);
    const auto character_end = static_cast<size_t>(p - word.data());
    bool covered = false;
    const Node* node = nodes_.data();
    for (size_t end = begin; end < word.size();) {
      node = child(*node, static_cast<uint8_t>(word[end++]));
      if (node == nullptr) break;
      if (node->id < 0) continue;
      offer(begin, end, scores_[static_cast<size_t>(node->id)], node->id);
      covered = covered || end == character_end;
    }
    if (!covered) offer(begin, character_end, unk_score_, unk_id_);
    begin = character_end;
  }
  // From the end; neighbours that are unknown become one token.
  const size_t first = pieces.size();
  for (size_t end = word.size(); end > 0;) {
    const int32_t id = best[end].id;
    auto begin = static_cast<size_t>(best[end].begin);
    while (id == unk_id_ && unk_id_ >= 0 && begin > 0 && best[begin].id == unk_id_) {
      begin = static_cast<size_t>(best[begin].begin);
    }
    const size_t count = pieces.size();
    append(word, id, begin, end, pieces);
    std::reverse(pieces.begin() + static_cast<std::ptrdiff_t>(count), pieces.end());
    end = begin;
  }
  std::reverse(pieces.begin() + static_cast<std::ptrdiff_t>(first), pieces.end());
}

std::string Unigram::to_json() const {
  using nlohmann::json;
  std::string out = fmt::format(R"({{"type":"Unigram","unk_id":{},"byte_fallback":{},"vocab":[)",
                                unk_id_ < 0 ? std::string("null") : std::to_string(unk_id_), byte_fallback_);
  for (int32_t id = 0; id < vocabulary_.id_end(); ++id) {
    out += fmt::format("{}[{},{}]", id == 0 ? "" : ",", json(vocabulary_.token(id)).dump(),
                       scores_[static_cast<size_t>(id)]);
  }
  return out + "]}";
}

}  // namespace tenon::text
