// A BERT made by Network calls, through the builder; what its memory grows with; engines of older builds.
#include <gtest/gtest.h>

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
