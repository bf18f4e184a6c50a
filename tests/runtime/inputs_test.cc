// What a context accepts, what it makes of absent inputs, and what it says about wrong ones.
#include "tests/support/small_models.h"
#include "tests/support/tolerance.h"

namespace tenon::test {
namespace {

using runtime::Context;
using testing::Test;

class Inputs : public Test {
 protected:
  void SetUp() override {
    graph_ = graph_from(kPackedModel, random_);
    executable_ = executable_of(*graph_);
  }

  std::unique_ptr<Context> context(const ContextOptions& options = {}) { return value_or_throw(Context::create(executable_, options)); }

  // Sets inputs by name; i64 unless the tensor says otherwise.
  static Status set(Context& c, const char* name, const ir::Tensor& t) { return c.inputs().set(name, view_of(t)); }
  static ir::Tensor ids(std::vector<int64_t> shape, const std::vector<int64_t>& values) { return ir::Tensor::from(DType::kI64, std::move(shape), values); }
  static ir::Tensor filled(std::vector<int64_t> shape, int64_t value) {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return ids(std::move(shape), std::vector<int64_t>(static_cast<size_t>(n), value));
  }
  static ir::Tensor hidden(Context& c) { return tensor_of(value_or_throw(c.output("hidden"))); }

  static void expect_message(const Status& status, const std::vector<std::string>& parts, ErrorCode code = ErrorCode::kBadInput) {
    EXPECT_EQ(status.code(), code) << status.message();
    for (const std::string& part : parts) EXPECT_NE(status.message().find(part), std::string::npos) << "\"" << part << "\" in: " << status.message();
  }

