// The Network API: shapes and types at every call, values through the ops' reference loops, errors that name the layer.
#include "tenon/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "network/network_impl.h"
#include "ops/interpret.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"

namespace tenon {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// Random weights by name and shape.
class NetworkTest : public testing::Test {
 protected:
  Weights random_weights(const std::string& name, std::vector<int64_t> shape) {
    const ir::Tensor t = random_.tensor(DType::kF32, shape, -1, 1);
    return {name, DType::kF32, std::move(shape), t.data(), std::make_shared<ir::Tensor>(t)};
  }
  std::vector<ir::Tensor> run(const std::vector<ir::Tensor>& inputs) {
    auto graph = network::snapshot(net_);
    EXPECT_TRUE(graph.ok()) << graph.status().message();
    if (!graph.ok()) return {};
    auto outputs = ops::interpret(**graph, inputs);
    EXPECT_TRUE(outputs.ok()) << outputs.status().message();
    return outputs.ok() ? std::move(*outputs) : std::vector<ir::Tensor>{};
  }
  ir::Tensor run_one(Value y, const std::vector<ir::Tensor>& inputs) {
    net_.mark_output(y, "y");
    return run(inputs).at(0);
  }

  test::Random random_;
  testing::ScopedTrace trace_{__FILE__, __LINE__, random_.trace()};
  Network net_;
};

ir::Tensor floats(std::vector<int64_t> shape, const std::vector<float>& values) {
  return ir::Tensor::from(DType::kF32, std::move(shape), values);
}
ir::Tensor ints(std::vector<int64_t> shape, const std::vector<int64_t>& values) {
  return ir::Tensor::from(DType::kI64, std::move(shape), values);
}

TEST_F(NetworkTest, KnowsShapesAtOnce) {
  const Value ids = net_.add_input("ids", DType::kI64, {"batch", "seq"});
  const Value x = net_.embedding(ids, random_weights("words", {10, 8}));
  EXPECT_EQ(x.type(), "f32[batch,seq,8]");
  EXPECT_EQ(x.dim(0), -1);
  EXPECT_EQ(x.dim(-1), 8);
  EXPECT_EQ(x.rank(), 3);
  EXPECT_EQ(x.dtype(), DType::kF32);
  EXPECT_EQ(net_.linear(x, random_weights("w", {4, 8})).type(), "f32[batch,seq,4]");
  EXPECT_EQ(net_.pooling(x, ids, Pooling::kMean).type(), "f32[batch,8]");
  EXPECT_EQ(net_.padding_bias(ids).type(), "f32[batch,1,1,seq]");
  EXPECT_EQ(net_.positions(ids, 1).type(), "i64[seq]");
  EXPECT_EQ(net_.shuffle(x, {0, -1, 2, 4}, {0, 2, 1, 3}).type(), "f32[batch,2,seq,4]");
  EXPECT_EQ(net_.reshape(x, {-1, 8}).type(), "f32[batch*seq,8]");
  EXPECT_EQ(net_.select(x, 1, 0).type(), "f32[batch,8]");
  EXPECT_EQ(net_.slice(x, 2, 0, 6, 2).type(), "f32[batch,seq,3]");
  EXPECT_EQ(net_.slice(x, 2, -3).type(), "f32[batch,seq,3]");
  EXPECT_EQ(net_.gather_rows(x, ids).type(), "f32[batch,seq,8]");
  EXPECT_EQ(net_.reduce(Reduce::kMean, x, {-1}, true).type(), "f32[batch,seq,1]");
  EXPECT_EQ(net_.concat({x, x}, -1).type(), "f32[batch,seq,16]");
  EXPECT_EQ(net_.elementwise(Elementwise::kEqual, x, net_.scalar(0)).type(), "bool[batch,seq,8]");
}

TEST_F(NetworkTest, UnnamedAxesAreOneSizeEachAndSettleWhereTheyMeet) {
  const Value a = net_.add_input("a", DType::kF32, {-1, 4}), b = net_.add_input("b", DType::kF32, {-1, 4});
  EXPECT_EQ(a.dim(0), -1);
  net_.mark_output(net_.add(a, b), "y");
  const auto graph = network::snapshot(net_);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_EQ((*graph)->inputs()[0]->shape(), (*graph)->inputs()[1]->shape());
}

TEST_F(NetworkTest, LinearTakesBothLayouts) {
  const std::vector<float> out_in = {1, 2, 3, 4, 5, 6}, in_out = {1, 4, 2, 5, 3, 6};
  const Value x = net_.add_input("x", DType::kF32, {"n", 3});
  const Weights bias = Weights::from("b", {2}, {10, 20});
  const Value first = net_.linear(x, Weights::from("w1", {2, 3}, out_in), bias);
  const Value second = net_.linear(x, Weights::from("w2", {3, 2}, in_out), bias, LinearLayout::kInOut);
  net_.mark_output(first, "first");
  net_.mark_output(second, "second");
  const auto y = run({floats({1, 3}, {1, 1, 2})});
  ASSERT_EQ(y.size(), 2u);
  EXPECT_EQ(y[0].at(0), 19);
  EXPECT_EQ(y[0].at(1), 41);
  EXPECT_TRUE(y[0].same_bytes(y[1]));
}

// Attention by the formula, one head and one query at a time.
std::vector<double> attention_by_hand(const ir::Tensor& q, const ir::Tensor& k, const ir::Tensor& v,
                                      const std::vector<int64_t>& mask, int64_t heads) {
  const int64_t batch = q.shape()[0], seq = q.shape()[1], width = q.shape()[2], size = width / heads;
  const auto at = [&](const ir::Tensor& t, int64_t b, int64_t s, int64_t c) { return t.at((b * seq + s) * width + c); };
  std::vector<double> y(static_cast<size_t>(batch * seq * width));
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < seq; ++i) {
        std::vector<double> weight(static_cast<size_t>(seq));
        double sum = 0;
        for (int64_t j = 0; j < seq; ++j) {
          double score = 0;
          for (int64_t d = 0; d < size; ++d) score += at(q, b, i, h * size + d) * at(k, b, j, h * size + d);
          const bool kept = mask[static_cast<size_t>(b * seq + j)] != 0;
          sum += weight[static_cast<size_t>(j)] = kept ? std::exp(score / std::sqrt(static_cast<double>(size))) : 0;
        }
        for (int64_t d = 0; d < size; ++d) {
          double value = 0;
          for (int64_t j = 0; j < seq; ++j) value += weight[static_cast<size_t>(j)] / sum * at(v, b, j, h * size + d);
          y[static_cast<size_t>((b * seq + i) * width + h * size + d)] = value;
        }
      }
    }
  }
  return y;
}

