// TextModel on small real checkpoints: what it answers does not depend on how texts are batched, and agrees with the
// outputs.
#include "tenon/text_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "tasks/answers.h"
#include "tenon/builder.h"
#include "tests/support/golden.h"
#include "tests/support/small_models.h"

namespace tenon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string checkpoint(const std::string& name) { return test::golden_folder() + "checkpoints/" + name; }

class Built {
 public:
  explicit Built(const std::string& name, const BuilderConfig& config = {}) : path_(name) {
    Builder().build(checkpoint(name), path_.str(), config);
  }
  TextModel model(const TextOptions& options = {}) const { return TextModel(path_.str(), options, {.threads = 2}); }

 private:
  test::TemporaryPath path_;
};

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing was thrown";
}

const std::vector<std::string> kTexts = {
    "the cat", "", "hello world , the dog is cafe !", "naive", "a b c d e f g h i j k l m", "the cat"};

TEST(TextModel, BatchesChangeNoBit) {
  const Built built("bert-seqcls");
  const auto together = built.model().classify(kTexts);
  ASSERT_EQ(together.size(), kTexts.size());
  for (const int tokens : {1, 7, 20}) {
    const auto apart = built.model({.batch_tokens = tokens}).classify(kTexts);
    for (size_t i = 0; i < kTexts.size(); ++i) {
      for (size_t k = 0; k < 3; ++k) {
        EXPECT_EQ(apart[i][k].label, together[i][k].label);
        EXPECT_EQ(apart[i][k].probability, together[i][k].probability) << kTexts[i] << ", batches of " << tokens;
      }
    }
  }
  EXPECT_EQ(together[0][0].probability, together[5][0].probability) << "the same text twice";
}

TEST(TextModel, NoTextsHaveNoAnswers) {
  const Built built("bert-seqcls");
  EXPECT_TRUE(built.model().classify({}).empty());
  EXPECT_TRUE(built.model().run({}).empty());
}

TEST(TextModel, PairsAreOfOneText) {
  const Built built("bert-seqcls");
  TextModel model = built.model();
  const auto pair = model.classify({"the cat"}, {"a dog"}), alone = model.classify({"the cat"});
  EXPECT_NE(pair[0][0].probability, alone[0][0].probability);
  EXPECT_THAT(message_of([&] { model.classify({"a", "b"}, {"c"}); }), HasSubstr("as many second texts"));
}

TEST(TextModel, LabelsThatDoNotExcludeEachOtherHaveTheirSigmoids) {
  const test::TemporaryPath folder("several"), engine("several.tenon");
  std::filesystem::copy(checkpoint("bert-seqcls"), folder.str());
  const std::string file = folder.str() + "/config.json";
  auto config = nlohmann::json::parse(std::ifstream(file));
  config["problem_type"] = "multi_label_classification";
  std::ofstream(file) << config;
  Builder().build(folder.str(), engine.str());
  std::filesystem::remove_all(folder.str());
  TextModel model(engine.str(), {}, {.threads = 2});
  const auto logits = model.run({"the cat"})[0][0].values;
  const auto scores = model.classify({"the cat"})[0];
  ASSERT_EQ(scores.size(), logits.size());
  for (const LabelScore& score : scores) {
    const float logit = logits[static_cast<size_t>(score.label.back() - '0')];
    EXPECT_NEAR(score.probability, 1 / (1 + std::exp(-logit)), 1e-6) << score.label;
  }
}

TEST(TextModel, SaysWhichTaskACallNeeds) {
  const Built built("bert-seqcls");
  TextModel model = built.model();
  EXPECT_EQ(model.task(), "sequence-classification");
  EXPECT_THAT(model.labels(), ElementsAre("LABEL_0", "LABEL_1", "LABEL_2"));
  EXPECT_THAT(message_of([&] { model.answer("who", "the cat"); }),
              AllOf(HasSubstr("question-answering"), HasSubstr("sequence-classification")));
  EXPECT_THAT(message_of([&] { model.embed({"a"}); }), HasSubstr("embedding"));
  EXPECT_THAT(message_of([&] { model.entities({"a"}); }), HasSubstr("token-classification"));
  EXPECT_THAT(message_of([&] { model.fill_masks({"a"}); }), HasSubstr("fill-mask"));
}

TEST(TextModel, AnEngineWithoutATokenizerSaysHowToGiveItOne) {
  const Built built("st-bert-mean");
  EXPECT_THAT(message_of([&] { built.model(); }), HasSubstr("--tokenizer"));
  BuilderConfig config;
  config.tokenizer = checkpoint("bert-encoder");
  const Built given("st-bert-mean", config);
  EXPECT_EQ(given.model().embed({"the cat"})[0].size(), 32u);
}

TEST(TextModel, AnEmbeddingWithoutPoolingIsTheMeanOfTokens) {
  const Built built("bert-encoder");
  TextModel model = built.model();
  const auto vectors = model.embed(kTexts);
  const auto outputs = model.run(kTexts);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    const auto hidden = std::ranges::find(outputs[i], "last_hidden_state", &RawOutput::name);
    ASSERT_NE(hidden, outputs[i].end());
    const auto tokens = static_cast<size_t>(hidden->shape[0]);
    EXPECT_EQ(hidden->values.size(), tokens * 32);
    EXPECT_EQ(vectors[i], tasks::mean_of_rows(hidden->values.data(), tokens, 32));
  }
  EXPECT_EQ(outputs[1][0].shape[0], 2) << "of the empty text [CLS] and [SEP] are left";
}