  Random random_;
  std::unique_ptr<ir::Graph> graph_;
  std::shared_ptr<const runtime::Executable> executable_;
};

TEST_F(Inputs, AbsentMaskAndTypesHaveDefaults) {
  const ir::Tensor words = random_.tensor(DType::kI64, {2, 5}, 0, 9), ones = filled({2, 5}, 1), zeros = filled({2, 5}, 0);
  const auto full = context(), sparse = context();
  throw_if_error(set(*full, "input_ids", words));
  throw_if_error(set(*full, "attention_mask", ones));
  throw_if_error(set(*full, "token_type_ids", zeros));
  throw_if_error(full->run());
  throw_if_error(set(*sparse, "input_ids", words));
  throw_if_error(sparse->run());
  EXPECT_TRUE(hidden(*full).same_bytes(hidden(*sparse)));
}

TEST_F(Inputs, StrictContextsRefuseAbsentInputs) {
  const auto strict = context({.strict = true, .profile = -1, .keep = {}, .memory_limit = 0});
  const ir::Tensor words = filled({1, 3}, 1);
  throw_if_error(set(*strict, "input_ids", words));
  expect_message(strict->run(), {"attention_mask", "missing", "ones"});
}

TEST_F(Inputs, MissingIdsAreNamed) {
  const auto c = context();
  const ir::Tensor mask = filled({1, 3}, 1);
  expect_message(c->run(), {"input_ids", "missing"});
  throw_if_error(set(*c, "attention_mask", mask));
  expect_message(c->run(), {"input_ids", "missing"});
}

TEST_F(Inputs, SizesBeyondTheModelsTablesAreNamed) {
  plan::PlanOptions options;
  options.limits["seq"] = 4;
  executable_ = executable_of(*graph_, options);
  const auto c = context();
  const ir::Tensor longest = filled({3, 4}, 1), longer = filled({1, 5}, 1);
  throw_if_error(set(*c, "input_ids", longest));
  throw_if_error(c->run());
  throw_if_error(set(*c, "input_ids", longer));
  expect_message(c->run(), {"\"input_ids\" has seq = 5", "at most 4"});
}

TEST_F(Inputs, Int32IsTakenForInt64) {
  const auto a = context(), b = context();
  const ir::Tensor wide = ids({1, 4}, {1, 2, 3, 4});
  const ir::Tensor narrow = ir::Tensor::from(DType::kI32, {1, 4}, std::vector<int32_t>{1, 2, 3, 4});
  throw_if_error(set(*a, "input_ids", wide));
  throw_if_error(a->run());
  throw_if_error(set(*b, "input_ids", narrow));
  throw_if_error(b->run());
  EXPECT_TRUE(hidden(*a).same_bytes(hidden(*b)));
}

TEST_F(Inputs, WrongDtypesAndNamesSayWhatIsExpected) {
  const auto c = context();
  const ir::Tensor floats = random_.tensor(DType::kF32, {1, 4});
  expect_message(set(*c, "input_ids", floats), {"input_ids", "f32", "i64"});
  expect_message(set(*c, "ids", floats), {"\"ids\"", "input_ids, attention_mask, token_type_ids"});
  expect_message(set(*c, "input_ids", filled({4}, 1)), {"[4]", "[batch,seq]"});
}

TEST_F(Inputs, ContradictingSizesNameTheInputThatBoundTheSymbol) {
  const auto c = context();
  const ir::Tensor words = filled({2, 128}, 1), mask = filled({2, 127}, 1);
  throw_if_error(set(*c, "input_ids", words));
  throw_if_error(set(*c, "attention_mask", mask));
  expect_message(c->run(), {"attention_mask", "[2,127]", "[batch,seq] = [2,128]", "seq = 128 comes from input \"input_ids\""});
}

TEST_F(Inputs, IdsOutOfRangeNameRowAndColumn) {
  const auto c = context();
  ir::Tensor words = ids({2, 3}, {1, 2, 3, 4, 5, 10});
  throw_if_error(set(*c, "input_ids", words));
  expect_message(c->run(), {"input_ids", "row 1, column 2", "10", "0 to 9"});
  words = ids({2, 3}, {1, -2, 3, 4, 5, 9});
  throw_if_error(set(*c, "input_ids", words));
  expect_message(c->run(), {"row 0, column 1", "-2"});
}

TEST_F(Inputs, IdsThatTheMaskHidesMayBeAnything) {
  const auto c = context();
  const ir::Tensor words = ids({1, 3}, {1, 2, 999}), mask = ids({1, 3}, {1, 1, 0});
  throw_if_error(set(*c, "input_ids", words));
  throw_if_error(set(*c, "attention_mask", mask));
  EXPECT_TRUE(c->run().ok());
}

TEST_F(Inputs, MasksOtherThanZeroAndOneAreRefused) {
  const auto c = context();
  const ir::Tensor words = filled({2, 3}, 1), mask = ids({2, 3}, {1, 1, 1, 1, 3, 0});
  throw_if_error(set(*c, "input_ids", words));
  throw_if_error(set(*c, "attention_mask", mask));
  expect_message(c->run(), {"row 1", "column 1", "3"});
}

TEST_F(Inputs, ProfilesAreHeldTo) {
  plan::PlanOptions options;
  options.profiles = {{{{"input_ids", {1, 1}, {1, 8}, {1, 16}}}}, {{{"input_ids", {2, 1}, {4, 8}, {8, 8}}}}};
  const auto executable = executable_of(*graph_, options);
  const auto run = [&](int profile, int64_t batch, int64_t seq) {
    ContextOptions o;
    o.profile = profile;
    const auto c = value_or_throw(Context::create(executable, o));
    const ir::Tensor words = filled({batch, seq}, 1);
    throw_if_error(set(*c, "input_ids", words));
    return c->run();
  };
  EXPECT_TRUE(run(-1, 1, 16).ok());
  EXPECT_TRUE(run(-1, 8, 8).ok());
  EXPECT_TRUE(run(1, 8, 8).ok());
  expect_message(run(-1, 8, 9), {"no profile", "[1,1] to [1,16]", "[2,1] to [8,8]", "[8,9]"});
  expect_message(run(0, 8, 8), {"profile 0"});
  expect_message(Context::create(executable, {.strict = false, .profile = 2, .keep = {}, .memory_limit = 0}).status(), {"2 profiles"}, ErrorCode::kInvalidArgument);
}

TEST_F(Inputs, PackedRowsGiveWhatPaddedRowsGive) {
  SCOPED_TRACE(random_.trace());
  for (int round = 0; round < 20; ++round) {
    std::vector<int32_t> offsets = {0};
    for (int64_t b = random_.integer(1, 5); b > 0; --b) offsets.push_back(offsets.back() + static_cast<int32_t>(random_.integer(0, 7)));
    const int64_t batch = static_cast<int64_t>(offsets.size()) - 1, tokens = offsets.back();
    int64_t seq = 0;
    for (size_t b = 1; b < offsets.size(); ++b) seq = std::max<int64_t>(seq, offsets[b] - offsets[b - 1]);
    const ir::Tensor flat = random_.tensor(DType::kI64, {tokens}, 0, 9), kinds = random_.tensor(DType::kI32, {tokens}, 0, 1);
    std::vector<int64_t> words(static_cast<size_t>(batch * seq)), types(words), mask(words);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t i = offsets[static_cast<size_t>(b)]; i < offsets[static_cast<size_t>(b) + 1]; ++i) {
        const auto at = static_cast<size_t>(b * seq + i - offsets[static_cast<size_t>(b)]);
        words[at] = flat.int_at(i);
        types[at] = kinds.int_at(i);
        mask[at] = 1;
      }
    }
    const ir::Tensor padded_words = ids({batch, seq}, words), padded_types = ids({batch, seq}, types), padded_mask = ids({batch, seq}, mask);
    const auto padded = context(), packed = context({.strict = true, .profile = -1, .keep = {}, .memory_limit = 0});
    throw_if_error(set(*padded, "input_ids", padded_words));
    throw_if_error(set(*padded, "attention_mask", padded_mask));
    throw_if_error(set(*padded, "token_type_ids", padded_types));
    throw_if_error(padded->run());
    throw_if_error(packed->inputs().set_packed("input_ids", view_of(flat)));
    throw_if_error(packed->inputs().set_packed("token_type_ids", view_of(kinds)));
    throw_if_error(packed->inputs().set_row_offsets(offsets));
    throw_if_error(packed->run());
    EXPECT_TRUE(hidden(*padded).same_bytes(hidden(*packed)));
    const ir::Tensor rows = tensor_of(value_or_throw(packed->packed_output("hidden")));
    ASSERT_EQ(rows.shape(), (std::vector<int64_t>{tokens, 4}));
    const ir::Tensor all = hidden(*padded);
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t i = offsets[static_cast<size_t>(b)]; i < offsets[static_cast<size_t>(b) + 1]; ++i)
        for (int64_t k = 0; k < 4; ++k) EXPECT_EQ(rows.at(i * 4 + k), all.at((b * seq + i - offsets[static_cast<size_t>(b)]) * 4 + k));
    expect_message(packed->packed_output("mean").status(), {"mean", "no rows per token"}, ErrorCode::kInvalidArgument);
  }
}

