#include "text/decoder.h"

#include <algorithm>
#include <utility>

#include "text/pre_tokenizer.h"
#include "text/steps_json.h"
#include "text/unicode.h"

namespace tenon::text {
namespace {

using nlohmann::json;
using Strings = std::vector<std::string>;

// In this order, as `tokenizers` does.
constexpr std::pair<std::string_view, std::string_view> kCleanups[] = {
    {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
    {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  std::string out;
  size_t done = 0;
  for (size_t at; (at = text.find(from, done)) != std::string::npos; done = at + from.size()) {
    out.append(text, done, at - done);
    out += to;
  }
  if (done > 0) text = out.append(text, done);
}

std::string joined(const Strings& tokens) {
  std::string out;
  for (const std::string& token : tokens) out += token;
  return out;
}

void run(const WordPieceDecoder& step, Strings& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) {
      if (tokens[i].starts_with(step.prefix)) {
        tokens[i].erase(0, step.prefix.size());
      } else {
        tokens[i].insert(0, " ");
      }
    }
    // Token by token: a rule never sees across two of them.
    if (!step.cleanup) continue;
    for (const auto& [from, to] : kCleanups) replace_all(tokens[i], from, to);
  }
}

// The bytes of a token, or its own where one of its characters stands for none.
std::string bytes_of(const std::string& token) {
  std::string bytes;
  for (const char* p = token.data(); p != token.data() + token.size();) {
    const int byte = byte_of_character(next_code_point(p));
    if (byte < 0) return token;
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

void run(const ByteLevelDecoder&, Strings& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += bytes_of(token);
  tokens = {RepairedText(bytes).text()};
}

void run(const MetaspaceDecoder& step, Strings& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    replace_all(tokens[i], step.replacement, i == 0 && step.drop_first ? "" : " ");
  }
}

void run(const SuffixDecoder& step, Strings& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], step.suffix, i + 1 == tokens.size() ? "" : " ");
}

void run(const ReplaceDecoder& step, Strings& tokens) {
  for (std::string& token : tokens) replace_all(token, step.pattern, step.content);
}

// The byte of a token such as <0x4A>, or -1.
int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return -1;
  int byte = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    byte = 16 * byte + digit;
  }
  return byte;
}

void run(const ByteFallbackDecoder&, Strings& tokens) {
  Strings out;
  std::string bytes;
  const auto flush = [&] {
    if (valid_utf8_prefix(bytes) == bytes.size()) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\uFFFD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const int byte = fallback_byte(token); byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  tokens = std::move(out);
}

void run(const FuseDecoder&, Strings& tokens) { tokens = {joined(tokens)}; }

void run(const StripDecoder& step, Strings& tokens) {
  for (std::string& token : tokens) {
    for (size_t i = 0; i < step.left && token.starts_with(step.content); ++i) token.erase(0, step.content.size());
    for (size_t i = 0; i < step.right && token.ends_with(step.content); ++i) {
      token.resize(token.size() - step.content.size());
    }
  }
}

Result<Decoder::Step> decoder_step_from_json(const std::string& type, const JsonNode& type_node, const JsonNode& node) {
  using Step = Decoder::Step;
  if (type == "ByteLevel") return Step(ByteLevelDecoder{});
  if (type == "ByteFallback") return Step(ByteFallbackDecoder{});
  if (type == "Fuse") return Step(FuseDecoder{});
  if (type == "WordPiece") {
    WordPieceDecoder step;
    TENON_ASSIGN(step.prefix, node.string("prefix", step.prefix));
    TENON_ASSIGN(step.cleanup, node.boolean("cleanup", step.cleanup));
    return Step(std::move(step));
  }
  if (type == "Metaspace") {
    MetaspaceDecoder step{};
    TENON_ASSIGN(step.replacement, node.string("replacement", "\u2581"));
    TENON_ASSIGN(const bool add_prefix_space, node.boolean("add_prefix_space", true));
    TENON_ASSIGN(const std::string scheme, node.string("prepend_scheme", add_prefix_space ? "always" : "never"));
    step.drop_first = scheme != "never";
    return Step(std::move(step));
  }
  if (type == "BPEDecoder") {
    TENON_ASSIGN(std::string suffix, node.string("suffix", "</w>"));
    return Step(SuffixDecoder{std::move(suffix)});
  }
  if (type == "Replace") {
    TENON_ASSIGN(const JsonNode pattern, node.at("pattern"));
    TENON_ASSIGN(const std::optional<JsonNode> literal, pattern.find("String"));
    if (!literal) return pattern.unsupported("only a \"String\" can be replaced, not a regular expression");
    ReplaceDecoder step;
    TENON_ASSIGN(step.pattern, literal->string());
    TENON_ASSIGN(step.content, node.string("content", ""));
    return Step(std::move(step));
  }
  if (type == "Strip") {
    constexpr int64_t kMost = 1 << 20;
    StripDecoder step{};
    TENON_ASSIGN(step.content, node.string("content", " "));
    if (step.content.empty()) return node.bad("content: expected one character");
    TENON_ASSIGN(const int64_t left, node.integer("start", 0, kMost, 0));
    TENON_ASSIGN(const int64_t right, node.integer("stop", 0, kMost, 0));
    step.left = static_cast<size_t>(left), step.right = static_cast<size_t>(right);
    return Step(std::move(step));
  }
  return type_node.unsupported(fmt::format("the decoder \"{}\"", type));
}

json step_json(const WordPieceDecoder& step) {
  return {{"type", "WordPiece"}, {"prefix", step.prefix}, {"cleanup", step.cleanup}};
}
json step_json(const ByteLevelDecoder&) { return {{"type", "ByteLevel"}}; }
json step_json(const MetaspaceDecoder& step) {
  return {{"type", "Metaspace"},
          {"replacement", step.replacement},
          {"prepend_scheme", step.drop_first ? "always" : "never"}};
}
json step_json(const SuffixDecoder& step) { return {{"type", "BPEDecoder"}, {"suffix", step.suffix}}; }
json step_json(const ReplaceDecoder& step) {
  return {{"type", "Replace"}, {"pattern", {{"String", step.pattern}}}, {"content", step.content}};
}
json step_json(const ByteFallbackDecoder&) { return {{"type", "ByteFallback"}}; }
json step_json(const FuseDecoder&) { return {{"type", "Fuse"}}; }
json step_json(const StripDecoder& step) {
  return {{"type", "Strip"}, {"content", step.content}, {"start", step.left}, {"stop", step.right}};
}

}  // namespace

Result<Decoder> Decoder::from_json(const JsonNode& node) {
  std::vector<Step> steps;
  TENON_TRY(read_steps(node, "decoders", decoder_step_from_json, steps));
  return Decoder(std::move(steps));
}

json Decoder::to_json() const {
  return steps_json(steps_, "decoders", [](const auto& step) { return step_json(step); });
}

std::string Decoder::decode(const std::vector<std::string_view>& tokens) const {
  Strings strings(tokens.begin(), tokens.end());
  if (steps_.empty()) {
    for (size_t i = 1; i < strings.size(); ++i) strings[i].insert(0, " ");
  }
  for (const Step& step : steps_) std::visit([&](const auto& s) { run(s, strings); }, step);
  return joined(strings);
}

}  // namespace tenon::text
