// BPE and Unigram: whole encodings against those of Hugging Face `tokenizers` (golden/subword), files and their damage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "corpora.h"
#include "digest.h"
#include "files.h"
#include "settings.h"
#include "text/pre_tokenizer.h"

namespace tenon::text {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Ids = std::vector<int32_t>;

std::string subword(const std::string& name) { return golden("subword/" + name); }

TokenizerPtr must(const Result<TokenizerPtr>& loaded) {
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  return loaded.ok() ? *loaded : nullptr;
}

TokenizerPtr from_model(const std::string& file, const std::string& name) {
  return must(Tokenizer::from_sentencepiece(read_text(subword(file)), name));
}

json json_of(const TokenizerPtr& tokenizer) { return json::parse(tokenizer->serialize()); }

// A tokenizer.json of the goldens with the vocabulary of its model.
std::string whole_json(json config, const std::string& base) {
  static const std::map<std::string, json> models = {
      {"bytes", json_of(must(Tokenizer::from_folder(subword("bytes"))))},
      {"unigram", json_of(from_model("spiece.model", "plain.model"))},
      {"fallback", json_of(from_model("bpe.model", "bpe.model"))},
  };
  if (base == "own") return config.dump();
  const json& model = models.at(base);
  for (const char* key : {"vocab", "merges"}) {
    if (model["model"].contains(key)) config["model"][key] = model["model"][key];
  }
  std::string text = config.dump();
  if (base != "unigram") return text;
  const std::string charsmap = model["normalizer"]["normalizers"][0]["precompiled_charsmap"].dump();
  constexpr std::string_view kPlaceholder = "\"of the model\"";
  for (size_t at; (at = text.find(kPlaceholder)) != std::string::npos;) {
    text.replace(at, kPlaceholder.size(), charsmap);
  }
  return text;
}

std::string digest_of(const Encoding& row) {
  Digest digest;
  digest.add(row);
  return fmt::format("{:016x}", digest.value());
}

const json& subword_cases() {
  static const json file = read_json(subword("cases.json"));
  return file;
}

TokenizerPtr golden_setting(const std::string& name) {
  for (const json& entry : subword_cases()["settings"]) {
    if (entry["name"] == name) return must(Tokenizer::from_json(whole_json(entry["tokenizer"], entry["base"]), name));
  }
  return nullptr;
}

TEST(Subword, EverySettingGivesTheSameEncodings) {
  ASSERT_GT(subword_cases()["settings"].size(), 40u);
  for (const json& entry : subword_cases()["settings"]) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    const TokenizerPtr tokenizer = golden_setting(entry["name"]);
    ASSERT_NE(tokenizer, nullptr);
    for (const TokenizerPtr& t : with_copy(tokenizer)) {
      for (size_t i = 0; i < entry["texts"].size(); ++i) {
        const std::string text = subword_cases()["texts"][i];
        const Encoding row = t->encode(text);
        EXPECT_EQ(digest_of(row), entry["texts"][i].get<std::string>()) << text << "\n" << json(numbers_of(row));
        // Again with every word in the cache.
        EXPECT_EQ(digest_of(t->encode(text)), entry["texts"][i].get<std::string>()) << text;
      }
      for (size_t i = 0; i < entry["pairs"].size(); ++i) {
        const json& pair = subword_cases()["pairs"][i];
        const Encoding row = t->encode_pair(pair[0].get<std::string>(), pair[1].get<std::string>());
        EXPECT_EQ(digest_of(row), entry["pairs"][i].get<std::string>()) << pair << "\n" << json(numbers_of(row));
      }
      expect_decoded(*t, entry["decoded"]);
    }
  }
}

TEST(Subword, AFolderWithMergesIsThatOfRoberta) {
  const TokenizerPtr folder = must(Tokenizer::from_folder(subword("bytes")));
  const TokenizerPtr wanted = golden_setting("RoBERTa");
  EXPECT_EQ(folder->cls_id(), 0);
  EXPECT_EQ(folder->pad_id(), 1);
  EXPECT_EQ(folder->sep_id(), 2);
  EXPECT_EQ(folder->mask_id(), 4);
  for (const json& text : subword_cases()["texts"]) {
    EXPECT_EQ(numbers_of(folder->encode(text.get<std::string>())), numbers_of(wanted->encode(text.get<std::string>())));
  }
}

