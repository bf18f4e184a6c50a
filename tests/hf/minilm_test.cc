// The real all-MiniLM-L6-v2, where TENON_MINILM_DIR says it is (the lead's ./run test installs it).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "hf/checkpoint.h"
#include "ops/interpret.h"

namespace tenon::hf {
namespace {

TEST(MiniLm, ImportsAndGivesUnitVectors) {
  const char* folder = std::getenv("TENON_MINILM_DIR");
  if (folder == nullptr || *folder == '\0') GTEST_SKIP() << "TENON_MINILM_DIR is not set";
  const auto model = import_folder(folder);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->task, "embedding");
  EXPECT_EQ(model->architecture, "bert");
  EXPECT_EQ(model->properties.at("max_seq_length"), "256");

  // "This is an example sentence", and "This is", padded.
  const std::vector<int64_t> ids = {101, 2023, 2003, 2019, 2742, 6251, 102, 101, 2023, 2003, 102, 0, 0, 0};
  const std::vector<int64_t> mask = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0};
  const auto outputs =
      ops::interpret(*model->graph, std::vector{ir::Tensor::from(DType::kI64, {2, 7}, ids),
                                                ir::Tensor::from(DType::kI64, {2, 7}, mask),
                                                ir::Tensor::from(DType::kI64, {2, 7}, std::vector<int64_t>(14, 0))});
  ASSERT_TRUE(outputs.ok()) << outputs.status().message();
  const ir::Tensor& embedding = outputs->at(0);
  ASSERT_EQ(embedding.shape(), (std::vector<int64_t>{2, 384}));
  // PyTorch's values; the first row's stand in sentence-transformers' model card too.
  constexpr double kStart[2][4] = {{0.0676569, 0.0634959, 0.0487131, 0.0793050},
                                   {-0.0278237, 0.0294668, -0.0194051, 0.0184339}};
  for (int64_t row : {0, 1}) {
    for (int64_t i = 0; i < 4; ++i) EXPECT_NEAR(embedding.at(row * 384 + i), kStart[row][i], 2e-5);
    double squares = 0;
    for (int64_t i = 0; i < 384; ++i) squares += std::pow(embedding.at(row * 384 + i), 2);
    EXPECT_NEAR(squares, 1, 1e-5);
  }
}

}  // namespace
}  // namespace tenon::hf
