// The whole path: model -> engine file -> runtime on the CPU kernels, for every export and checkpoint of the corpus.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>

#include "tenon/builder.h"
#include "tenon/runtime.h"
#include "tests/support/golden.h"

namespace tenon {
namespace {

using test::GoldenCase;

class TemporaryEngine {
 public:
  explicit TemporaryEngine(const std::string& name) : path_(testing::TempDir() + "/" + name + ".tenon") {}
  ~TemporaryEngine() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<GoldenCase> all_cases() {
  std::vector<GoldenCase> cases = test::golden_cases("onnx");
  for (GoldenCase& c : test::golden_cases("checkpoint")) cases.push_back(std::move(c));
  return cases;
}

class GoldenEngine : public testing::TestWithParam<GoldenCase> {};

// Recorded outputs that the engine has; sentence models record their token rows too, which the engine does not give.
std::vector<test::GoldenOutput> shared_outputs(const GoldenCase& golden, const Engine& engine) {
  std::vector<test::GoldenOutput> shared;
  for (const auto& out : golden.outputs)
    for (const TensorInfo& info : engine.outputs())
      if (info.name == out.name) shared.push_back(out);
  return shared;
}

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TensorView view(const ir::Tensor& t) { return {t.dtype(), t.shape(), const_cast<std::byte*>(t.data())}; }

TEST_P(GoldenEngine, AgreesWithTheRecordedOutputs) {
  const GoldenCase& golden = GetParam();
  const TemporaryEngine file(test::test_name(golden));
  BuilderConfig config;
  config.gather_masked = false;
  Builder().build(golden.path, file.path(), config);
  const Engine engine = Engine::load(file.path(), {.threads = 2});
  ExecutionContext context = engine.create_execution_context();
  const auto outputs = shared_outputs(golden, engine);
  ASSERT_EQ(outputs.size(), engine.outputs().size());
  for (int shape = 0; shape < golden.shapes; ++shape) {
    context.clear_inputs();
    for (const TensorInfo& in : engine.inputs()) {
      const ir::Tensor* t = golden.find(shape, "in", in.name);
      if (t == nullptr) {
        ASSERT_TRUE(in.optional) << in.name;
        continue;
      }
      context.set_input(in.name, view(*t));
    }
    context.execute();
    for (const auto& out : outputs) {
      const ir::Tensor* expected = golden.find(shape, "out", out.name);
      ASSERT_NE(expected, nullptr);
      const TensorView actual = context.output(out.name);
      const ir::Tensor tensor(actual.dtype, actual.shape, nullptr, static_cast<const std::byte*>(actual.data));
      EXPECT_LE(test::worst_difference(tensor, *expected, golden.valid(shape), out.rows == "tokens"), golden.tolerance) << out.name << ", shape " << shape;
    }
  }
}

// Random batches with left padding, holes and empty rows: each sequence gives the same bits as alone, without its padding.
TEST_P(GoldenEngine, GivesTheSameBitsAloneAndInABatch) {
  const GoldenCase& golden = GetParam();
  const bool has_mask = std::find(golden.inputs.begin(), golden.inputs.end(), "attention_mask") != golden.inputs.end();
  if (!has_mask || !golden.packable.value_or(true) || golden.axes == "static") return;  // nothing to pack
  const TemporaryEngine file(test::test_name(golden) + "_bits");
  BuilderConfig config;
  config.gather_masked = false;
  Builder().build(golden.path, file.path(), config);
  const Engine engine = Engine::load(file.path(), {.threads = 2});
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const int64_t batch = 5, seq = 11;

  std::map<std::string, std::vector<int64_t>> values;
  std::vector<int64_t> mask(static_cast<size_t>(batch * seq));
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t s = 0; s < seq; ++s) {
      const int64_t kinds[] = {s < 7, s >= 4, static_cast<int64_t>(random() % 2), 1, 0};  // right and left padding, holes, full, empty
      mask[static_cast<size_t>(b * seq + s)] = kinds[b];
    }
  }
  const auto run = [&](ExecutionContext& context, int64_t first, int64_t count) {
    std::vector<std::unique_ptr<std::vector<char>>> buffers;
    for (const TensorInfo& in : engine.inputs()) {
      auto& all = values[in.name];
      if (all.empty()) {
        for (int64_t i = 0; i < batch * seq; ++i)
          all.push_back(in.role == "attention_mask" ? mask[static_cast<size_t>(i)] : in.role == "position_ids" ? i % seq : static_cast<int64_t>(random() % static_cast<unsigned>(std::max<int64_t>(2, in.limit > 0 ? in.limit : 2))));
      }
      auto buffer = std::make_unique<std::vector<char>>(static_cast<size_t>(count * seq) * dtype_size(in.dtype));
      for (int64_t i = 0; i < count * seq; ++i)
        visit_dtype(in.dtype, [&]<class T>() { reinterpret_cast<T*>(buffer->data())[i] = convert<T>(all[static_cast<size_t>(first * seq + i)]); });
      context.set_input(in.name, {in.dtype, {count, seq}, buffer->data()});
      buffers.push_back(std::move(buffer));
    }
    context.execute();
  };
  ExecutionContext together = engine.create_execution_context(), alone = engine.create_execution_context();
  run(together, 0, batch);
  for (int64_t b = 0; b < batch; ++b) {
    run(alone, b, 1);
    for (const auto& out : shared_outputs(golden, engine)) {
      const TensorView all = together.output(out.name), one = alone.output(out.name);
      const size_t bytes = static_cast<size_t>(std::accumulate(one.shape.begin(), one.shape.end(), int64_t{1}, std::multiplies<>())) * dtype_size(one.dtype);
      EXPECT_EQ(std::memcmp(static_cast<const char*>(all.data) + static_cast<size_t>(b) * bytes, one.data, bytes), 0) << out.name << ", row " << b;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Corpus, GoldenEngine, testing::ValuesIn(all_cases()), [](const auto& at) { return test::test_name(at.param); });

TEST(Build, GivesTheSameBytesTwice) {
  const std::string model = test::golden_folder() + "checkpoints/bert-seqcls";
  const TemporaryEngine first("first"), second("second");
  Builder().build(model, first.path());
  Builder().build(model, second.path());
  EXPECT_EQ(contents(first.path()), contents(second.path()));
}

TEST(Build, TargetsThatMakeNoSenseAreNamed) {
  BuilderConfig config;
  for (const auto& [target, why] : {std::pair{"cpu,tpu", "there is no target \"tpu\""}, {"cpu,", "there is no target \"\""}, {"sm_75,cpu", "sm_75"}}) {
    config.target = target;
    try {
      Builder().build(test::golden_folder() + "checkpoints/bert-seqcls", testing::TempDir() + "/none.tenon", config);
      ADD_FAILURE() << target;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(why), std::string::npos) << e.what();
    }
  }
}

TEST(Build, ATargetNamedTwiceIsBuiltOnce) {
  const TemporaryEngine once("once"), twice("twice");
  BuilderConfig config;
  Builder().build(test::golden_folder() + "checkpoints/bert-seqcls", once.path(), config);
  config.target = "cpu,cpu";
  const BuildReport report = Builder().build(test::golden_folder() + "checkpoints/bert-seqcls", twice.path(), config);
  EXPECT_EQ(report.targets, std::vector<std::string>{"cpu"});
  EXPECT_EQ(contents(once.path()), contents(twice.path()));
}

TEST(Build, SaysThatThereIsNoSuchModel) {
  try {
    Builder().build("/nowhere/model.onnx", testing::TempDir() + "/x.tenon");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
    EXPECT_NE(std::string(e.what()).find("/nowhere/model.onnx"), std::string::npos);
  }
}

}  // namespace
}  // namespace tenon
