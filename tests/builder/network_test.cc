// A BERT made by Network calls, through the builder; what its memory grows with; engines of older builds.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "examples/bert_network.h"
#include "runtime/executable.h"
#include "tenon/builder.h"
#include "tenon/runtime.h"
#include "tests/support/golden.h"

namespace tenon {
namespace {

size_t arena_at(const Engine& engine, int64_t seq) {
  std::vector<int64_t> ids(static_cast<size_t>(seq), 7), mask(static_cast<size_t>(seq), 1);
  ExecutionContext context = engine.create_execution_context();
  for (const TensorInfo& in : engine.inputs()) {
    auto& values = in.role == "attention_mask" ? mask : ids;
    if (in.role == "token_type_ids") continue;
    context.set_input(in.name, {DType::kI64, {1, seq}, values.data()});
  }
  context.execute();
  return context.arena_bytes();
}

TEST(NetworkBert, MemoryIsLinearInLength) {
  bert::Config shape;
  shape.layers = 2;
  shape.hidden_size = 64;
  shape.heads = 4;
  shape.intermediate_size = 128;
  shape.vocab_size = 50;
  shape.max_positions = 4096;
  const Network network = bert::build(shape, bert::random_weights(shape));
  const std::string path = testing::TempDir() + "/linear.tenon";
  Builder().build(network, path);
  const Engine engine = Engine::load(path, {.threads = 2});
  const size_t small = arena_at(engine, 512), large = arena_at(engine, 4096);
  EXPECT_LE(static_cast<double>(large), 8.5 * static_cast<double>(small)) << small << " and " << large << " bytes";
  std::filesystem::remove(path);
}

// Heads and rows as large as kernels of narrow products want them, which those of the corpus are not: several tiles of
// rows, more keys than a block of attention has, sequences with holes.
class NarrowBert : public testing::TestWithParam<const char*> {
 protected:
  static constexpr int64_t kBatch = 4, kSeq = 150, kHidden = 128;

  static Engine engine(const std::string& precision, int threads) {
    bert::Config shape;
    shape.layers = 2;
    shape.hidden_size = kHidden;
    shape.heads = 2;
    shape.intermediate_size = 512;
    shape.vocab_size = 50;
    const Network network = bert::build(shape, bert::random_weights(shape));
    const std::string path = testing::TempDir() + "/narrow_" + precision + std::to_string(threads) + ".tenon";
    BuilderConfig config;
    config.precision = precision;
    Builder().build(network, path, config);
    Engine loaded = Engine::load(path, {.threads = threads});
    std::filesystem::remove(path);
    return loaded;
  }

  // Hidden states of rows [first, first + count) of the batch; zeros where the mask hides.
  static std::vector<float> run(const Engine& engine, int64_t first, int64_t count) {
    std::vector<int64_t> ids, mask, types(static_cast<size_t>(count * kSeq), 0);
    for (int64_t b = first; b < first + count; ++b) {
      for (int64_t s = 0; s < kSeq; ++s) {
        ids.push_back((b * 31 + s * 7) % 50);
        const bool kept[] = {true, s < 17, s % 3 != 0, s >= 130};
        mask.push_back(kept[b]);
      }
    }
    ExecutionContext context = engine.create_execution_context();
    context.set_input("input_ids", {DType::kI64, {count, kSeq}, ids.data()});
    context.set_input("attention_mask", {DType::kI64, {count, kSeq}, mask.data()});
    context.set_input("token_type_ids", {DType::kI64, {count, kSeq}, types.data()});
    context.execute();
    const auto* y = static_cast<const float*>(context.output("last_hidden_state").data);
    return {y, y + count * kSeq * kHidden};
  }
};

TEST_P(NarrowBert, SequencesGiveTheSameBitsAloneAndInABatchForEveryNumberOfThreads) {
  const Engine two = engine(GetParam(), 2), three = engine(GetParam(), 3), one = engine(GetParam(), 1);
  const std::vector<float> all = run(two, 0, kBatch);
  EXPECT_EQ(std::memcmp(run(three, 0, kBatch).data(), all.data(), all.size() * sizeof(float)), 0) << "three threads";
  for (int64_t b = 0; b < kBatch; ++b) {
    const std::vector<float> alone = run(one, b, 1);
    EXPECT_EQ(std::memcmp(alone.data(), all.data() + b * kSeq * kHidden, alone.size() * sizeof(float)), 0)
        << "row " << b;
  }
}

TEST_P(NarrowBert, StaysNearFp32) {
  const std::vector<float> exact = run(engine("fp32", 2), 0, kBatch), y = run(engine(GetParam(), 2), 0, kBatch);
  double product = 0, own = 0, expected = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    product += static_cast<double>(y[i]) * static_cast<double>(exact[i]);
    own += static_cast<double>(y[i]) * static_cast<double>(y[i]);
    expected += static_cast<double>(exact[i]) * static_cast<double>(exact[i]);
  }
  EXPECT_GE(product / std::sqrt(own * expected), std::string(GetParam()) == "int8" ? 0.999 : 0.9995);
}

INSTANTIATE_TEST_SUITE_P(, NarrowBert, testing::Values("fp32", "bf16", "int8"),
                         [](const auto& test) { return std::string(test.param); });

// Committed by version 0.1: later versions must load it, or refuse it by name.
TEST(GoldenEngineFile, OfVersion01LoadsAndRuns) {
  const Engine engine = Engine::load(test::golden_folder() + "engines/bert-seqcls-0.1.tenon", {.threads = 1});
  for (const auto& golden : test::golden_cases("checkpoint")) {
    if (golden.name != "bert-seqcls") continue;
    ExecutionContext context = engine.create_execution_context();
    for (const TensorInfo& in : engine.inputs()) {
      const ir::Tensor* t = golden.find(2, "in", in.name);
      ASSERT_NE(t, nullptr);
      context.set_input(in.name, {t->dtype(), t->shape(), const_cast<std::byte*>(t->data())});
    }
    context.execute();
    const TensorView out = context.output("logits");
    const ir::Tensor actual(out.dtype, out.shape, nullptr, static_cast<const std::byte*>(out.data));
    EXPECT_LE(test::worst_difference(actual, *golden.find(2, "out", "logits"), nullptr, false), golden.tolerance);
    return;
  }
  FAIL() << "the corpus has no bert-seqcls";
}

}  // namespace
}  // namespace tenon
