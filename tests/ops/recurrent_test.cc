// Recurrent layers against each other and against their equations for one step.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/index.h"
#include "tests/ops/run_op.h"

namespace tenon::ops {
namespace {

using namespace test;  // NOLINT
using ir::Op;

constexpr int64_t kTime = 5, kBatch = 3, kIn = 4, kHidden = 2;

struct Layer {
  Op op;
  int64_t gates;
  std::string activations;
  ir::Attrs attrs(const std::string& direction) const {
    const std::string twice = direction == "bidirectional" ? activations + "," + activations : activations;
    return {{"hidden", kHidden}, {"direction", direction}, {"activations", twice}};
  }
};

const std::vector<Layer> kLayers{
    {Op::k_rnn, 1, "tanh"}, {Op::k_gru, 3, "sigmoid,tanh"}, {Op::k_lstm, 4, "sigmoid,tanh,tanh"}};

// Slice d of the leading axis, kept as an axis of size 1.
Tensor part(const Tensor& t, int64_t d) {
  std::vector<int64_t> shape = t.shape();
  shape[0] = 1;
  return tensor_of(t.dtype(), shape, [&](const Index& at) {
    Index from = at;
    from[0] = d;
    return t.at(flat(from, t.shape()));
  });
}

Tensor backwards(const Tensor& t) {
  return tensor_of(t.dtype(), t.shape(), [&](const Index& at) {
    Index from = at;
    from[0] = t.shape()[0] - 1 - at[0];
    return t.at(flat(from, t.shape()));
  });
}

TEST(Recurrent, TwoDirectionsAreOneEachWay) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Layer& layer : kLayers) {
    const Tensor x = random.tensor(DType::kF64, {kTime, kBatch, kIn}),
                 w = random.tensor(DType::kF64, {2, layer.gates * kHidden, kIn});
    const Tensor r = random.tensor(DType::kF64, {2, layer.gates * kHidden, kHidden}),
                 bias = random.tensor(DType::kF64, {2, 2 * layer.gates * kHidden});
    const auto both = run_op(layer.op, {x, w, r, bias}, layer.attrs("bidirectional"));
    ASSERT_TRUE(both.ok()) << both.status().message();
    const auto forward = run_op(layer.op, {x, part(w, 0), part(r, 0), part(bias, 0)}, layer.attrs("forward"));
    const auto turned = run_op(layer.op, {backwards(x), part(w, 1), part(r, 1), part(bias, 1)}, layer.attrs("forward"));
    const auto reverse = run_op(layer.op, {x, part(w, 1), part(r, 1), part(bias, 1)}, layer.attrs("reverse"));
    ASSERT_TRUE(forward.ok() && turned.ok() && reverse.ok());
    EXPECT_TRUE(close((*reverse)[0], backwards((*turned)[0])));
    const Tensor want = tensor_of(DType::kF64, {kTime, 2, kBatch, kHidden}, [&](const Index& at) {
      return (at[1] == 0 ? *forward : *reverse)[0].at(flat({at[0], 0, at[2], at[3]}, {kTime, 1, kBatch, kHidden}));
    });
    EXPECT_TRUE(close((*both)[0], want)) << ir::op_name(layer.op);
  }
}

TEST(Recurrent, AShorterSequenceIsTheSameAsOneThatEnds) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Layer& layer : kLayers) {
    const Tensor x = random.tensor(DType::kF32, {kTime, 1, kIn}),
                 w = random.tensor(DType::kF32, {1, layer.gates * kHidden, kIn});
    const Tensor r = random.tensor(DType::kF32, {1, layer.gates * kHidden, kHidden});
    const Tensor start =
        tensor_of(DType::kF32, {3, 1, kIn}, [&](const Index& at) { return x.at(at[0] * kIn + at[2]); });
    for (const char* direction : {"forward", "reverse"}) {
      const auto ended = run_op(layer.op, {x, w, r, Given(), i64({1}, {3})}, layer.attrs(direction)),
                 cut = run_op(layer.op, {start, w, r}, layer.attrs(direction));
      ASSERT_TRUE(ended.ok() && cut.ok()) << ended.status().message();
      EXPECT_TRUE(close((*ended)[1], (*cut)[1]));
      for (int64_t i = 0; i < (*ended)[0].numel(); ++i)
        EXPECT_EQ((*ended)[0].at(i), i < (*cut)[0].numel() ? (*cut)[0].at(i) : 0);
    }
    EXPECT_FALSE(run_op(layer.op, {x, w, r, Given(), i64({1}, {kTime + 1})}, layer.attrs("forward")).ok());
  }
}

TEST(Recurrent, OneStepOfAnLstmByItsEquations) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Layer& layer = kLayers[2];
  const Tensor x = random.tensor(DType::kF64, {1, 1, 1}), w = random.tensor(DType::kF64, {1, 4, 1}),
               r = random.tensor(DType::kF64, {1, 4, 1});
  const Tensor bias = random.tensor(DType::kF64, {1, 8}), h = random.tensor(DType::kF64, {1, 1, 1}),
               c = random.tensor(DType::kF64, {1, 1, 1}), p = random.tensor(DType::kF64, {1, 3});
  ir::Attrs attrs = layer.attrs("forward");
  attrs.set("hidden", int64_t{1});
  const auto y = run_op(Op::k_lstm, {x, w, r, bias, Given(), h, c, p}, attrs);
  ASSERT_TRUE(y.ok()) << y.status().message();
  const auto gate = [&](int64_t g, double peep) {
    return x.at(0) * w.at(g) + h.at(0) * r.at(g) + bias.at(g) + bias.at(4 + g) + peep;
  };
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  const double cell =
      sigmoid(gate(2, p.at(2) * c.at(0))) * c.at(0) + sigmoid(gate(0, p.at(0) * c.at(0))) * std::tanh(gate(3, 0));
  EXPECT_NEAR((*y)[2].at(0), cell, 1e-12);
  EXPECT_NEAR((*y)[0].at(0), sigmoid(gate(1, p.at(1) * cell)) * std::tanh(cell), 1e-12);
}

TEST(Recurrent, RefusesWhatDoesNotFit) {
  const std::string inputs = "%x: f32[5,3,4], %w: f32[1,8,4], %r: f32[1,8,2]";
  EXPECT_THAT(inferred(inputs, "rnn(%x, %w, %r) {hidden = 8, activations = \"tanh\"}"), testing::HasSubstr("input 2, axis 2"));
  EXPECT_THAT(inferred(inputs, "lstm(%x, %w, %r) {hidden = 2, activations = \"sigmoid,tanh,best\"}"),
              testing::HasSubstr("best"));
  EXPECT_THAT(inferred(inputs, "lstm(%x, %w, %r) {hidden = 2, activations = \"sigmoid\"}"),
              testing::HasSubstr("activations"));
}

}  // namespace
}  // namespace tenon::ops
