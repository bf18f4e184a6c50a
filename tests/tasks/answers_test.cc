// From logits to answers: labels, spans, entities.
#include "tasks/answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tenon::tasks {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> names(const std::vector<LabelScore>& scores) {
  std::vector<std::string> labels;
  for (const LabelScore& s : scores) labels.push_back(s.label);
  return labels;
}

TEST(RankLabels, AreProbabilitiesMostProbableFirst) {
  const float logits[] = {1, 3, 2};
  const auto scores = rank_labels(logits, 3, {"a", "b", "c"});
  EXPECT_THAT(names(scores), ElementsAre("b", "c", "a"));
  EXPECT_NEAR(scores[0].probability, std::exp(3.) / (std::exp(1.) + std::exp(2.) + std::exp(3.)), 1e-12);
  EXPECT_NEAR(scores[0].probability + scores[1].probability + scores[2].probability, 1, 1e-12);
}

TEST(RankLabels, LargeLogitsStayFinite) {
  const float logits[] = {-1e30f, 3e38f, 3e38f};
  const auto scores = rank_labels(logits, 3, {"a", "b", "c"});
  EXPECT_THAT(names(scores), ElementsAre("b", "c", "a")) << "equal ones in the model's order";
  EXPECT_EQ(scores[0].probability, 0.5);
  EXPECT_EQ(scores[2].probability, 0);
}

TEST(RankLabels, UnnamedOnesAreCalledAsTransformersCallsThem) {
  const float logits[] = {0, 1};
  EXPECT_THAT(names(rank_labels(logits, 2, {"yes"})), ElementsAre("LABEL_1", "yes"));
}

TEST(RankLabels, OneLogitIsAScore) {
  const float logit = -4.5f;
  const auto scores = rank_labels(&logit, 1, {});
  ASSERT_EQ(scores.size(), 1u);
  EXPECT_EQ(scores[0].probability, -4.5);
  EXPECT_EQ(scores[0].label, "LABEL_0");
}

TEST(RankLabels, WhereAnyMayApplyEachHasItsOwnProbability) {
  EXPECT_EQ(labels_of({{"problem_type", "multi_label_classification"}}), Labels::kAny);
  EXPECT_EQ(labels_of({{"problem_type", "single_label_classification"}}), Labels::kOne);
  EXPECT_EQ(labels_of({}), Labels::kOne);
  const float logits[] = {-1, 2, 1e30f, -1e30f};
  const auto scores = rank_labels(logits, 4, {"a", "b", "c", "d"}, Labels::kAny);
  EXPECT_THAT(names(scores), ElementsAre("c", "b", "a", "d"));
  EXPECT_EQ(scores[0].probability, 1);
  EXPECT_NEAR(scores[1].probability, 1 / (1 + std::exp(-2.)), 1e-12);
  EXPECT_NEAR(scores[2].probability, 1 / (1 + std::exp(1.)), 1e-12);
  EXPECT_EQ(scores[3].probability, 0);
  EXPECT_EQ(rank_labels(logits + 3, 1, {}, Labels::kAny)[0].probability, 0) << "one label that may apply or not";
}

TEST(RankTokens, NoMoreThanThereAre) {
  const auto tokenizer =
      value_or_throw(text::Tokenizer::from_vocab("[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\nx\ny", {}, "vocab.txt"));
  const float logits[] = {0, 0, 0, 0, 0, 2, 2};
  EXPECT_THAT(names(rank_tokens(logits, 7, 3, *tokenizer)), ElementsAre("x", "y", "[UNK]")) << "the lower id first";
  EXPECT_EQ(rank_tokens(logits, 7, 100, *tokenizer).size(), 7u);
}

TEST(MeanOfRows, OfNoRowsIsZero) {
  const float rows[] = {1, 10, 2, 20};
  EXPECT_THAT(mean_of_rows(rows, 2, 2), ElementsAre(1.5f, 15));
  EXPECT_THAT(mean_of_rows(rows, 0, 2), ElementsAre(0, 0));
}

