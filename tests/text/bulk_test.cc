// Whole corpora, and every code point, against digests of what Hugging Face `tokenizers` gives (golden/digests.json).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "corpora.h"

namespace tenon::text {
namespace {

using nlohmann::json;

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
    const Corpus& corpus = corpus_of(name);
    ASSERT_EQ(corpus.firsts.size(), entry["lines"].get<size_t>());
    const std::vector<std::string> differing = blocks_that_differ(entry, corpus, [&](size_t i) {
      if (name == "squad windows") return tokenizer.encode_windows(corpus.firsts[i], corpus.seconds[i], 384, 128);
      if (corpus.seconds.empty()) return std::vector<Encoding>{tokenizer.encode(corpus.firsts[i])};
      return std::vector<Encoding>{tokenizer.encode_pair(corpus.firsts[i], corpus.seconds[i])};
    });
    EXPECT_THAT(differing, ::testing::IsEmpty());
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

}  // namespace
}  // namespace tenon::text
