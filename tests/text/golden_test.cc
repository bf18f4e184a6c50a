// Whole encodings against those of Hugging Face `tokenizers` for many settings (golden/cases.json).
#include <gtest/gtest.h>

#include <map>

#include "digest.h"
#include "files.h"
#include "settings.h"

namespace tenon::text {
namespace {

using nlohmann::json;

const json& cases() {
  static const json file = read_json(golden("cases.json"));
  return file;
}

json golden_vocab() {
  json vocab = json::object();
  std::string text = read_text(golden("vocab.txt"));
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    const size_t id = vocab.size();
    vocab[text.substr(begin, end - begin)] = id;
    begin = end + 1;
  }
  return vocab;
}

TokenizerPtr load(json config) {
  config["model"]["vocab"] = golden_vocab();
  const auto tokenizer = Tokenizer::from_json(config.dump(), "golden");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return tokenizer.ok() ? *tokenizer : nullptr;
}

TokenizerPtr golden_bert() {
  for (const json& entry : cases()["settings"]) {
    if (entry["name"] == "uncased") return load(entry["tokenizer"]);
  }
  return nullptr;
}

Encoding encode(const Tokenizer& tokenizer, const json& first, const json& second, const EncodeOptions& options) {
  if (second.is_null()) return tokenizer.encode(first.get<std::string>(), options);
  return tokenizer.encode_pair(first.get<std::string>(), second.get<std::string>(), options);
}

TEST(Golden, EverySettingGivesTheSameEncodings) {
  EncodeOptions plain;
  plain.add_special_tokens = false;
  for (const json& entry : cases()["settings"]) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    const TokenizerPtr tokenizer = load(entry["tokenizer"]);
    ASSERT_NE(tokenizer, nullptr);
    for (const TokenizerPtr& t : with_copy(tokenizer)) {
      for (size_t i = 0; i < entry["texts"].size(); ++i) {
        const json& text = cases()["texts"][i];
        EXPECT_EQ(json(numbers_of(t->encode(text.get<std::string>()))), entry["texts"][i]) << text;
      }
      for (size_t i = 0; i < entry["pairs"].size(); ++i) {
        const json& pair = cases()["pairs"][i];
        EXPECT_EQ(json(numbers_of(encode(*t, pair[0], pair[1], {}))), entry["pairs"][i]) << pair;
        EXPECT_EQ(json(numbers_of(encode(*t, pair[0], pair[1], plain))), entry["plain"][i]) << pair;
      }
      expect_decoded(*t, entry["decoded"]);
    }
  }
}

TEST(Golden, TruncationKeepsTheSameTokens) {
  const TokenizerPtr tokenizer = golden_bert();
  const std::map<std::string, Truncation> strategies = {{"longest_first", Truncation::kLongestFirst},
                                                        {"only_first", Truncation::kOnlyFirst},
                                                        {"only_second", Truncation::kOnlySecond}};
  ASSERT_GT(cases()["truncated"].size(), 50u);
  for (const json& c : cases()["truncated"]) {
    EncodeOptions options;
    options.truncation = strategies.at(c[2]);
    options.truncation_side = c[3] == "left" ? Side::kLeft : Side::kRight;
    options.max_length = c[4];
    EXPECT_EQ(json(numbers_of(encode(*tokenizer, c[0], c[1], options))), c[5]) << c;
  }
}

TEST(Golden, WindowsCoverTheSameTokens) {
  const TokenizerPtr tokenizer = golden_bert();
  ASSERT_GT(cases()["windows"].size(), 10u);
  for (const json& c : cases()["windows"]) {
    const std::string context = c[1];
    const std::vector<Encoding> rows = c[0].is_null()
                                           ? tokenizer->encode_windows(context, c[2], c[3])
                                           : tokenizer->encode_windows(c[0].get<std::string>(), context, c[2], c[3]);
    json numbers = json::array();
    for (const Encoding& row : rows) numbers.push_back(numbers_of(row));
    EXPECT_EQ(numbers, c[4]) << c;
  }
}

TEST(Golden, PaddedBatchesAreTheSame) {
  const TokenizerPtr tokenizer = golden_bert();
  for (const json& c : cases()["padded"]) {
    EncodeOptions options;
    options.padding = c[2].is_null() ? Padding::kLongest : Padding::kFixed;
    options.padding_side = c[1] == "left" ? Side::kLeft : Side::kRight;
    options.pad_length = c[2].is_null() ? 0 : c[2].get<int>();
    options.pad_to_multiple = c[3].is_null() ? 0 : c[3].get<int>();
    const auto texts = c[0].get<std::vector<std::string>>();
    const std::vector<Encoding> rows = tokenizer->encode_batch(texts, options);
    ASSERT_EQ(rows.size(), c[4].size());
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(json(numbers_of(rows[i])), c[4][i][0]) << c;
      EXPECT_EQ(json(rows[i].attention_mask), c[4][i][1]) << c;
    }
  }
}

}  // namespace
}  // namespace tenon::text
