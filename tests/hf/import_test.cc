// Checkpoints of every family and head against PyTorch's recorded outputs, through the ops' reference loops.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "hf/checkpoint.h"
#include "ops/interpret.h"
#include "tests/support/golden.h"

namespace tenon::hf {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ir::Model import_golden(const std::string& name, const ImportOptions& options = {.gather_masked = false}) {
  auto model = import_folder(test::golden_folder() + "checkpoints/" + name, options);
  if (model.ok()) return std::move(*model);
  ADD_FAILURE() << model.status().message();
  ir::Model empty;
  empty.graph = std::make_unique<ir::Graph>();
  return empty;
}

// The outputs for recorded inputs of one shape; extra inputs by name.
std::map<std::string, ir::Tensor> run(const ir::Graph& graph, const test::GoldenCase& c, int shape,
                                      const std::map<std::string, ir::Tensor>& extra = {}) {
  std::vector<ir::Tensor> inputs;
  for (const auto& in : graph.inputs()) {
    const ir::Tensor* recorded = c.find(shape, "in", in->name());
    inputs.push_back(recorded != nullptr ? *recorded : extra.at(in->name()));
  }
  const auto outputs = ops::interpret(graph, inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.status().message();
  std::map<std::string, ir::Tensor> by_name;
  for (size_t i = 0; outputs.ok() && i < outputs->size(); ++i) by_name.emplace(graph.outputs()[i].name, (*outputs)[i]);
  return by_name;
}

class Golden : public testing::TestWithParam<test::GoldenCase> {};

TEST_P(Golden, GivesPyTorchsOutputs) {
  const test::GoldenCase& c = GetParam();
  const auto model = import_folder(c.path, {.gather_masked = false});
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->architecture, c.architecture == "xlmr"     ? "roberta"
                                 : c.architecture == "minilm" ? "bert"
                                                              : c.architecture);
  const bool sentence = model->task == "embedding";
  for (int shape = 0; shape < c.shapes; ++shape) {
    const auto actual = run(*model->graph, c, shape);
    ASSERT_FALSE(actual.empty());
    size_t compared = 0;
    for (const test::GoldenOutput& out : c.outputs) {
      if (sentence && out.name != "sentence_embedding") continue;
      SCOPED_TRACE(out.name + ", shape " + std::to_string(shape));
      ASSERT_TRUE(actual.contains(out.name));
      EXPECT_LE(test::worst_difference(actual.at(out.name), *c.find(shape, "out", out.name),
                                       c.find(shape, "in", "attention_mask"), out.rows == "tokens"),
                c.tolerance);
      ++compared;
    }
    EXPECT_EQ(compared, actual.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Golden, testing::ValuesIn(test::golden_cases("checkpoint")),
                         [](const auto& test_case) {
                           std::string name = test_case.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Import, GathersMaskedRowsBeforeTheHead) {
  for (const test::GoldenCase& c : test::golden_cases("checkpoint")) {
    if (c.head != "masked_lm" && c.name != "bert-pretraining") continue;
    SCOPED_TRACE(c.name);
    const ir::Model model = import_golden(c.name, {});
    EXPECT_EQ(model.graph->inputs().back()->name(), "masked_positions");
    constexpr int kShape = 2;  // [3, 13]
    const ir::Tensor positions = ir::Tensor::from<int64_t>(DType::kI64, {3, 2}, {0, 3, 1, 1, 2, 0});
    const auto actual = run(*model.graph, c, kShape, {{"masked_positions", positions}});
    const std::string output = c.head == "masked_lm" ? "logits" : "prediction_logits";
    ASSERT_TRUE(actual.contains(output));
    const ir::Tensor& rows = actual.at(output);
    const ir::Tensor& all = *c.find(kShape, "out", output);
    const int64_t vocab = all.shape()[2];
    ASSERT_THAT(rows.shape(), ElementsAre(3, 2, vocab));
    for (int64_t r = 0; r < 6; ++r) {
      const int64_t from = (r / 2) * 13 + positions.int_at(r);
      // What DeBERTa computes at padding is not what transformers does there, and nothing reads it.
      if (c.architecture == "deberta-v2" && c.valid(kShape)->at(from) == 0) continue;
      for (int64_t v = 0; v < vocab; ++v) ASSERT_NEAR(rows.at(r * vocab + v), all.at(from * vocab + v), c.tolerance);
    }
  }
}

int count_constants(const ir::Graph& graph, const std::vector<int64_t>& shape) {
  int count = 0;
  for (const auto& node : graph.nodes())
    count += node->is(ir::Op::k_constant) && node->attrs().tensor("value").shape() == shape;
  return count;
}

TEST(Import, StoresTiedWeightsOnce) {
  for (const char* name : {"bert-mlm", "bert-mlm-bin", "bert-pretraining-old-names"}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(count_constants(*import_golden(name).graph, {120, 32}), 1);
  }
}

TEST(Import, KeepsTheNamesOfTheFile) {
  const ir::Model model = import_golden("bert-pretraining-old-names");
  EXPECT_NE(model.graph->find_value("bert.embeddings.LayerNorm.gamma"), nullptr);
  EXPECT_NE(model.graph->find_value("cls.predictions.transform.dense.weight"), nullptr);
}

TEST(Import, TellsTheTaskAndTheLabels) {
  const ir::Model classifier = import_golden("bert-seqcls");
  EXPECT_EQ(classifier.task, "sequence-classification");
  EXPECT_THAT(classifier.labels, ElementsAre("LABEL_0", "LABEL_1", "LABEL_2"));
  EXPECT_EQ(import_golden("bert-qa").task, "question-answering");
  EXPECT_EQ(import_golden("xlmr-tokcls").task, "token-classification");
  EXPECT_EQ(import_golden("electra-mlm").task, "fill-mask");
  EXPECT_EQ(import_golden("bert-pretraining").task, "pretraining");
  EXPECT_EQ(import_golden("mpnet-encoder").task, "encoder");
  const ir::Model embedder = import_golden("st-bert-mean");
  EXPECT_EQ(embedder.task, "embedding");
  EXPECT_EQ(embedder.properties.at("max_seq_length"), "64");
}

TEST(Import, TellsHowImagesArePrepared) {
  const ir::Model classifier = import_golden("vit-imgcls");
  EXPECT_EQ(classifier.task, "image-classification");
  EXPECT_THAT(classifier.labels, ElementsAre("cat", "dog", "tench, Tinca tinca"));
  EXPECT_EQ(classifier.properties.at("image_mean"), "0.5,0.4,0.3");
  EXPECT_EQ(classifier.properties.at("image_std"), "0.5,0.25,0.2");
  EXPECT_EQ(classifier.properties.at("image_fit"), "stretch");
  EXPECT_EQ(classifier.properties.at("image_interpolation"), "bicubic");
  const ir::Model encoder = import_golden("vit-encoder");  // without preprocessor_config.json
  EXPECT_EQ(encoder.task, "encoder");
  EXPECT_EQ(encoder.properties.at("image_mean"), "0.5,0.5,0.5");
  EXPECT_FALSE(encoder.properties.contains("max_tokens"));
}

TEST(Import, TellsHowManyTokensFit) {
  EXPECT_EQ(import_golden("bert-encoder").properties.at("max_tokens"), "66");
  EXPECT_EQ(import_golden("roberta-encoder").properties.at("max_tokens"), "64");  // two positions belong to padding
  EXPECT_EQ(import_golden("mpnet-encoder").properties.at("max_tokens"), "64");
}

TEST(Import, NotesUnusedWeightsButNotBuffers) {
  EXPECT_THAT(import_golden("bert-pretraining-old-names").notes, IsEmpty());
  const ir::Model model = import_golden("bert-encoder-prefixed");
  ASSERT_EQ(model.notes.size(), 1u);
  EXPECT_THAT(model.notes[0], HasSubstr("cls.predictions"));
}

TEST(Import, KeepsWidenedWeightsAsConstantSubgraphs) {
  const ir::Model model = import_golden("bert-encoder-bf16");
  const ir::Value* query = model.graph->find_value("encoder.layer.0.attention.self.query.weight");
  ASSERT_NE(query, nullptr);
  EXPECT_EQ(query->dtype(), DType::kBF16);
  ASSERT_EQ(query->uses().size(), 1u);
  EXPECT_TRUE(query->uses()[0].node->is(ir::Op::k_cast));
}

}  // namespace
}  // namespace tenon::hf
