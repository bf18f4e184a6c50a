// Whole corpora, and every code point, against digests of what Hugging Face `tokenizers` gives (golden/digests.json).
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "digest.h"
#include "files.h"
#include "text/unicode.h"

namespace tenon::text {
namespace {

using nlohmann::json;

// Texts, or pairs of texts when `seconds` is not empty.
struct Corpus {
  std::vector<std::string> firsts, seconds;
  void add(std::string first) { firsts.push_back(std::move(first)); }
  void add(std::string first, std::string second) {
    firsts.push_back(std::move(first));
    seconds.push_back(std::move(second));
  }
};

std::vector<std::string> lines(const std::string& name) {
  const std::string text = read_text(shared_data(name));
  std::vector<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

Corpus squad(const std::string& part) {
  Corpus corpus;
  const json file = read_json(shared_data("squad_v1.1/dev-v1.1.json"));
  for (const json& article : file["data"]) {
    for (const json& paragraph : article["paragraphs"]) {
      if (part == "contexts") corpus.add(paragraph["context"]);
      for (const json& qa : paragraph["qas"]) {
        if (part == "questions") corpus.add(qa["question"]);
        if (part == "pairs") corpus.add(qa["question"], paragraph["context"]);
      }
    }
  }
  return corpus;
}

Corpus sst2() {
  Corpus corpus;
  for (const char* name : {"sst2/glue_dev.tsv", "sst2/glue_train.tsv"}) {
    std::vector<std::string> rows = lines(name);
    for (size_t i = 1; i < rows.size(); ++i) corpus.add(rows[i].substr(0, rows[i].rfind('\t')));
  }
  return corpus;
}

// The first two fields of each row; a field in quotes may hold commas and, doubled, quotes.
Corpus stsb() {
  Corpus corpus;
  for (const std::string& line : lines("stsb/stsb-en-dev.csv")) {
    std::vector<std::string> fields(1);
    bool quoted = false;
    for (size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '"') {
        if (quoted && line[i + 1] == '"')
          fields.back() += line[i++];
        else
          quoted = !quoted;
      } else if (line[i] == ',' && !quoted) {
        fields.emplace_back();
      } else {
        fields.back() += line[i];
      }
    }
    corpus.add(fields.at(0), fields.at(1));
  }
  return corpus;
}

Corpus wikitext() {
  Corpus corpus;
  for (const char* name : {"text/wikitext-2/valid.txt", "text/wikitext-2/test.txt"}) {
    for (std::string& line : lines(name)) corpus.add(std::move(line));
  }
  return corpus;
}

Corpus nq_questions() {
  Corpus corpus;
  for (const std::string& line : lines("text/nq_open/NQ-open.dev.jsonl")) corpus.add(json::parse(line)["question"]);
  return corpus;
}

Corpus code_points() {
  Corpus corpus;
  for (char32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    corpus.add(text);
    corpus.add("a" + text + "b");
  }
  return corpus;
}

Corpus corpus_of(const std::string& name) {
  if (name == "squad contexts") return squad("contexts");
  if (name == "squad questions") return squad("questions");
  if (name == "squad pairs" || name == "squad windows") return squad("pairs");
  if (name == "sst2") return sst2();
  if (name == "stsb pairs") return stsb();
  if (name == "wikitext") return wikitext();
  if (name == "nq questions") return nq_questions();
  EXPECT_EQ(name, "code points");
  return code_points();
}

TEST(Bulk, EveryLineOfEveryCorpusIsEncodedAlike) {
  SKIP_WITHOUT_SHARED_DATA();
  std::map<std::string, std::shared_ptr<const Tokenizer>> tokenizers;
  for (const std::string name : {"bert-base-uncased", "bert-base-cased"}) {
    VocabSettings settings;
    settings.lowercase = name == "bert-base-uncased";
    const auto tokenizer =
        Tokenizer::from_vocab(read_text(shared_data("vocab/" + name + "/vocab.txt")), settings, name);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    tokenizers[name] = *tokenizer;
  }
  for (const json& entry : read_json(golden("digests.json"))) {
    const std::string name = entry["corpus"], vocabulary = entry["vocabulary"];
    SCOPED_TRACE(vocabulary + ", " + name);
    const Tokenizer& tokenizer = *tokenizers.at(vocabulary);
    const Corpus corpus = corpus_of(name);
    const size_t count = corpus.firsts.size(), block = entry["block"];
    ASSERT_EQ(count, entry["lines"].get<size_t>());
    size_t tokens = 0;
    for (size_t begin = 0; begin < count; begin += block) {
      Digest digest;
      for (size_t i = begin; i < std::min(begin + block, count); ++i) {
        std::vector<Encoding> rows;
        if (name == "squad windows")
          rows = tokenizer.encode_windows(corpus.firsts[i], corpus.seconds[i], 384, 128);
        else if (corpus.seconds.empty())
          rows.push_back(tokenizer.encode(corpus.firsts[i]));
        else
          rows.push_back(tokenizer.encode_pair(corpus.firsts[i], corpus.seconds[i]));
        for (const Encoding& row : rows) {
          digest.add(row);
          tokens += row.size();
        }
      }
      EXPECT_EQ(fmt::format("{:016x}", digest.value()), entry["digests"][begin / block].get<std::string>())
          << "lines " << begin << " to " << begin + block;
    }
    fmt::print("{}, {}: {} lines, {} tokens compared\n", vocabulary, name, count, tokens);
  }
}

TEST(Bulk, WholeArticlesHaveTheIdsOfTheReferenceTests) {
  SKIP_WITHOUT_SHARED_DATA();
  int compared = 0;
  for (const auto& file : std::filesystem::directory_iterator(shared_data("tokenization/rten_reftests"))) {
    if (file.path().extension() != ".json") continue;
    const json expected = read_json(file.path());
    const std::string model = expected["model_name"];
    if (!model.starts_with("bert-")) continue;
    VocabSettings settings;
    settings.lowercase = model == "bert-base-uncased";
    const auto tokenizer =
        Tokenizer::from_vocab(read_text(shared_data("vocab/" + model + "/vocab.txt")), settings, model);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    const std::string text = read_text(file.path().parent_path() /
                                       std::filesystem::path(expected["input_file"].get<std::string>()).filename());
    EXPECT_EQ(json((*tokenizer)->encode(text).ids), expected["token_ids"]) << file.path();
    ++compared;
  }
  EXPECT_EQ(compared, 4);
}

TEST(Bulk, TheTokenizerOfARealModelLoadsFromItsFolder) {
  SKIP_WITHOUT_SHARED_DATA();
  const auto loaded = Tokenizer::from_folder(shared_data("vocab/all-MiniLM-L6-v2"));
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  const Tokenizer& tokenizer = **loaded;
  EXPECT_EQ(tokenizer.vocab_size(), 30522);
  EXPECT_EQ(tokenizer.model_max_length(), 512);
  EXPECT_EQ(tokenizer.cls_id(), 101);
  EXPECT_EQ(tokenizer.sep_id(), 102);
  EXPECT_EQ(tokenizer.mask_id(), 103);
  EXPECT_EQ(tokenizer.pad_id(), 0);
  EXPECT_EQ(tokenizer.unk_id(), 100);
  EXPECT_EQ(tokenizer.encode("Hello, world!").ids, (std::vector<int32_t>{101, 7592, 1010, 2088, 999, 102}));
}

TEST(Bulk, ByteLevelBpeIsRefusedByName) {
  SKIP_WITHOUT_SHARED_DATA();
  const auto loaded = Tokenizer::from_folder(shared_data("vocab/roberta-base"));
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.status().code(), ErrorCode::kUnsupported);
  EXPECT_NE(loaded.status().message().find("\"BPE\""), std::string::npos) << loaded.status().message();
}

}  // namespace
}  // namespace tenon::text