TEST_F(NetworkTest, SelfAttentionFollowsTheFormula) {
  constexpr int64_t kBatch = 2, kSeq = 5, kHidden = 6, kHeads = 3;
  const Value x = net_.add_input("x", DType::kF32, {"batch", "seq", kHidden}),
              mask = net_.add_input("mask", DType::kI64, {"batch", "seq"});
  const AttentionWeights weights = {.query = random_weights("q", {6, 6}),
                                    .query_bias = random_weights("qb", {6}),
                                    .key = random_weights("k", {6, 6}),
                                    .key_bias = random_weights("kb", {6}),
                                    .value = random_weights("v", {6, 6}),
                                    .value_bias = {}};
  net_.mark_output(net_.self_attention(x, weights, kHeads, mask), "with_mask");
  net_.mark_output(net_.self_attention(x, weights, kHeads, net_.padding_bias(mask)), "with_bias");
  net_.mark_output(net_.linear(x, weights.query, weights.query_bias), "q_rows");
  net_.mark_output(net_.linear(x, weights.key, weights.key_bias), "k_rows");
  net_.mark_output(net_.linear(x, weights.value), "v_rows");
  const std::vector<int64_t> kept = {1, 1, 1, 0, 0, 0, 1, 0, 1, 1};
  const auto y = run({random_.tensor(DType::kF32, {kBatch, kSeq, kHidden}), ints({kBatch, kSeq}, kept)});
  ASSERT_EQ(y.size(), 5u);
  const auto expected = attention_by_hand(y[2], y[3], y[4], kept, kHeads);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(y[0].at(static_cast<int64_t>(i)), expected[i], 1e-5);
  EXPECT_TRUE(y[0].same_bytes(y[1]));
}