// The name of the file says which model it is from when no config does.
TEST(Subword, ASentencePieceModelIsReadAsItsFamilyDoes) {
  const std::string text = "Hello,  Wörld of 1,000 things";
  const TokenizerPtr t5 = from_model("spiece.model", "spiece.model"),
                     roberta = from_model("spiece.model", "sentencepiece.bpe.model");
  const TokenizerPtr wanted = golden_setting("XLM-R");
  Ids plain = wanted->encode(text, {.add_special_tokens = false}).ids;
  Ids with_end = plain;
  with_end.push_back(2);
  EXPECT_EQ(t5->encode(text).ids, with_end);
  EXPECT_EQ(t5->vocab_size(), 1101);  // 100 sentinels behind the pieces, and <pad>, which the model lacks
  EXPECT_EQ(t5->encode("a<extra_id_0>b").ids[1], 1099);
  // XLM-R's own four come first, in the room of three: the pieces move up by one.
  for (int32_t& id : plain) id += id == 0 ? 3 : 1;
  EXPECT_EQ(roberta->encode(text, {.add_special_tokens = false}).ids, plain);
  EXPECT_EQ(roberta->encode("").ids, (Ids{0, 2}));
  EXPECT_EQ(roberta->mask_id(), 1001);
  EXPECT_EQ(roberta->pad_id(), 1);
  const TokenizerPtr llama = from_model("bpe.model", "tokenizer.model"), wanted_llama = golden_setting("LLaMA");
  for (const json& t : subword_cases()["texts"]) {
    EXPECT_EQ(llama->encode(t.get<std::string>()).ids, wanted_llama->encode(t.get<std::string>()).ids) << t;
  }
}

TEST(Subword, UnknownCharactersWithoutATokenAreLeftOut) {
  const TokenizerPtr t = must(Tokenizer::from_json(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})", "t.json"));
  const Encoding row = t->encode("xabyab");
  EXPECT_EQ(row.ids, (Ids{2, 2}));
  EXPECT_EQ(row.offsets[1], std::pair(4, 6));
  const TokenizerPtr u =
      must(Tokenizer::from_json(R"({"model": {"type": "Unigram", "vocab": [["a", -1], ["ab", -1.5]]}})", "t.json"));
  EXPECT_EQ(u->encode("xaby").ids, (Ids{1}));
  EXPECT_EQ(u->encode("xyz").ids, Ids{});
}

// Long words are merged by another algorithm than short ones.
TEST(Subword, WordsOfAnyLengthAreMergedAlike) {
  const TokenizerPtr t = must(Tokenizer::from_json(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "aa": 2, "aab": 3, "aaaa": 4, "ba": 5},
          "merges": ["a a", "aa b", "aa aa", ["b", "a"]]}})",
      "t.json"));
  // a a b a a b … : every third letter is b, so each period is the token aab.
  std::string periodic;
  for (int i = 0; i < 5000; ++i) periodic += "aab";
  EXPECT_EQ(t->encode(periodic).ids, Ids(5000, 3));
  EXPECT_EQ(t->encode(std::string(4 * 3000, 'a')).ids, Ids(3000, 4));
  EXPECT_EQ(t->encode(std::string(23, 'a')).ids, (Ids{4, 4, 4, 4, 4, 2, 0}));
  EXPECT_EQ(t->encode(std::string(27, 'a')).ids, (Ids{4, 4, 4, 4, 4, 4, 2, 0}));
}

TEST(Subword, WindowsAndTruncationWorkOnTheirTokensToo) {
  const TokenizerPtr t = golden_setting("RoBERTa");
  const Encoding row = t->encode("the quick brown fox", {.max_length = 5});
  EXPECT_EQ(row.ids.size(), 5u);
  EXPECT_EQ(row.ids.back(), t->sep_id());
  EXPECT_GT(t->encode_windows("who?", "word " + std::string(200, 'x'), 16, 2).size(), 3u);
}

