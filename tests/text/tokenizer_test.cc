#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/thread_pool.h"
#include "files.h"

namespace tenon::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using Ids = std::vector<int32_t>;

constexpr const char* kVocab =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n##s\n,\n!\ncafe\nun\n##able\na\nb\nc\nd\n'\nt\n.\n";
enum Id : int32_t {
  kPad,
  kUnk,
  kCls,
  kSep,
  kMask,
  kHello,
  kWorld,
  kS,
  kComma,
  kBang,
  kCafe,
  kUn,
  kAble,
  kA,
  kB,
  kC,
  kD
};

std::shared_ptr<const Tokenizer> bert(const VocabSettings& settings = {}) {
  const auto tokenizer = Tokenizer::from_vocab(kVocab, settings, "vocab.txt");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return *tokenizer;
}

TEST(Tokenizer, GivesIdsMasksAndOffsets) {
  const Encoding row = bert()->encode("Hello,  worlds!");
  EXPECT_EQ(row.ids, (Ids{kCls, kHello, kComma, kWorld, kS, kBang, kSep}));
  EXPECT_EQ(row.type_ids, Ids(7, 0));
  EXPECT_EQ(row.attention_mask, Ids(7, 1));
  EXPECT_EQ(row.special_tokens_mask, (Ids{1, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(row.word_ids, (Ids{-1, 0, 1, 2, 2, 3, -1}));
  EXPECT_EQ(row.sequence_ids, (Ids{-1, 0, 0, 0, 0, 0, -1}));
  EXPECT_THAT(row.offsets,
              ElementsAre(Pair(0, 0), Pair(0, 5), Pair(5, 6), Pair(8, 13), Pair(13, 14), Pair(14, 15), Pair(0, 0)));
  EXPECT_EQ(row.byte_offsets, row.offsets);
}

TEST(Tokenizer, CountsOffsetsInCodePointsAndInBytes) {
  const Encoding row = bert()->encode("é CAFÉ, hello");
  EXPECT_EQ(row.ids, (Ids{kCls, kUnk, kCafe, kComma, kHello, kSep}));
  EXPECT_THAT(row.offsets, ElementsAre(Pair(0, 0), Pair(0, 1), Pair(2, 6), Pair(6, 7), Pair(8, 13), Pair(0, 0)));
  EXPECT_THAT(row.byte_offsets, ElementsAre(Pair(0, 0), Pair(0, 2), Pair(3, 8), Pair(8, 9), Pair(10, 15), Pair(0, 0)));
}

TEST(Tokenizer, MarksTheSecondTextOfAPair) {
  const Encoding row = bert()->encode_pair("a b", "c");
  EXPECT_EQ(row.ids, (Ids{kCls, kA, kB, kSep, kC, kSep}));
  EXPECT_EQ(row.type_ids, (Ids{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(row.sequence_ids, (Ids{-1, 0, 0, -1, 1, -1}));
  EXPECT_THAT(row.offsets[4], Pair(0, 1));
}

TEST(Tokenizer, NeverSplitsSpecialTokensInTheText) {
  EXPECT_EQ(bert()->encode("hello [MASK]!").ids, (Ids{kCls, kHello, kMask, kBang, kSep}));
  EXPECT_EQ(bert()->encode("a[MASK]b").ids, (Ids{kCls, kA, kMask, kB, kSep}));
}

TEST(Tokenizer, ReadsBytesThatAreNotUtf8AsReplacementCharacters) {
  const auto tokenizer = bert();
  // BERT drops U+FFFD, but it counts as a code point: once for each maximal invalid part.
  const Encoding row = tokenizer->encode("a\xFF b\xE4\xB8 c\xC3");
  EXPECT_EQ(row.ids, (Ids{kCls, kA, kB, kC, kSep}));
  EXPECT_THAT(row.offsets, ElementsAre(Pair(0, 0), Pair(0, 1), Pair(3, 4), Pair(6, 7), Pair(0, 0)));
  EXPECT_THAT(row.byte_offsets, ElementsAre(Pair(0, 0), Pair(0, 1), Pair(3, 4), Pair(7, 8), Pair(0, 0)));
  for (int byte = 0; byte < 256; ++byte) tokenizer->encode(std::string(3, static_cast<char>(byte)) + "a");
}

TEST(Tokenizer, EncodesTheEmptyText) {
  EXPECT_EQ(bert()->encode("").ids, (Ids{kCls, kSep}));
  EXPECT_EQ(bert()->encode_pair("", "").ids, (Ids{kCls, kSep, kSep}));
  EncodeOptions plain;
  plain.add_special_tokens = false;
  EXPECT_TRUE(bert()->encode("", plain).ids.empty());
}

TEST(Tokenizer, CutsToLengthsThatLeaveNoRoom) {
  EncodeOptions options;
  for (int length = 1; length <= 3; ++length) {
    options.max_length = length;
    EXPECT_EQ(bert()->encode_pair("a b", "c d", options).ids, (Ids{kCls, kSep, kSep})) << length;
  }
}

TEST(Tokenizer, CutsTheOtherTextWhenTheChosenOneIsTooShort) {
  EncodeOptions options;
  options.max_length = 6;
  options.truncation = Truncation::kOnlySecond;
  EXPECT_EQ(bert()->encode_pair("a b c d", "a", options).ids, (Ids{kCls, kA, kB, kC, kSep, kSep}));
  options.truncation = Truncation::kOnlyFirst;
  EXPECT_EQ(bert()->encode_pair("a", "a b c d", options).ids, (Ids{kCls, kSep, kA, kB, kC, kSep}));
}

TEST(Tokenizer, TakesOptionsThatMakeNoSense) {
  EncodeOptions options;
  options.max_length = options.pad_length = options.pad_to_multiple = options.stride = -7;
  options.padding = Padding::kFixed;
  EXPECT_EQ(bert()->encode("a", options).ids, (Ids{kCls, kA, kSep}));
}

TEST(Tokenizer, PadsTheRowsOfABatch) {
  const std::vector<std::string> texts = {"a", "a b c", ""};
  EncodeOptions options;
  options.padding = Padding::kLongest;
  std::vector<Encoding> rows = bert()->encode_batch(texts, options);
  EXPECT_EQ(rows[0].ids, (Ids{kCls, kA, kSep, kPad, kPad}));
  EXPECT_EQ(rows[0].attention_mask, (Ids{1, 1, 1, 0, 0}));
  EXPECT_EQ(rows[0].special_tokens_mask, (Ids{1, 0, 1, 1, 1}));
  EXPECT_EQ(rows[1].ids.size(), 5u);
  options.padding = Padding::kFixed;
  options.pad_length = 6;
  options.pad_to_multiple = 4;
  options.padding_side = Side::kLeft;
  rows = bert()->encode_batch(texts, options);
  EXPECT_EQ(rows[2].ids, (Ids{kPad, kPad, kPad, kPad, kPad, kPad, kCls, kSep}));
}

TEST(Tokenizer, GivesTheSameRowsOnAnyNumberOfThreads) {
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back("hello " + std::string(static_cast<size_t>(i), 'a') + " wörld [MASK]");
  const auto tokenizer = bert();
  const std::vector<Encoding> expected = tokenizer->encode_batch(texts);
  const std::vector<Encoding> expected_pairs = tokenizer->encode_pair_batch(texts, texts);
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    const std::vector<Encoding> rows = tokenizer->encode_batch(texts, {}, &pool);
    const std::vector<Encoding> pairs = tokenizer->encode_pair_batch(texts, texts, {}, &pool);
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(rows[i].ids, expected[i].ids);
      EXPECT_EQ(rows[i].offsets, expected[i].offsets);
      EXPECT_EQ(pairs[i].ids, expected_pairs[i].ids);
    }
  }
}

TEST(Tokenizer, WindowsOverlapByTheStride) {
  const std::vector<Encoding> rows = bert()->encode_windows("a", "a b c d a b c", 8, 2);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].ids, (Ids{kCls, kA, kSep, kA, kB, kC, kD, kSep}));
  EXPECT_EQ(rows[1].ids, (Ids{kCls, kA, kSep, kC, kD, kA, kB, kSep}));
  EXPECT_EQ(rows[2].ids, (Ids{kCls, kA, kSep, kA, kB, kC, kSep}));
  EXPECT_THAT(rows[2].offsets[3], Pair(8, 9));
  EXPECT_EQ(bert()->encode_windows("a b c d a b c", 4, 0).size(), 4u);
  EXPECT_EQ(bert()->encode_windows("", 4, 0).size(), 1u);
}

TEST(Tokenizer, WindowsCutAQuestionThatLeavesNoRoom) {
  const std::string question = "a a a a a a a a a a";
  const std::vector<Encoding> rows = bert()->encode_windows(question, "b c d b c d b c d", 11, 3);
  for (const Encoding& row : rows) EXPECT_LE(row.size(), 11u);
  EXPECT_EQ(rows[0].ids, (Ids{kCls, kA, kA, kA, kA, kSep, kB, kC, kD, kB, kSep}));
  for (int length = 0; length < 8; ++length) {
    for (int stride = -1; stride < 12; ++stride)
      EXPECT_FALSE(bert()->encode_windows(question, "b c", length, stride).empty());
  }
}

TEST(Tokenizer, DecodesWithCleanedUpPunctuation) {
  const auto tokenizer = bert();
  EXPECT_EQ(tokenizer->decode(Ids{kCls, kHello, kComma, kWorld, kS, kBang, kSep, kPad}), "hello, worlds!");
  EXPECT_EQ(tokenizer->decode(Ids{kCls, kHello, kSep}, false), "[CLS] hello [SEP]");
  EXPECT_EQ(tokenizer->decode(Ids{-5, kHello, 1 << 30}), "hello");
}

TEST(Tokenizer, KnowsItsVocabulary) {
  const auto tokenizer = bert();
  EXPECT_EQ(tokenizer->vocab_size(), 20);
  EXPECT_EQ(tokenizer->token_to_id("##able"), kAble);
  EXPECT_EQ(tokenizer->token_to_id("nothing"), -1);
  EXPECT_EQ(tokenizer->id_to_token(kUn), "un");
  EXPECT_EQ(tokenizer->id_to_token(-1), "");
  EXPECT_EQ(tokenizer->id_to_token(20), "");
  EXPECT_EQ(tokenizer->pad_id(), kPad);
  EXPECT_EQ(tokenizer->unk_id(), kUnk);
  EXPECT_EQ(tokenizer->cls_id(), kCls);
  EXPECT_EQ(tokenizer->sep_id(), kSep);
  EXPECT_EQ(tokenizer->mask_id(), kMask);
  EXPECT_EQ(tokenizer->model_max_length(), 0);
}

TEST(Tokenizer, VocabTxtMayEndLinesAnyWay) {
  const auto tokenizer = Tokenizer::from_vocab("[UNK]\r\n[CLS]\r\n[SEP]  \r\nhello", {}, "vocab.txt");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->vocab_size(), 4);
  EXPECT_EQ((*tokenizer)->pad_id(), -1);
  EXPECT_EQ((*tokenizer)->encode("hello").ids, (Ids{1, 3, 2}));
}

TEST(Tokenizer, VocabTxtNeedsItsSpecialTokens) {
  const auto missing = [](const char* text) { return Tokenizer::from_vocab(text, {}, "v.txt").status().message(); };
  EXPECT_THAT(missing("[CLS]\n[SEP]\n"), HasSubstr("v.txt: the unknown token \"[UNK]\" is not in the vocabulary"));
  EXPECT_THAT(missing("[UNK]\n[SEP]\n"), HasSubstr("v.txt: the token \"[CLS]\" is not in the vocabulary"));
  EXPECT_THAT(missing(""), HasSubstr("v.txt: no tokens"));
  EXPECT_THAT(missing("[UNK]\n[CLS]\n\xFF\n"), HasSubstr("v.txt: line 3: not valid UTF-8"));
}

// A folder of a model, gone at the end.
class Folder {
 public:
  Folder() : path_(::testing::TempDir() + "/tokenizer_folder") {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ + "/" + name) << text; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(TokenizerFolder, ReadsVocabTxtWithItsConfig) {
  Folder folder;
  folder.write("vocab.txt", kVocab);
  folder.write("tokenizer_config.json",
               R"({"do_lower_case": false, "model_max_length": 512, "mask_token": {"content": "b", "special": true},
                   "added_tokens_decoder": {"20": {"content": "<x>", "special": true}}})");
  folder.write("special_tokens_map.json", R"({"pad_token": "a", "mask_token": "c"})");
  const auto tokenizer = Tokenizer::from_folder(folder.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->encode("hello Hello <x>").ids, (Ids{kCls, kHello, kUnk, 20, kSep}));
  EXPECT_EQ((*tokenizer)->model_max_length(), 512);
  EXPECT_EQ((*tokenizer)->mask_id(), kB);  // tokenizer_config.json comes before special_tokens_map.json
  EXPECT_EQ((*tokenizer)->pad_id(), kA);
  EXPECT_EQ((*tokenizer)->vocab_size(), 21);
}

TEST(TokenizerFolder, PrefersTokenizerJson) {
  Folder folder;
  folder.write("vocab.txt", "broken");
  folder.write("tokenizer.json", bert()->serialize());
  folder.write("tokenizer_config.json", R"({"model_max_length": 1e30})");
  const auto tokenizer = Tokenizer::from_folder(folder.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->encode("hello").ids, (Ids{kCls, kHello, kSep}));
  EXPECT_EQ((*tokenizer)->model_max_length(), 0);
}

TEST(TokenizerFolder, NamesWhatIsMissingOrBroken) {
  Folder folder;
  const auto status = [&] { return Tokenizer::from_folder(folder.path()).status(); };
  EXPECT_EQ(status().code(), ErrorCode::kNotFound);
  EXPECT_THAT(status().message(), HasSubstr("no tokenizer is there"));
  folder.write("vocab.txt", kVocab);
  folder.write("tokenizer_config.json", R"({"do_lower_case": "yes"})");
  EXPECT_EQ(status().code(), ErrorCode::kBadModel);
  EXPECT_THAT(status().message(), HasSubstr("tokenizer_config.json: do_lower_case: expected true or false"));
}

TEST(TokenizerBlob, BringsTheSameTokenizerBack) {
  VocabSettings settings;
  settings.lowercase = false;
  settings.mask_token = "b";
  settings.model_max_length = 77;
  const auto tokenizer = bert(settings);
  const std::string blob = tokenizer->serialize();
  const auto again = Tokenizer::deserialize(blob);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ((*again)->serialize(), blob);
  EXPECT_EQ((*again)->mask_id(), kB);
  EXPECT_EQ((*again)->model_max_length(), 77);
  EXPECT_EQ((*again)->encode("Hello hello").ids, tokenizer->encode("Hello hello").ids);
  for (size_t length = 0; length < blob.size(); length += 7)
    EXPECT_FALSE(Tokenizer::deserialize(blob.substr(0, length)).ok());
}

}  // namespace
}  // namespace tenon::text
