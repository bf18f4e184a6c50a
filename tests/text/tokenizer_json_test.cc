// A tokenizer.json from outside: damage is an answer that names file and field, never a crash.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "text/tokenizer.h"

namespace tenon::text {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json valid() {
  return json::parse(R"({
    "version": "1.0",
    "added_tokens": [{"id": 1, "content": "[MASK]", "special": true, "normalized": false}],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                   "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "[MASK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4}}})");
}

Status load_text(const std::string& text) { return Tokenizer::from_json(text, "t.json").status(); }
Status load_text(const char* text) { return load_text(std::string(text)); }
Status load_text(const json& file) { return load_text(file.dump()); }

// The status of the valid file with one value changed.
Status with(const char* pointer, const json& value) {
  json file = valid();
  file[json::json_pointer(pointer)] = value;
  return load_text(file);
}

void expect_bad(const Status& status, const char* message) {
  EXPECT_EQ(status.code(), ErrorCode::kBadModel) << status.message();
  EXPECT_THAT(status.message(), HasSubstr(message));
}

TEST(TokenizerJson, AcceptsTheValidFile) { EXPECT_TRUE(load_text(valid()).ok()) << load_text(valid()).message(); }

TEST(TokenizerJson, RefusesTextThatIsNotJson) {
  for (const char* text : {"", "{", "[1,", "nonsense", "{\"model\":", "\xFF\xFE", "{\"a\": \"\xC3\"}", "{} {}"}) {
    expect_bad(load_text(std::string(text)), "t.json: not valid JSON");
  }
  for (const char* text : {"1", "[]", "\"x\"", "null", "1e999"}) {
    EXPECT_EQ(load_text(std::string(text)).code(), ErrorCode::kBadModel) << text;
  }
}

TEST(TokenizerJson, RefusesDeepNesting) {
  expect_bad(load_text(std::string(1000000, '[')), "t.json: nested deeper than 64 levels");
  std::string text = "{\"type\":\"Lowercase\"}";
  for (int i = 0; i < 100; ++i) text = R"({"type":"Sequence","normalizers":[)" + text + "]}";
  expect_bad(load_text("{\"normalizer\":" + text + "}"), "t.json: nested deeper");
}

TEST(TokenizerJson, RefusesAVocabularyThatContradictsItself) {
  expect_bad(with("/model/vocab/b", 4), "t.json: model.vocab[\"b\"]: has the id 4 that \"a\" has too");
  expect_bad(with("/model/vocab/b", -1), "t.json: model.vocab[\"b\"]: the id -1 is not between 0 and");
  expect_bad(with("/model/vocab/b", 1ll << 40), "t.json: model.vocab[\"b\"]: the id 1099511627776 is not between");
  expect_bad(with("/model/vocab/b", ~0ull), "t.json: model.vocab[\"b\"]: the id 9223372036854775807 is not between");
  for (const json& id : {json(1.5), json("4"), json(nullptr), json(true), json::array(), json::object()}) {
    expect_bad(with("/model/vocab/b", id), "t.json: model.vocab[\"b\"]: the id is not an integer");
  }
  expect_bad(with(("/model/vocab/" + std::string(5000, 'x')).c_str(), 5), "longer than 1024 bytes");
  expect_bad(load_text(R"({"model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "[UNK]": 1}}})"), "listed twice");
  expect_bad(with("/model/vocab", json::array()), "t.json: model: \"vocab\" is missing");
  expect_bad(with("/model/vocab", json::object()), "the unknown token \"[UNK]\" is not in the vocabulary");
}

TEST(TokenizerJson, RefusesMembersThatAppearTwice) {
  expect_bad(load_text(R"({"model": 1, "model": 2})"), "t.json: \"model\" is there twice");
  expect_bad(load_text(R"({"model": {"vocab": {}, "vocab": {}}})"), "t.json: ");
}

TEST(TokenizerJson, NamesTheFieldOfAWrongType) {
  expect_bad(with("/model", 3), "t.json: model: expected an object, found number");
  expect_bad(with("/model/unk_token", 3), "t.json: model.unk_token: expected a string, found number");
  expect_bad(with("/model/max_input_chars_per_word", -1), "t.json: model.max_input_chars_per_word: -1 is not between");
  expect_bad(with("/model/max_input_chars_per_word", "x"),
             "t.json: model.max_input_chars_per_word: expected an integer");
  expect_bad(with("/normalizer/lowercase", "x"), "t.json: normalizer.lowercase: expected true or false, found string");
  expect_bad(with("/normalizer", json::array()), "t.json: normalizer: expected an object, found array");
  expect_bad(with("/normalizer", json::object()), "t.json: normalizer: \"type\" is missing");
  expect_bad(with("/added_tokens", 1), "t.json: added_tokens: expected an array");
  expect_bad(with("/added_tokens/0/content", 1), "t.json: added_tokens[0].content: expected a string");
  expect_bad(with("/added_tokens/0/id", -1), "t.json: added_tokens[0].id: -1 is not between");
  expect_bad(with("/added_tokens/0/id", ~0ull), "t.json: added_tokens[0].id: 18446744073709551615 is not between");
  expect_bad(with("/post_processor/sep", json::array({"[SEP]"})),
             "t.json: post_processor.sep: expected a token and its id");
  expect_bad(with("/post_processor/sep/1", -3), "t.json: post_processor.sep[1]: -3 is not between");
  expect_bad(with("/decoder/prefix", 1), "t.json: decoder.prefix: expected a string");
}