TEST_F(NetworkTest, PoolsOverTheMask) {
  const Value x = net_.add_input("x", DType::kF32, {"batch", "seq", 2}),
              mask = net_.add_input("mask", DType::kI64, {"batch", "seq"});
  net_.mark_output(net_.pooling(x, mask, Pooling::kMean), "mean");
  net_.mark_output(net_.pooling(x, mask, Pooling::kMeanSqrt), "mean_sqrt");
  net_.mark_output(net_.pooling(x, mask, Pooling::kMax), "max");
  net_.mark_output(net_.pooling(x, {}, Pooling::kFirst), "first");
  net_.mark_output(net_.l2_normalize(net_.pooling(x, {}, Pooling::kFirst)), "unit");
  const auto y = run({floats({2, 3, 2}, {3, 4, 9, 9, 1, 8, 1, 1, 1, 1, 1, 1}), ints({2, 3}, {1, 0, 1, 0, 0, 0})});
  ASSERT_EQ(y.size(), 5u);
  const auto near = [](const ir::Tensor& t, std::vector<double> expected) {
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(t.at(static_cast<int64_t>(i)), expected[i], 1e-6);
  };
  near(y[0], {2, 6, 0, 0});  // an empty sequence gives 0
  near(y[1], {4 / std::sqrt(2.0), 12 / std::sqrt(2.0), 0, 0});
  near(y[2], {3, 8, -1e9, -1e9});
  near(y[3], {3, 4, 1, 1});
  near(y[4], {0.6, 0.8, std::sqrt(0.5), std::sqrt(0.5)});
}

TEST_F(NetworkTest, ActivationsFollowTheirFormulas) {
  const auto value = [](Activation kind, float x) {
    Network net;
    net.mark_output(net.activation(net.add_input("x", DType::kF32, {1}), kind), "y");
    const auto y = ops::interpret(network::graph_of(net), std::vector{floats({1}, {x})});
    return y.ok() ? (*y)[0].at(0) : std::nan("");
  };
  for (const float f : {-2.0f, -0.5f, 0.0f, 1.25f}) {
    const double x = f;
    EXPECT_NEAR(value(Activation::kNone, f), x, 1e-6);
    EXPECT_NEAR(value(Activation::kRelu, f), std::max(x, 0.0), 1e-6);
    EXPECT_NEAR(value(Activation::kGelu, f), x * 0.5 * (1 + std::erf(x / std::sqrt(2))), 1e-6);
    EXPECT_NEAR(value(Activation::kGeluTanh, f),
                0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))), 1e-6);
    EXPECT_NEAR(value(Activation::kGeluSigmoid, f), x / (1 + std::exp(-1.702 * x)), 1e-6);
    EXPECT_NEAR(value(Activation::kTanh, f), std::tanh(x), 1e-6);
    EXPECT_NEAR(value(Activation::kSigmoid, f), 1 / (1 + std::exp(-x)), 1e-6);
    EXPECT_NEAR(value(Activation::kSilu, f), x / (1 + std::exp(-x)), 1e-6);
  }
}

TEST_F(NetworkTest, GathersRowsPerSequence) {
  const Value x = net_.add_input("x", DType::kF32, {"batch", "seq", 1}),
              rows = net_.add_input("rows", DType::kI64, {"batch", "n"});
  const ir::Tensor y =
      run_one(net_.gather_rows(x, rows), {floats({2, 3, 1}, {0, 1, 2, 10, 11, 12}), ints({2, 2}, {2, 0, 1, 1})});
  EXPECT_THAT(y.shape(), ElementsAre(2, 2, 1));
  EXPECT_EQ(y.at(0), 2);
  EXPECT_EQ(y.at(1), 0);
  EXPECT_EQ(y.at(2), 11);
  EXPECT_EQ(y.at(3), 11);
}

