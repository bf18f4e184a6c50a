#include "text/wordpiece.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/unicode.h"

namespace tenon::text {

Result<std::unique_ptr<const WordPiece>> WordPiece::build(Vocabulary vocabulary, WordPieceSettings settings,
                                                          const std::string& where) {
  if (vocabulary.find(settings.unk_token) < 0) {
    return error(ErrorCode::kBadModel, "{}: the unknown token \"{}\" is not in the vocabulary", where,
                 settings.unk_token);
  }
  return std::unique_ptr<const WordPiece>(new WordPiece(std::move(vocabulary), std::move(settings)));
}

WordPiece::WordPiece(Vocabulary vocabulary, WordPieceSettings settings)
    : vocabulary_(std::move(vocabulary)), settings_(std::move(settings)) {
  unk_id_ = vocabulary_.find(settings_.unk_token);
  const std::string& prefix = settings_.continuing_prefix;
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocabulary_.id_end(); ++id) {
    if (vocabulary_.has(id) && vocabulary_.token(id).starts_with(prefix)) ids.push_back(id);
  }
  continuations_ = StringIndex(ids.size());
  for (const int32_t id : ids) continuations_.insert(vocabulary_.token(id).substr(prefix.size()), id);
}

bool WordPiece::too_long(std::string_view word) const {
  const auto limit = static_cast<size_t>(settings_.max_word_length);
  return word.size() > limit && static_cast<size_t>(count_code_points(word)) > limit;
}

void WordPiece::tokenize(std::string_view word, std::vector<Piece>& pieces) const {
  const size_t first = pieces.size();
  const auto unknown = [&] {
    pieces.resize(first);
    pieces.push_back({unk_id_, 0, static_cast<int32_t>(word.size())});
  };
  if (too_long(word)) return unknown();
  const StringIndex* index = &vocabulary_.index();
  for (size_t begin = 0; begin < word.size(); index = &continuations_) {
    size_t end = std::min(word.size(), begin + index->longest());
    int32_t id = -1;
    while (end > begin && (id = index->find(word.substr(begin, end - begin))) < 0) --end;
    if (id < 0) return unknown();
    pieces.push_back({id, static_cast<int32_t>(begin), static_cast<int32_t>(end)});
    begin = end;
  }
}

std::string WordPiece::to_json() const {
  using nlohmann::json;
  return fmt::format(
      R"({{"type":"WordPiece","unk_token":{},"continuing_subword_prefix":{},"max_input_chars_per_word":{},"vocab":{{{}}}}})",
      json(settings_.unk_token).dump(), json(settings_.continuing_prefix).dump(), settings_.max_word_length,
      vocabulary_json(vocabulary_));
}

}  // namespace tenon::text
