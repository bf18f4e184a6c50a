// Sizes that the data of a run decides: ONNX models with NonZero, Compress, Unique and NonMaxSuppression, built and run
// with other counts each time, none and all among them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "builder/builder.h"
#include "tenon/runtime.h"
#include "tests/onnx/model_builder.h"
#include "tests/support/random.h"
#include "tests/support/small_models.h"

namespace tenon::test {
namespace {

using onnx::test::int_attribute;
using onnx::test::ModelBuilder;

class BuiltModel {
 public:
  explicit BuiltModel(const ModelBuilder& model)
      : path_(testing::TempDir() + "data_sizes_" + std::to_string(::getpid()) + ".tenon") {
    const BuilderConfig config;
    value_or_throw(builder::build(value_or_throw(model.import()), "", path_, config));
    engine_ = std::make_unique<Engine>(Runtime({.threads = 2}).load_engine(path_));
    context_ = std::make_unique<ExecutionContext>(engine_->create_execution_context());
  }
  ~BuiltModel() { ::unlink(path_.c_str()); }
  ExecutionContext& context() { return *context_; }

 private:
  std::string path_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ExecutionContext> context_;
};

TEST(DataSizes, CompressNonZeroAndWhatFollowsThem) {
  ModelBuilder b;
  b.input("x", onnx::test::kFloat, {"n", "3"}).input("keep", onnx::test::kBool, {"n"});
  b.node("Compress", {"x", "keep"}, {"kept"}, {int_attribute("axis", 0)});
  b.node("Mul", {"kept", "kept"}, {"squares"});
  b.node("NonZero", {"keep"}, {"where"});
  b.node("Shape", {"kept"}, {"shape"});
  b.node("Transpose", {"squares"}, {"turned"});
  b.output("squares").output("where").output("shape").output("turned");
  BuiltModel model(b);
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 30; ++round) {
    const int64_t n = random.integer(1, 40);
    const double density = round % 3 == 0 ? 0 : round % 3 == 1 ? 1 : 0.4;
    const ir::Tensor x = random.tensor(DType::kF32, {n, 3});
    std::vector<uint8_t> keep;
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < n; ++i) {
      keep.push_back(random.chance(density));
      if (keep.back() != 0) rows.push_back(i);
    }
    model.context().set_input("x", view_of(x));
    model.context().set_input("keep", {DType::kBool, {n}, keep.data()});
    model.context().execute();
    const auto count = static_cast<int64_t>(rows.size());
    const ir::Tensor squares = tensor_of(model.context().output("squares")),
                     where = tensor_of(model.context().output("where"));
    const ir::Tensor shape = tensor_of(model.context().output("shape")),
                     turned = tensor_of(model.context().output("turned"));
    ASSERT_EQ(squares.shape(), (std::vector<int64_t>{count, 3}));
    ASSERT_EQ(where.shape(), (std::vector<int64_t>{1, count}));
    ASSERT_EQ(turned.shape(), (std::vector<int64_t>{3, count}));
    EXPECT_EQ(shape.int_at(0), count);
    for (int64_t r = 0; r < count; ++r) {
      EXPECT_EQ(where.int_at(r), rows[static_cast<size_t>(r)]);
      for (int64_t k = 0; k < 3; ++k) {
        const double v = x.at(rows[static_cast<size_t>(r)] * 3 + k);
        EXPECT_FLOAT_EQ(static_cast<float>(squares.at(r * 3 + k)), static_cast<float>(v * v));
        EXPECT_EQ(turned.at(k * count + r), squares.at(r * 3 + k));
      }
    }
  }
}

TEST(DataSizes, SizesThatMustAgreeAreCheckedInEveryRun) {
  ModelBuilder b;
  b.input("x", onnx::test::kFloat, {"n"})
      .input("keep", onnx::test::kBool, {"n"})
      .input("other", onnx::test::kFloat, {"4"});
  b.node("Compress", {"x", "keep"}, {"kept"}, {int_attribute("axis", 0)});
  b.node("Add", {"kept", "other"}, {"y"});
  b.output("y");
  BuiltModel model(b);
  const std::vector<float> x{1, 2, 3, 4, 5, 6}, other{10, 20, 30, 40};
  std::vector<uint8_t> keep{1, 1, 0, 1, 0, 1};
  model.context().set_input("x", {DType::kF32, {6}, const_cast<float*>(x.data())});
  model.context().set_input("other", {DType::kF32, {4}, const_cast<float*>(other.data())});
  model.context().set_input("keep", {DType::kBool, {6}, keep.data()});
  model.context().execute();
  EXPECT_EQ(tensor_of(model.context().output("y")).at(3), 46);
  keep[0] = 0;
  EXPECT_THROW(model.context().execute(), Error);
  keep[0] = 1;
  model.context().execute();
  EXPECT_EQ(tensor_of(model.context().output("y")).at(0), 11);
}

TEST(DataSizes, UniqueValuesAndTheirCounts) {
  ModelBuilder b;
  b.input("x", onnx::test::kInt64, {"n"});
  b.node("Unique", {"x"}, {"values", "first", "inverse", "counts"});
  b.output("values").output("inverse").output("counts");
  BuiltModel model(b);
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 20; ++round) {
    const ir::Tensor x =
        random.tensor(DType::kI64, {random.integer(1, 30)}, 0, static_cast<double>(random.integer(0, 30)));
    model.context().set_input("x", view_of(x));
    model.context().execute();
    const ir::Tensor values = tensor_of(model.context().output("values")),
                     inverse = tensor_of(model.context().output("inverse"));
    std::set<int64_t> different;
    for (int64_t i = 0; i < x.numel(); ++i) different.insert(x.int_at(i));
    ASSERT_EQ(values.numel(), static_cast<int64_t>(different.size()));
    for (int64_t i = 0; i < x.numel(); ++i) EXPECT_EQ(values.int_at(inverse.int_at(i)), x.int_at(i));
  }
}

}  // namespace
}  // namespace tenon::test