TEST_F(NetworkTest, SlicesFromBothEnds) {
  const Value x = net_.add_input("x", DType::kI64, {"n"});
  struct Case {
    int64_t start, end, step;
    std::vector<int64_t> expected;
  };
  const std::vector<Case> cases = {{1, 3, 1, {1, 2}},  {-2, INT64_MAX, 1, {3, 4}},
                                   {0, -1, 2, {0, 2}}, {2, 100, 1, {2, 3, 4}},
                                   {7, 9, 1, {}},      {-9, 2, 1, {0, 1}}};
  for (size_t i = 0; i < cases.size(); ++i)
    net_.mark_output(net_.slice(x, 0, cases[i].start, cases[i].end, cases[i].step), std::to_string(i));
  const auto y = run({ints({5}, {0, 1, 2, 3, 4})});
  ASSERT_EQ(y.size(), cases.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    std::vector<int64_t> values;
    for (int64_t j = 0; j < y[i].numel(); ++j) values.push_back(y[i].int_at(j));
    EXPECT_EQ(values, cases[i].expected) << "case " << i;
  }
}

TEST_F(NetworkTest, StoresAWeightOnce) {
  const Value ids = net_.add_input("ids", DType::kI64, {"n"});
  const Weights table = random_weights("table", {7, 3});
  net_.mark_output(net_.linear(net_.embedding(ids, table), table), "y");
  int constants = 0;
  for (const auto& node : network::graph_of(net_).nodes()) constants += node->is(ir::Op::k_constant);
  EXPECT_EQ(constants, 1);
}

TEST_F(NetworkTest, WidensHalfPrecisionWeightsOnce) {
  const Value x = net_.add_input("x", DType::kF32, {"n", 2});
  const ir::Tensor halves =
      ir::Tensor::from(DType::kBF16, {2, 2}, std::vector<BF16>{BF16(1.0f), BF16(2.0f), BF16(3.0f), BF16(4.0f)});
  const Weights w = {"w", DType::kBF16, {2, 2}, halves.data(), std::make_shared<ir::Tensor>(halves)};
  const ir::Tensor y = run_one(net_.linear(net_.linear(x, w), w), {floats({1, 2}, {1, 0})});
  EXPECT_EQ(y.at(0), 1 * 1 + 3 * 2);
  EXPECT_EQ(y.at(1), 1 * 3 + 3 * 4);
  int casts = 0;
  for (const auto& node : network::graph_of(net_).nodes()) casts += node->is(ir::Op::k_cast);
  EXPECT_EQ(casts, 1);
}

TEST_F(NetworkTest, NamesLayersInTheGraph) {
  const Value x = net_.add_input("x", DType::kF32, {"n", 2});
  net_.set_scope("encoder.layer.0");
  net_.relu(x);
  EXPECT_THAT(net_.to_text(), HasSubstr("from \"encoder.layer.0/relu\""));
}