TEST_F(Inputs, WrongRowOffsetsAreRefused) {
  const auto c = context();
  const std::vector<int32_t> falling = {0, 3, 2}, late = {1, 2}, fine = {0, 2, 5};
  expect_message(c->inputs().set_row_offsets(falling), {"row offset 2", "less than"});
  expect_message(c->inputs().set_row_offsets(late), {"begin with 0"});
  const ir::Tensor flat = filled({4}, 1);
  throw_if_error(c->inputs().set_packed("input_ids", view_of(flat)));
  expect_message(c->run(), {"row offsets"});
  throw_if_error(c->inputs().set_row_offsets(fine));
  expect_message(c->run(), {"4 rows", "end at 5"});
}

TEST_F(Inputs, EmptyBatchesAndEmptyMasksRun) {
  const auto c = context();
  const ir::Tensor none = filled({0, 4}, 0), words = filled({2, 4}, 1), mask = filled({2, 4}, 0);
  throw_if_error(set(*c, "input_ids", none));
  throw_if_error(c->run());
  EXPECT_EQ(hidden(*c).shape(), (std::vector<int64_t>{0, 4, 4}));
  throw_if_error(set(*c, "input_ids", words));
  throw_if_error(set(*c, "attention_mask", mask));
  throw_if_error(c->run());
  EXPECT_EQ(*hidden(*c).uniform_value(), 0.0);
}

TEST_F(Inputs, MemoryLimitsAreHeldTo) {
  const auto c = context({.strict = false, .profile = -1, .keep = {}, .memory_limit = 4096});
  const ir::Tensor words = filled({16, 64}, 1);
  throw_if_error(set(*c, "input_ids", words));
  expect_message(c->run(), {"limit is 4096"}, ErrorCode::kOutOfMemory);
}

TEST_F(Inputs, MayBeOnTheGpuForItsEnginesOnly) {
  const auto c = context();
  const ir::Tensor words = filled({1, 3}, 1);
  TensorView view = view_of(words);
  view.on_device = true;
  throw_if_error(c->inputs().set("input_ids", view));
  expect_message(c->run(), {"input_ids", "in a GPU's memory", "engine for"});

  const auto dense_graph = graph_from(kDenseModel, random_);
  const auto dense = value_or_throw(Context::create(executable_of(*dense_graph)));
  const std::string name = dense_graph->inputs()[0]->name();
  const ir::Tensor x = random_.tensor(DType::kF32, {2, 8});
  view = view_of(x);
  view.on_device = true;
  throw_if_error(dense->inputs().set(name, view));
  expect_message(dense->run(), {name, "in a GPU's memory", "engine for"});
  view.data = static_cast<std::byte*>(view.data) + 4;
  expect_message(dense->inputs().set(name, view), {name, "16 bytes"});
  // What is given next counts.
  throw_if_error(dense->inputs().set(name, view_of(x)));
  throw_if_error(dense->run());
}

}  // namespace
}  // namespace tenon::test
