#include "text/decoder.h"

#include <utility>

#include "text/json_node.h"

namespace tenon::text {
namespace {

using nlohmann::json;

// In this order, as `tokenizers` does.
constexpr std::pair<std::string_view, std::string_view> kCleanups[] = {
    {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
    {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

Decoder Decoder::wordpiece(std::string prefix, bool cleanup) {
  Decoder decoder;
  decoder.wordpiece_ = true;
  decoder.prefix_ = std::move(prefix);
  decoder.cleanup_ = cleanup;
  return decoder;
}

Result<Decoder> Decoder::from_json(const JsonNode& node) {
  TENON_ASSIGN(const JsonNode type_node, node.at("type"));
  TENON_ASSIGN(const std::string type, type_node.string());
  if (type != "WordPiece") return type_node.unsupported(fmt::format("the decoder \"{}\"", type));
  TENON_ASSIGN(std::string prefix, node.string("prefix", "##"));
  TENON_ASSIGN(const bool cleanup, node.boolean("cleanup", true));
  return wordpiece(std::move(prefix), cleanup);
}

json Decoder::to_json() const {
  if (!wordpiece_) return nullptr;
  return {{"type", "WordPiece"}, {"prefix", prefix_}, {"cleanup", cleanup_}};
}

std::string Decoder::decode(const std::vector<std::string_view>& tokens) const {
  std::string out, word;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string_view token = tokens[i];
    word.clear();
    if (i > 0) {
      if (wordpiece_ && token.starts_with(prefix_)) {
        token.remove_prefix(prefix_.size());
      } else {
        word = " ";
      }
    }
    word += token;
    // Token by token: a rule never sees across two of them.
    if (cleanup_) {
      for (const auto& [from, to] : kCleanups) replace_all(word, from, to);
    }
    out += word;
  }
  return out;
}

}  // namespace tenon::text