TEST(RequireOutput, SaysWhichThereAre) {
  std::vector<BatchOutput> outputs(2);
  outputs[0].name = "pooled";
  outputs[1].name = "hidden";
  EXPECT_EQ(&require_output(outputs, {"logits", "hidden"}), &outputs[1]);
  try {
    require_output(outputs, {"logits"});
    FAIL() << "there is no such output";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("'logits'"), HasSubstr("pooled, hidden")));
  }
}

// Question (sequence 0) and context (sequence 1) with special tokens around them; each token two bytes, one code point.
Encoding window(std::vector<int32_t> sequence_ids, int first = 0) {
  Encoding row;
  row.sequence_ids = std::move(sequence_ids);
  row.ids.resize(row.sequence_ids.size());
  int at = first;
  for (const int32_t sequence : row.sequence_ids) {
    row.offsets.push_back(sequence == 1 ? std::pair{at, at + 1} : std::pair{0, 0});
    row.byte_offsets.push_back(sequence == 1 ? std::pair{2 * at, 2 * at + 2} : std::pair{0, 0});
    if (sequence == 1) ++at;
  }
  return row;
}

TEST(ImproveSpan, TakesTheLargestSumWithinTheContext) {
  //                  [CLS] q  [SEP] 0  1  2  3 [SEP]
  const auto row = window({-1, 0, -1, 1, 1, 1, 1, -1});
  const float start[] = {9, 9, 9, 0, 1, 5, 0, 9}, end[] = {9, 9, 9, 0, 6, 1, 4, 9};
  BestSpan best;
  improve_span(row, start, end, 30, best);
  EXPECT_TRUE(best.found);
  EXPECT_EQ(std::pair(best.begin, best.end), std::pair(2, 4)) << "5 + 4; 5 + 6 would end before it begins";
  EXPECT_EQ(best.score, 9);
  EXPECT_EQ(to_text(best, "\xC3\xA4\xC3\xB6\xC3\xBC\xC3\x9F").text, "\xC3\xBC\xC3\x9F");
}

TEST(ImproveSpan, IsNoLongerThanAllowed) {
  const auto row = window({-1, 0, -1, 1, 1, 1, 1, -1});
  const float start[] = {0, 0, 0, 5, 0, 0, 0, 0}, end[] = {0, 0, 0, 0, 1, 0, 5, 0};
  BestSpan best;
  improve_span(row, start, end, 2, best);
  EXPECT_EQ(std::pair(best.begin, best.end), std::pair(0, 2));
}

TEST(ImproveSpan, OfSeveralWindowsTheBestWins) {
  const auto first = window({-1, 0, -1, 1, 1, -1}), second = window({-1, 0, -1, 1, 1, -1}, 1);
  const float low[] = {0, 0, 0, 1, 0, 0}, high[] = {0, 0, 0, 0, 2, 0}, equal[] = {0, 0, 0, 0, 2, 0};
  BestSpan best;
  improve_span(first, low, low, 30, best);
  improve_span(second, high, high, 30, best);
  EXPECT_EQ(std::pair(best.begin, best.end), std::pair(2, 3));
  improve_span(first, equal, equal, 30, best);
  EXPECT_EQ(best.begin, 2) << "an equal one does not replace it";
}

TEST(ImproveSpan, AnEmptyContextHasNone) {
  const auto row = window({-1, 0, -1, -1});
  const float logits[] = {1, 1, 1, 1};
  BestSpan best;
  improve_span(row, logits, logits, 30, best);
  EXPECT_FALSE(best.found);
  EXPECT_EQ(to_text(best, "").text, "");
}