TEST(Subword, DamagedJsonIsRefusedByField) {
  const auto status = [](const std::string& model) {
    return Tokenizer::from_json("{\"model\": " + model + "}", "t.json").status();
  };
  const auto bad = [&](const std::string& model, const char* message) {
    EXPECT_EQ(status(model).code(), ErrorCode::kBadModel) << status(model).message();
    EXPECT_THAT(status(model).message(), HasSubstr(message));
  };
  bad(R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]})", "t.json: model.merges[0]: the token \"b\"");
  bad(R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["ab"]})", "t.json: model.merges[0]: expected two tokens");
  bad(R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c"]})", "expected two tokens");
  bad(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]})", "expected two tokens");
  bad(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "a", "a"]]})", "expected two tokens");
  bad(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", 1]]})", "expected two tokens");
  bad(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [7]})", "expected two tokens");
  bad(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "u"})", "the unknown token \"u\"");
  bad(R"({"type": "BPE", "vocab": [["a", 0]], "merges": []})", "\"vocab\" is missing, or no object");
  bad(R"({"type": "Unigram", "vocab": {"a": 0}})", "\"vocab\" is missing, or no list");
  bad(R"({"type": "Unigram", "vocab": []})", "no tokens");
  bad(R"({"type": "Unigram", "vocab": [["a"]]})", "model.vocab[0]: expected a token and its score");
  bad(R"({"type": "Unigram", "vocab": [[1, "a"]]})", "expected a token and its score");
  bad(R"({"type": "Unigram", "vocab": [["a", 1], ["a", 2]]})", "listed twice");
  bad(R"({"type": "Unigram", "vocab": [["a", 1, 2]]})", "expected a token and its score");
  bad(R"({"type": "Unigram", "vocab": ["a"]})", "expected a token and its score");
  bad(R"({"type": "Unigram", "vocab": [["a", 1]], "unk_id": 1})", "unknown token's id 1");
  EXPECT_EQ(status(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.1})").code(),
            ErrorCode::kUnsupported);
}

TEST(Subword, DamagedCharsmapsAreRefused) {
  const auto status = [](const std::string& base64) {
    return Tokenizer::from_json(R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": ")" + base64 +
                                    R"("}, "model": {"type": "Unigram", "vocab": [["a", 1]]}})",
                                "t.json")
        .status();
  };
  for (const char* text : {"", "AAAA", "!!!!", "BAAAAA==", "/////wAAAAA=", "CAAAAAAAAAA="}) {
    EXPECT_EQ(status(text).code(), ErrorCode::kBadModel) << text;
  }
  EXPECT_TRUE(status("BAAAAAAAAAAA").ok()) << status("BAAAAAAAAAAA").message();  // one unit, no texts
  EXPECT_EQ(status("BAAAAAAAAAD/").code(), ErrorCode::kBadModel);                // a text that is not UTF-8
}

TEST(Subword, DamagedModelsAreRefused) {
  const std::string whole = read_text(subword("bpe.model"));
  const auto status = [](const std::string& bytes) { return Tokenizer::from_sentencepiece(bytes, "t.model").status(); };
  EXPECT_TRUE(status(whole).ok());
  EXPECT_EQ(status("").code(), ErrorCode::kBadModel);
  EXPECT_EQ(status("no protobuf").code(), ErrorCode::kBadModel);
  // Cut between two pieces a model is shorter, but whole.
  for (size_t size = 1; size < whole.size(); size += 97) {
    const Status cut = status(whole.substr(0, size));
    EXPECT_TRUE(cut.ok() || cut.code() == ErrorCode::kBadModel) << cut.message();
  }
  for (size_t at = 0; at < whole.size(); at += 61) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    const auto loaded = Tokenizer::from_sentencepiece(damaged, "t.model");
    if (loaded.ok()) (*loaded)->encode("some text ▁ \xFF of 12 words");
  }
  std::string twice = whole + whole;  // protobuf joins lists: every piece is there twice
  EXPECT_THAT(status(twice).message(), HasSubstr("t.model: pieces"));
  EXPECT_THAT(status(twice).message(), HasSubstr("listed twice"));
}

