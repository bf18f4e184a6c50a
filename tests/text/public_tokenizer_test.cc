#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "tenon/error.h"
#include "tenon/tokenizer.h"

namespace {

using Ids = std::vector<int32_t>;

class PublicTokenizer : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ + "/vocab.txt") << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static tenon::ErrorCode code_of(const std::function<void()>& call) {
    try {
      call();
    } catch (const tenon::Error& e) {
      return e.code();
    }
    return tenon::ErrorCode::kOk;
  }

  const std::string folder_ = testing::TempDir() + "/public_tokenizer";
};

TEST_F(PublicTokenizer, LoadsAFileOrAFolder) {
  for (const std::string& path : {folder_, folder_ + "/vocab.txt"}) {
    const tenon::Tokenizer tokenizer = tenon::Tokenizer::load(path);
    EXPECT_EQ(tokenizer.encode("Hello [MASK]").ids, (Ids{2, 5, 4, 3}));
    EXPECT_EQ(tokenizer.encode_pair("hello", "world").ids, (Ids{2, 5, 3, 6, 3}));
    EXPECT_EQ(tokenizer.decode(Ids{2, 5, 6, 3}), "hello world");
    EXPECT_EQ(tokenizer.id_to_token(tokenizer.mask_id()), "[MASK]");
    EXPECT_EQ(tokenizer.token_to_id("world"), 6);
    EXPECT_EQ(tokenizer.vocab_size(), 7);
  }
}

TEST_F(PublicTokenizer, EncodesBatchesOnThreads) {
  const tenon::Tokenizer tokenizer = tenon::Tokenizer::load(folder_);
  const std::vector<std::string> texts(50, "hello world");
  for (const int threads : {0, 1, 3}) {
    for (const tenon::Encoding& row : tokenizer.encode_batch(texts, {}, threads)) EXPECT_EQ(row.ids, (Ids{2, 5, 6, 3}));
  }
  EXPECT_EQ(tokenizer.encode_windows("hello", "world world world", 5, 0).size(), 3u);
}

TEST_F(PublicTokenizer, ThrowsErrorsWithTheirCode) {
  EXPECT_EQ(code_of([&] { tenon::Tokenizer::load(folder_ + "/nothing"); }), tenon::ErrorCode::kNotFound);
  std::ofstream(folder_ + "/broken.json") << "{";
  EXPECT_EQ(code_of([&] { tenon::Tokenizer::load(folder_ + "/broken.json"); }), tenon::ErrorCode::kBadModel);
  const tenon::Tokenizer tokenizer = tenon::Tokenizer::load(folder_);
  EXPECT_EQ(code_of([&] { tokenizer.encode("a", {.max_length = -1}); }), tenon::ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { tokenizer.encode_windows("a", "b", 4, 4); }), tenon::ErrorCode::kInvalidArgument);
}

}  // namespace
