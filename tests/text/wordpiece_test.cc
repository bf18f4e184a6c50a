#include "text/wordpiece.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <unordered_map>

#include "text/truncation.h"

namespace tenon::text {
namespace {

std::unique_ptr<const WordPiece> model(const std::vector<std::string>& tokens, WordPieceSettings settings = {}) {
  Vocabulary::Entries entries;
  for (const std::string& token : tokens) entries.add(token, static_cast<int32_t>(entries.list.size()));
  auto vocabulary = Vocabulary::build(std::move(entries), Vocabulary::Duplicates::kReject, "vocab");
  EXPECT_TRUE(vocabulary.ok()) << vocabulary.status().message();
  auto built = WordPiece::build(std::move(vocabulary).value(), std::move(settings), "model");
  EXPECT_TRUE(built.ok()) << built.status().message();
  return std::move(built).value();
}

// "un|##able", each piece by its bytes of the word.
std::string pieces(const Model& model, std::string_view word) {
  std::vector<Piece> found;
  model.tokenize(word, found);
  std::string out;
  for (const Piece& piece : found) {
    out += out.empty() ? "" : "|";
    out += model.vocabulary().token(piece.id);
    out += fmt::format("({},{})", piece.begin, piece.end);
  }
  return out;
}

TEST(WordPiece, TakesTheLongestTokenFirst) {
  const auto m = model({"[UNK]", "un", "una", "##able", "##ble", "##b", "##a"});
  EXPECT_EQ(pieces(*m, "unable"), "una(0,3)|##ble(3,6)");
  EXPECT_EQ(pieces(*m, "unb"), "un(0,2)|##b(2,3)");
  EXPECT_EQ(pieces(*m, "una"), "una(0,3)");
}

TEST(WordPiece, AWordThatDoesNotComeOutIsUnknownAsAWhole) {
  const auto m = model({"[UNK]", "un", "##a"});
  EXPECT_EQ(pieces(*m, "unax"), "[UNK](0,4)");
  EXPECT_EQ(pieces(*m, "x"), "[UNK](0,1)");
  EXPECT_EQ(pieces(*m, "a"), "[UNK](0,1)");  // only as a continuation
}

TEST(WordPiece, CountsTheLengthOfAWordInCodePoints) {
  const auto m = model({"[UNK]", "é", "##é"}, {.unk_token = "[UNK]", .continuing_prefix = "##", .max_word_length = 3});
  EXPECT_EQ(pieces(*m, "ééé"), "é(0,2)|##é(2,4)|##é(4,6)");
  EXPECT_EQ(pieces(*m, "éééé"), "[UNK](0,8)");
}

TEST(WordPiece, TheContinuationPrefixMayBeAnything) {
  const auto m =
      model({"<unk>", "a", "b", "@@c"}, {.unk_token = "<unk>", .continuing_prefix = "@@", .max_word_length = 9});
  EXPECT_EQ(pieces(*m, "ac"), "a(0,1)|@@c(1,2)");
  const auto none = model({"<unk>", "a", "b"}, {.unk_token = "<unk>", .continuing_prefix = "", .max_word_length = 9});
  EXPECT_EQ(pieces(*none, "aba"), "a(0,1)|b(1,2)|a(2,3)");
}

TEST(Vocabulary, MovesARepeatedTokenToItsLastId) {
  Vocabulary::Entries entries;
  entries.add("a", 0);
  entries.add("b", 1);
  entries.add("a", 2);
  const auto vocabulary = Vocabulary::build(entries, Vocabulary::Duplicates::kLastWins, "vocab");
  ASSERT_TRUE(vocabulary.ok());
  EXPECT_EQ(vocabulary->find("a"), 2);
  EXPECT_FALSE(vocabulary->has(0));
  EXPECT_EQ(vocabulary->size(), 2);
  EXPECT_FALSE(Vocabulary::build(entries, Vocabulary::Duplicates::kReject, "vocab").ok());
}

TEST(Vocabulary, TakesGapsAndTheEmptyToken) {
  Vocabulary::Entries entries;
  entries.add("", 7);
  entries.add("x", 3);
  const auto vocabulary = Vocabulary::build(std::move(entries), Vocabulary::Duplicates::kReject, "vocab");
  ASSERT_TRUE(vocabulary.ok());
  EXPECT_TRUE(vocabulary->has(7));
  EXPECT_FALSE(vocabulary->has(0));
  EXPECT_EQ(vocabulary->find(""), 7);
  EXPECT_EQ(vocabulary->token(3), "x");
  EXPECT_EQ(vocabulary->id_end(), 8);
}

TEST(StringIndex, FindsWhatWasInsertedAndNothingElse) {
  std::mt19937 random(1);
  std::unordered_map<std::string, int32_t> expected;
  while (expected.size() < 5000) {
    std::string key(random() % 24, ' ');
    for (char& c : key) c = static_cast<char>('a' + random() % 3);
    expected.emplace(key, static_cast<int32_t>(expected.size()));
  }
  StringIndex index(expected.size());
  for (const auto& [key, value] : expected) EXPECT_TRUE(index.insert(key, value));
  for (const auto& [key, value] : expected) {
    EXPECT_EQ(index.find(key), value);
    EXPECT_EQ(index.find(key + "d"), -1);
    EXPECT_FALSE(index.insert(key, value));
  }
}

TEST(Truncation, CoversEverythingWithOverlap) {
  using Ranges = std::vector<std::pair<size_t, size_t>>;
  EXPECT_EQ(cover(0, 5, 2), (Ranges{{0, 0}}));
  EXPECT_EQ(cover(5, 5, 2), (Ranges{{0, 5}}));
  EXPECT_EQ(cover(6, 5, 2), (Ranges{{0, 5}, {3, 6}}));
  EXPECT_EQ(cover(9, 5, 0), (Ranges{{0, 5}, {5, 9}}));
}

TEST(Truncation, TheOddTokenGoesToTheLongerText) {
  const auto kept = [](size_t first, size_t second, size_t budget) {
    const Lengths l = truncate({first, second}, budget, Truncation::kLongestFirst);
    return std::make_pair(l.first, l.second);
  };
  EXPECT_EQ(kept(3, 4, 7), std::make_pair(size_t{3}, size_t{4}));
  EXPECT_EQ(kept(10, 10, 7), std::make_pair(size_t{3}, size_t{4}));
  EXPECT_EQ(kept(11, 10, 7), std::make_pair(size_t{4}, size_t{3}));
  EXPECT_EQ(kept(2, 10, 7), std::make_pair(size_t{2}, size_t{5}));
  EXPECT_EQ(kept(10, 0, 7), std::make_pair(size_t{7}, size_t{0}));
  EXPECT_EQ(kept(1, 1, 0), std::make_pair(size_t{0}, size_t{0}));
}

}  // namespace
}  // namespace tenon::text