TEST(Subword, PatternsThatAreNotKnownAreNamed) {
  const auto loaded = Tokenizer::from_json(
      R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "x+"}}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})",
      "t.json");
  EXPECT_EQ(loaded.status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(loaded.status().message(), HasSubstr("t.json: pre_tokenizer.pattern.Regex: the pattern \"x+\""));
}

TEST(Subword, EveryLineOfEveryCorpusIsEncodedAlike) {
  SKIP_WITHOUT_SHARED_DATA();
  std::map<std::string, TokenizerPtr> tokenizers;
  tokenizers["roberta-base"] = must(Tokenizer::from_folder(shared_data("vocab/roberta-base")));
  for (const char* name : {"XLM-R", "ALBERT", "LLaMA"}) tokenizers[name] = golden_setting(name);
  for (const json& entry : read_json(subword("digests.json"))) {
    const std::string name = entry["corpus"], setting = entry["setting"];
    const Tokenizer& tokenizer = *tokenizers.at(setting);
    const Corpus& corpus = corpus_of(name);
    ASSERT_EQ(corpus.firsts.size(), entry["lines"].get<size_t>());
    const std::vector<std::string> differing = blocks_that_differ(
        entry, corpus, [&](size_t i) { return std::vector<Encoding>{tokenizer.encode(corpus.firsts[i])}; });
    EXPECT_THAT(differing, ::testing::IsEmpty()) << setting << ", " << name;
  }
}

TEST(Subword, Gpt2TextsHaveTheIdsOfTheReferenceTests) {
  SKIP_WITHOUT_SHARED_DATA();
  const json expected = read_json(shared_data("tokenization/rten_reftests/monty-python-credits-gpt2.json"));
  const std::string text = read_text(shared_data("tokenization/rten_reftests/monty-python-credits.txt"));
  // GPT-2's merges are RoBERTa's. Its ids are the 256 characters of bytes in order, then what each merge makes.
  const std::string merges = read_text(shared_data("vocab/roberta-base/merges.txt"));
  std::vector<std::string> tokens;
  for (char32_t c = 0; c < 0x180; ++c) {
    if (byte_of_character(c) < 0) continue;
    append_utf8(tokens.emplace_back(), c);
  }
  for (const std::string& line : lines("vocab/roberta-base/merges.txt")) {
    const size_t blank = line.find(' ');
    if (!line.starts_with("#version")) tokens.push_back(line.substr(0, blank) + line.substr(blank + 1));
  }
  json vocab = json::object();
  for (size_t id = 0; id < tokens.size(); ++id) vocab[tokens[id]] = id;
  const std::string dir = testing::TempDir() + "/gpt2_files";
  std::filesystem::create_directories(dir);
  std::ofstream(dir + "/vocab.json") << vocab;
  std::ofstream(dir + "/merges.txt") << merges;
  const TokenizerPtr gpt2 = must(Tokenizer::from_folder(dir));
  std::filesystem::remove_all(dir);
  EXPECT_EQ(json(gpt2->encode(text).ids), expected["token_ids"]);
  EXPECT_EQ(gpt2->decode(gpt2->encode(text).ids), text);
}

TEST(Subword, RobertaLoadsAlikeFromItsFiles) {
  SKIP_WITHOUT_SHARED_DATA();
  const TokenizerPtr whole = must(Tokenizer::from_folder(shared_data("vocab/roberta-base")));
  const std::string dir = testing::TempDir() + "/roberta_files";
  std::filesystem::create_directories(dir);
  for (const char* name : {"vocab.json", "merges.txt"}) {
    std::filesystem::copy_file(shared_data(std::string("vocab/roberta-base/") + name), dir + "/" + name,
                               std::filesystem::copy_options::overwrite_existing);
  }
  const TokenizerPtr files = must(Tokenizer::from_folder(dir));
  std::filesystem::remove_all(dir);
  const Corpus& corpus = corpus_of("squad contexts");
  for (const std::string& text : corpus.firsts) ASSERT_EQ(files->encode(text).ids, whole->encode(text).ids) << text;
  EXPECT_EQ(files->mask_id(), 50264);
  EXPECT_EQ(whole->mask_id(), 50264);
  EXPECT_EQ(whole->model_max_length(), 512);
}

}  // namespace
}  // namespace tenon::text