// Words of ASCII letters, each cut into tokens of the lengths given, with blanks between words.
Encoding words(const std::vector<std::vector<int>>& lengths) {
  Encoding row;
  const auto special = [&] {
    row.ids.push_back(0);
    row.special_tokens_mask.push_back(1);
    row.word_ids.push_back(-1);
    row.offsets.emplace_back(0, 0);
  };
  special();
  int at = 0;
  for (size_t w = 0; w < lengths.size(); ++w, ++at) {
    for (const int n : lengths[w]) {
      row.ids.push_back(1);
      row.special_tokens_mask.push_back(0);
      row.word_ids.push_back(static_cast<int32_t>(w));
      row.offsets.emplace_back(at, at + n);
      at += n;
    }
  }
  special();
  row.byte_offsets = row.offsets;
  return row;
}

// Logits that make each token's label certain.
std::vector<float> certain(const std::vector<size_t>& classes, size_t count) {
  std::vector<float> logits(classes.size() * count, 0);
  for (size_t t = 0; t < classes.size(); ++t) logits[t * count + classes[t]] = 100;
  return logits;
}

const std::vector<std::string> kLabels = {"O", "B-PER", "I-PER", "B-LOC", "I-LOC"};

std::vector<std::string> texts(const std::vector<Entity>& entities) {
  std::vector<std::string> all;
  for (const Entity& e : entities) all.push_back(e.label + ":" + e.span.text);
  return all;
}

TEST(GroupEntities, JoinsWordsAndTheirPieces) {
  const std::string text = "Ada Lovelace met Paris";
  const auto row = words({{3}, {4, 4}, {3}, {5}});
  // The second piece of Lovelace says LOC; its word's first token decides.
  const auto logits = certain({0, 1, 2, 4, 0, 3, 0}, kLabels.size());
  const auto entities = group_entities(row, logits.data(), kLabels.size(), kLabels, text);
  EXPECT_THAT(texts(entities), ElementsAre("PER:Ada Lovelace", "LOC:Paris"));
  EXPECT_EQ(std::pair(entities[0].span.begin, entities[0].span.end), std::pair(0, 12));
  EXPECT_NEAR(entities[0].span.score, 1, 1e-9);
}

TEST(GroupEntities, ABeginningOpensANewOne) {
  const std::string text = "Ann Bob Rome x";
  const auto row = words({{3}, {3}, {4}, {1}});
  const auto beginnings = certain({0, 1, 1, 4, 0, 0}, kLabels.size());
  EXPECT_THAT(texts(group_entities(row, beginnings.data(), kLabels.size(), kLabels, text)),
              ElementsAre("PER:Ann", "PER:Bob", "LOC:Rome"))
      << "an I- of another label is a beginning too";
  const auto plain = certain({0, 1, 1, 2, 0, 0}, 3);
  EXPECT_THAT(texts(group_entities(row, plain.data(), 3, {"O", "PER", "LOC"}, text)),
              ElementsAre("PER:Ann Bob", "LOC:Rome"));
}

TEST(GroupEntities, NothingIsNone) {
  const auto row = words({{3}, {3}});
  const auto logits = certain({1, 0, 0, 1}, kLabels.size());
  EXPECT_TRUE(group_entities(row, logits.data(), kLabels.size(), kLabels, "abc def").empty())
      << "special tokens do not count";
}

TEST(CutToTokens, KeepsWholeTokens) {
  const auto tokenizer = value_or_throw(text::Tokenizer::from_vocab("[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\n\xC3\xA4\nb",
                                                                    {.strip_accents = 0}, "vocab.txt"));
  const std::string text = "\xC3\xA4 b \xC3\xA4";
  EXPECT_EQ(cut_to_tokens(*tokenizer, text, 1), "\xC3\xA4");
  EXPECT_EQ(cut_to_tokens(*tokenizer, text, 2), "\xC3\xA4 b");
  EXPECT_EQ(cut_to_tokens(*tokenizer, text, 3), text);
  EXPECT_EQ(cut_to_tokens(*tokenizer, text, 0), text) << "no limit";
}

}  // namespace
}  // namespace tenon::tasks