TEST(TokenizerJson, RefusesAddedTokensThatShareAnId) {
  expect_bad(with("/added_tokens", json::parse(R"([{"id": 9, "content": "x"}, {"id": 9, "content": "y"}])")),
             "t.json: added_tokens: \"y\" has the id 9 that \"x\" has too");
  json file = valid();
  file["model"]["vocab"]["b"] = 6;  // 6 tokens, so an added one would get the id 6
  file["added_tokens"].push_back({{"content", "x"}});
  expect_bad(load_text(file), "\"x\" would get the id 6 that \"b\" has in the vocabulary");
}

TEST(TokenizerJson, RefusesTemplatesThatReferToNothing) {
  const auto processor = [](const char* single) {
    return with("/post_processor", {{"type", "TemplateProcessing"},
                                    {"single", json::parse(single)},
                                    {"pair", json::array()},
                                    {"special_tokens", json::object()}});
  };
  expect_bad(processor(R"([{"SpecialToken": {"id": "[CLS]", "type_id": 0}}])"),
             "t.json: post_processor.single[0].SpecialToken.id: \"[CLS]\" is not among \"special_tokens\"");
  expect_bad(processor(R"([{"Sequence": {"id": "B", "type_id": 0}}])"), "there is no sequence \"B\" in this template");
  expect_bad(processor("[]"), "t.json: post_processor.single: each sequence must stand in the template once");
  expect_bad(processor("[3]"), "t.json: post_processor.single[0]: expected an object");
  expect_bad(processor(R"([{"Sequence": {"id": "A", "type_id": -1}}])"), "type_id: -1 is not between");
}

TEST(TokenizerJson, SaysWhatItCannotDoYet) {
  const auto expect_unsupported = [](const Status& status, const char* message) {
    EXPECT_EQ(status.code(), ErrorCode::kUnsupported) << status.message();
    EXPECT_THAT(status.message(), HasSubstr(message));
  };
  expect_unsupported(with("/model/type", "WordLevel"), "t.json: model.type: models of type \"WordLevel\"");
  expect_unsupported(with("/normalizer/type", "ByteLevel"), "t.json: normalizer.type: the normalizer \"ByteLevel\"");
  expect_unsupported(with("/pre_tokenizer/type", "UnicodeScripts"), "the pre-tokenizer \"UnicodeScripts\"");
  expect_unsupported(with("/post_processor/type", "Roberta"), "the post-processor \"Roberta\"");
  expect_unsupported(with("/decoder/type", "CTC"), "the decoder \"CTC\"");
  expect_unsupported(
      with("/normalizer", json::parse(R"({"type": "Replace", "pattern": {"Regex": "a+"}, "content": ""})")),
      "t.json: normalizer.pattern.Regex: the regular expression \"a+\"");
  expect_unsupported(with("/version", "2.0"), "t.json: version");
}

TEST(TokenizerJson, ReadsOldFilesThatLeaveTheModelsTypeOut) {
  json file = valid();
  file["model"].erase("type");
  EXPECT_TRUE(load_text(file).ok()) << load_text(file).message();
}

TEST(TokenizerJson, SurvivesDamage) {
  json file = valid();
  file["added_tokens"][0].erase("id");  // a wrong one would only be warned about
  const std::string text = file.dump();
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string damaged = text;
    for (unsigned i = 0; i < 1 + random() % 4; ++i) {
      const size_t at = random() % damaged.size();
      switch (random() % 4) {
        case 0:
          damaged[at] = static_cast<char>(random());
          break;
        case 1:
          damaged.erase(at, random() % 9);
          break;
        case 2:
          damaged.insert(at, damaged.substr(random() % damaged.size(), random() % 20));
          break;
        default:
          damaged[at] = "{}[]\",:0-9"[random() % 10];
          break;
      }
    }
    const auto tokenizer = Tokenizer::from_json(damaged, "t.json");
    if (tokenizer.ok())
      (*tokenizer)->encode("a [MASK] \u00e9b!");
    else
      EXPECT_FALSE(tokenizer.status().message().empty());
  }
}

}  // namespace
}  // namespace tenon::text