TEST(TextModel, LongTextsAreCutToThePositions) {
  const Built built("bert-encoder");
  std::string text;
  for (int i = 0; i < 200; ++i) text += "cat ";
  EXPECT_EQ(built.model().run({text})[0][0].shape[0], 64) << "what its tokenizer allows";
  EXPECT_EQ(built.model({.max_length = 10}).run({text})[0][0].shape[0], 10);
}

TEST(TextModel, AnswersAreSpansOfTheContext) {
  const Built built("bert-qa");
  TextModel model = built.model();
  const std::string context =
      "the n\xC3\xA4"
      "ive cat is hello , world .";
  const TextSpan answer = model.answer("the dog ?", context);
  ASSERT_FALSE(answer.text.empty());
  EXPECT_NE(context.find(answer.text), std::string::npos);
  const auto code_points = [](std::string_view s) {
    return std::ranges::count_if(s, [](char c) { return (c & 0xC0) != 0x80; });
  };
  EXPECT_EQ(code_points(answer.text), answer.end - answer.begin);
  EXPECT_EQ(code_points(context.substr(0, context.find(answer.text))), answer.begin);

  // The best of all spans, by the logits themselves.
  const auto outputs = model.run({"the dog ?"}, {context})[0];
  const auto logits = [&](const char* name) { return std::ranges::find(outputs, name, &RawOutput::name)->values; };
  const std::vector<float> start = logits("start_logits"), end = logits("end_logits");
  double best = -1e9;
  for (size_t s = 5; s + 1 < start.size(); ++s)  // behind [CLS] the dog ? [SEP], before the last [SEP]
    for (size_t e = s; e + 1 < end.size() && e < s + 30; ++e) best = std::max(best, double{start[s]} + end[e]);
  EXPECT_NEAR(answer.score, best, 1e-6);
}

TEST(TextModel, LongContextsAreReadInWindows) {
  const Built built("bert-qa");
  TextModel model = built.model();
  std::string context;
  for (int i = 0; i < 40; ++i) context += "the cat is a dog , hello world . ";
  AnswerOptions whole{.stride = 16}, first{.stride = 16, .truncate = true};
  const TextSpan of_all = model.answer("play ?", context, whole), of_first = model.answer("play ?", context, first);
  EXPECT_GE(of_all.score, of_first.score);
  EXPECT_LE(of_first.end, 64 * 6) << "in the first window";
  // Several questions at once, in batches of any size: the same.
  const auto many =
      built.model({.batch_tokens = 70}).answer(std::vector<std::string>{"play ?", "who"}, {context, "the cat"}, whole);
  EXPECT_EQ(many[0].score, of_all.score);
  EXPECT_EQ(many[0].begin, of_all.begin);
  EXPECT_EQ(many[1].score, model.answer("who", "the cat", whole).score);
  EXPECT_EQ(model.answer("who", "").text, "");
  EXPECT_THAT(message_of([&] { model.answer(std::vector<std::string>{"a"}, {}); }),
              HasSubstr("one context per question"));
}

TEST(TextModel, MasksAreFilledWhereTheyStand) {
  for (const char* name : {"bert-mlm", "bert-pretraining"}) {
    const Built built(name);
    TextModel model = built.model();
    const auto filled = model.fill_masks({"the [MASK] is [MASK]", "cat", "[MASK]"}, 4);
    ASSERT_EQ(filled.size(), 3u);
    ASSERT_EQ(filled[0].size(), 2u) << name;
    EXPECT_EQ(filled[0][0].token, 2);
    EXPECT_EQ(filled[0][1].token, 4);
    EXPECT_EQ(filled[0][0].candidates.size(), 4u);
    EXPECT_TRUE(filled[1].empty());
    // Alone, without the places that are only there for others' masks: the same.
    const auto alone = model.fill_masks({"[MASK]"}, 4);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(filled[2][0].candidates[i].label, alone[0][0].candidates[i].label);
      EXPECT_EQ(filled[2][0].candidates[i].probability, alone[0][0].candidates[i].probability);
    }
    EXPECT_THAT(message_of([&] { model.fill_masks({"the cat"}); }), HasSubstr("[MASK]"));
  }
}

TEST(TextModel, EntitiesAreSpansOfTheText) {
  const Built built("bert-tokcls-gelu-new");
  const auto entities = built.model().entities(kTexts);
  ASSERT_EQ(entities.size(), kTexts.size());
  EXPECT_TRUE(entities[1].empty());
  size_t found = 0;
  for (size_t i = 0; i < kTexts.size(); ++i) {
    for (const Entity& e : entities[i]) {
      ++found;
      EXPECT_EQ(kTexts[i].substr(static_cast<size_t>(e.span.begin), static_cast<size_t>(e.span.end - e.span.begin)),
                e.span.text);
      EXPECT_GT(e.span.score, 0);
      EXPECT_LE(e.span.score, 1);
    }
  }
  EXPECT_GT(found, 0u) << "its labels are all of entities";
}

}  // namespace
}  // namespace tenon