TEST_F(NetworkTest, ErrorsNameTheLayerAndTheCause) {
  const Value ids = net_.add_input("ids", DType::kI64, {"batch", "seq"}),
              x = net_.add_input("x", DType::kF32, {"batch", "seq", 8});
  Network other;
  const Value foreign = other.add_input("x", DType::kF32, {"batch", "seq", 8});
  const Weights square = random_weights("square", {8, 8}), wide = random_weights("wide", {8, 9}),
                vector = random_weights("vector", {8});
  static float sixteen[17] = {};
  const Weights misaligned = {"misaligned", DType::kF32, {2, 8}, reinterpret_cast<const char*>(sixteen) + 1};
  net_.set_scope("block");
  struct Case {
    std::function<void()> call;
    const char* message;
  };
  const std::vector<Case> cases = {
      {[&] { net_.linear(x, wide); }, "block/linear: "},
      {[&] { net_.linear(x, vector); }, "the weight is f32[8], not a matrix"},
      {[&] { net_.linear(x, square, wide); }, "block/linear: "},
      {[&] { net_.linear({}, square); }, "an input is absent"},
      {[&] { (void)Value().type(); }, "an absent value has no type"},
      {[&] { net_.relu(foreign); }, "an input belongs to another network"},
      {[&] { net_.add(x, ids); }, "block/add: "},
      {[&] { net_.embedding(ids, vector); }, "the table is f32[8], not [rows, hidden]"},
      {[&] { net_.embedding(x, square); }, "block/embedding: "},
      {[&] {
         net_.layer_norm(x, {wide, vector});
       },
       "block/layer_norm: "},
      {[&] {
         net_.self_attention(
             x, {.query = square, .query_bias = {}, .key = square, .key_bias = {}, .value = square, .value_bias = {}},
             3);
       },
       "8 columns do not divide by 3 heads"},
      {[&] {
         net_.self_attention(
             x, {.query = square, .query_bias = {}, .key = square, .key_bias = {}, .value = square, .value_bias = {}},
             0);
       },
       "do not divide by 0 heads"},
      {[&] {
         net_.self_attention(
             ids, {.query = square, .query_bias = {}, .key = square, .key_bias = {}, .value = square, .value_bias = {}},
             2);
       },
       "x is i64[batch,seq], not [batch, seq, hidden]"},
      {[&] { net_.padding_bias(x); }, "the mask is f32[batch,seq,8]"},
      {[&] { net_.pooling(ids, ids, Pooling::kMean); }, "not [batch, seq, hidden]"},
      {[&] { net_.pooling(x, {}, Pooling::kMean); }, "an input is absent"},
      {[&] {
         net_.reshape(x, {-1, -1});
       },
       "two sizes are -1"},
      {[&] {
         net_.reshape(x, {-1, 3});
       },
       "do not divide by 3"},
      {[&] {
         net_.reshape(x, {0, 0, 0, 0});
       },
       "size 3 is 0 (as in x)"},
      {[&] { net_.reshape(x, {-2}); }, "size -2 makes no sense"},
      {[&] {
         net_.transpose(x, {0, 0, 1});
       },
       "block/transpose: "},
      {[&] { net_.slice(x, 3, 0); }, "axis 3 is out of range"},
      {[&] { net_.slice(x, 0, 0, 1, 0); }, "step 0 is not positive"},
      {[&] { net_.softmax(x, 5); }, "block/softmax: "},
      {[&] { net_.reduce(Reduce::kSum, x, {3}); }, "axis 3 is out of range"},
      {[&] { net_.gather_rows(x, x); }, "indices are f32[batch,seq,8], not [batch, n]"},
      {[&] { net_.positions(x, 9); }, "axis 9 is out of range"},
      {[&] {
         net_.matmul(x, net_.constant(random_weights("seven", {7, 7})));
       },
       "block/matmul: "},
      {[&] { net_.add_input("x", DType::kF32, {1}); }, "input 'x': the name is taken"},
      {[&] { net_.add_input("a b", DType::kF32, {1}); }, "input 'a b'"},
      {[&] { net_.add_input("z", DType::kF32, {0}); }, "size 0 of axis 0"},
      {[&] { net_.add_input("z", DType::kF32, {-7}); }, "size -7 of axis 0"},
      {[&] { net_.add_input("z", DType::kF32, {"two words"}); }, "'two words' is no name for an axis"},
      {[&] {
         net_.constant({"square", DType::kF32, {8, 8}, sixteen});
       },
       "weights 'square': the name is taken by a different weight"},
      {[&] { net_.constant(misaligned); }, "the data is not aligned for f32"},
      {[&] {
         net_.constant({"n", DType::kF32, {-1}, sixteen});
       },
       "negative or too large size"},
      {[&] {
         net_.constant({"n", DType::kF32, {INT64_MAX, 2}, sixteen});
       },
       "negative or too large size"},
      {[&] { Weights::from("w", {2}, {1}); }, "weights 'w': 1 values given for shape [2]"},
  };
  net_.constant(square);
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    try {
      cases[i].call();
      ADD_FAILURE() << "no error; expected: " << cases[i].message;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(e.what(), HasSubstr(cases[i].message));
    }
  }
}

TEST_F(NetworkTest, OutputsHaveOneNameEach) {
  const Value x = net_.add_input("x", DType::kF32, {2});
  EXPECT_EQ(network::snapshot(net_).status().code(), ErrorCode::kInvalidArgument);
  net_.mark_output(x, "y");
  EXPECT_THROW(net_.mark_output(x, "y"), Error);
}

TEST_F(NetworkTest, DeclaredWeightsAreListedWhenBuilt) {
  const Value x = net_.add_input("x", DType::kF32, {"n", 2});
  net_.mark_output(net_.linear(x, {"first", DType::kF32, {2, 2}}, {"second", DType::kF32, {2}}), "y");
  const Status s = network::snapshot(net_).status();
  EXPECT_EQ(s.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(s.message(), AllOf(HasSubstr("first: f32[2,2]"), HasSubstr("second: f32[2]")));
}

}  // namespace
}  // namespace tenon
