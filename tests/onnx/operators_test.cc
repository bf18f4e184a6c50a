// Operators that are imported as compositions, against their formulas; and sizes that stay symbolic through them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numbers>

#include "ops/interpret.h"
#include "tests/onnx/model_builder.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"

namespace tenon::onnx {
namespace {

using namespace test;  // NOLINT
using ir::Tensor;
using tenon::test::close;      // NOLINT
using tenon::test::Random;     // NOLINT
using tenon::test::tolerance;  // NOLINT

std::vector<std::string> sizes_of(const Tensor& t) {
  std::vector<std::string> sizes;
  for (const int64_t d : t.shape()) sizes.push_back(std::to_string(d));
  return sizes;
}

// One node on tensors given as inputs; all outputs.
Result<std::vector<Tensor>> run(const std::string& op, const std::vector<Tensor>& inputs,
                                const std::vector<onnx_pb::AttributeProto>& attributes = {}, int outputs = 1,
                                int64_t opset = 21) {
  ModelBuilder b(opset);
  std::vector<std::string> in, out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int type = inputs[i].dtype() == DType::kF32   ? kFloat
                     : inputs[i].dtype() == DType::kI64 ? kInt64
                     : inputs[i].dtype() == DType::kF64 ? kDouble
                                                        : kUInt8;
    in.push_back("x" + std::to_string(i));
    b.input(in.back(), type, sizes_of(inputs[i]));
  }
  for (int i = 0; i < outputs; ++i) out.push_back("y" + std::to_string(i));
  auto& node = b.node(op, in, out, attributes);
  if (const size_t dot = op.rfind('.'); dot != std::string::npos) {
    node.set_domain(op.substr(0, dot));
    node.set_op_type(op.substr(dot + 1));
    ModelBuilder::import_opset(b.model, node.domain(), 1);
  }
  for (const std::string& name : out) b.output(name);
  TENON_ASSIGN(const ir::Model model, b.import());
  return ops::interpret(*model.graph, inputs);
}

Tensor first(const Result<std::vector<Tensor>>& result) {
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? (*result)[0] : Tensor();
}

// The type of an output, or the refusal.
std::string type_of(const ModelBuilder& b) {
  const auto model = b.import();
  return model.ok() ? model->graph->outputs()[0].value->type().to_string() : model.status().message();
}

TEST(Sizes, StaySymbolicThroughWindowsAndScales) {
  const auto window = [](const std::string& op, const std::vector<onnx_pb::AttributeProto>& attributes) {
    ModelBuilder b;
    b.input("x", kFloat, {"n", "2", "h", "w"});
    b.floats("k", {4, 2, 3, 3}, std::vector<float>(72));
    const std::vector<std::string> inputs =
        op == "Conv" ? std::vector<std::string>{"x", "k"} : std::vector<std::string>{"x"};
    b.node(op, inputs, {"y"}, attributes);
    b.output("y");
    return type_of(b);
  };
  EXPECT_EQ(window("Conv", {text_attribute("auto_pad", "SAME_UPPER"), ints_attribute("strides", {2, 1})}),
            "f32[n,4,floordiv(h + 1, 2),w]");
  EXPECT_EQ(window("Conv", {ints_attribute("pads", {1, 1, 1, 1})}), "f32[n,4,h,w]");
  EXPECT_EQ(window("MaxPool", {ints_attribute("kernel_shape", {2, 2}), ints_attribute("strides", {2, 2})}),
            "f32[n,2,floordiv(h, 2),floordiv(w, 2)]");
  EXPECT_THAT(window("MaxPool", {ints_attribute("kernel_shape", {2})}), testing::HasSubstr("MaxPool"));
  EXPECT_THAT(window("MaxPool", {ints_attribute("kernel_shape", {0, 2})}), testing::HasSubstr("window"));
  EXPECT_THAT(window("Conv", {ints_attribute("strides", {0, 1})}), testing::HasSubstr("step"));
  EXPECT_THAT(window("Conv", {int_attribute("group", 2)}), testing::HasSubstr("channels"));
  const auto resize = [](const std::vector<float>& scales) {
    ModelBuilder b;
    b.input("x", kFloat, {"n", "3", "h", "w"}).floats("scales", {static_cast<int64_t>(scales.size())}, scales);
    b.node("Resize", {"x", "", "scales"}, {"y"});
    b.output("y");
    return type_of(b);
  };
  EXPECT_EQ(resize({1, 1, 2, 1.5}), "f32[n,3,2*h,floordiv(3*w, 2)]");
  EXPECT_THAT(resize({1, 1, 0.3F, 1}), testing::HasSubstr("scale"));
  EXPECT_THAT(resize({1, 1, -1, 1}), testing::HasSubstr("scale"));
  EXPECT_THAT(resize({1, 1}), testing::HasSubstr("4 axes"));
}

TEST(BatchNormalization, OneFactorAndOneShiftPerChannel) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x = random.tensor(DType::kF32, {2, 3, 7}), scale = random.tensor(DType::kF32, {3}),
               bias = random.tensor(DType::kF32, {3});
  const Tensor mean = random.tensor(DType::kF32, {3}), var = random.tensor(DType::kF32, {3}, 0.5, 2);
  const Tensor y = first(run("BatchNormalization", {x, scale, bias, mean, var}));
  for (int64_t i = 0; i < y.numel(); ++i) {
    const int64_t c = i / 7 % 3;
    EXPECT_NEAR(y.at(i), (x.at(i) - mean.at(c)) / std::sqrt(var.at(c) + 1e-5) * scale.at(c) + bias.at(c), 1e-5);
  }
}

TEST(GroupNormalization, EachGroupHasMeanZeroAndVarianceOne) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x = random.tensor(DType::kF32, {2, 6, 5}, 3, 9), scale = random.tensor(DType::kF32, {6}),
               bias = random.tensor(DType::kF32, {6});
  const Tensor y = first(run("GroupNormalization", {x, scale, bias}, {int_attribute("num_groups", 2)}));
  for (int64_t group = 0; group < 4; ++group) {
    double sum = 0, squares = 0;
    for (int64_t i = group * 15; i < group * 15 + 15; ++i) {
      const double v = (y.at(i) - bias.at(i / 5 % 6)) / scale.at(i / 5 % 6);
      sum += v;
      squares += v * v;
    }
    EXPECT_NEAR(sum / 15, 0, 1e-3);
    EXPECT_NEAR(squares / 15, 1, 1e-2);
  }
}

TEST(Quantization, ThereAndBackWithinHalfAStep) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x = random.tensor(DType::kF32, {5, 7}, -3, 3), scale = random.tensor(DType::kF32, {7}, 0.05, 0.1);
  const Tensor zero = random.tensor(DType::kU8, {7}, 100, 150);
  const Tensor q = first(run("QuantizeLinear", {x, scale, zero}));
  ASSERT_EQ(q.dtype(), DType::kU8);
  const Tensor y = first(run("DequantizeLinear", {q, scale, zero}));
  for (int64_t i = 0; i < x.numel(); ++i) EXPECT_LE(std::abs(y.at(i) - x.at(i)), scale.at(i % 7) * 0.501) << i;
  // Blocks of three columns, the last one of one.
  const Tensor blocks = random.tensor(DType::kF32, {5, 3}, 0.05, 0.1);
  const Tensor z =
      first(run("DequantizeLinear", {q, blocks}, {int_attribute("axis", 1), int_attribute("block_size", 3)}));
  for (int64_t i = 0; i < z.numel(); ++i)
    EXPECT_FLOAT_EQ(static_cast<float>(z.at(i)), static_cast<float>(q.at(i) * blocks.at(i / 7 * 3 + i % 7 / 3)));
}

TEST(Quantization, ProductsOfIntegersScaledBack) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor a = random.tensor(DType::kU8, {3, 20}, 0, 255), b = random.tensor(DType::kU8, {20, 5}, 0, 255);
  const Tensor a_scale = random.tensor(DType::kF32, {}, 0.01, 0.02), b_scale = random.tensor(DType::kF32, {5}, 0.01, 0.02);
  const Tensor a_zero = random.tensor(DType::kU8, {}, 100, 150), b_zero = random.tensor(DType::kU8, {5}, 100, 150);
  const Tensor y = first(run("com.microsoft.MatMulIntegerToFloat", {a, b, a_scale, b_scale, a_zero, b_zero}));
  for (int64_t i = 0; i < 15; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < 20; ++k) sum += (a.at(i / 5 * 20 + k) - a_zero.at(0)) * (b.at(k * 5 + i % 5) - b_zero.at(i % 5));
    EXPECT_NEAR(y.at(i), sum * a_scale.at(0) * b_scale.at(i % 5), 1e-3);
  }
}

TEST(Quantization, WeightsOfFourBitsInBlocks) {
  Random random;
  SCOPED_TRACE(random.trace());
  const int64_t n = 5, k = 40, block = 16, blocks = 3;  // the last block is half used
  const Tensor a = random.tensor(DType::kF32, {2, k}), packed = random.tensor(DType::kU8, {n, blocks, block / 2}, 0, 255);
  const Tensor scales = random.tensor(DType::kF32, {n * blocks}, 0.05, 0.1), zeros = random.tensor(DType::kU8, {n * 2}, 0, 255);
  const auto nibble = [](const Tensor& t, int64_t byte, int64_t half) { return static_cast<double>(t.int_at(byte) >> (4 * half) & 15); };
  const Tensor y = first(run("com.microsoft.MatMulNBits", {a, packed, scales, zeros},
                             {int_attribute("K", k), int_attribute("N", n), int_attribute("bits", 4), int_attribute("block_size", block)}));
  for (int64_t i = 0; i < 2 * n; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) {
      const int64_t row = i % n, b = j / block;
      const double w = nibble(packed, (row * blocks + b) * block / 2 + j % block / 2, j % 2) - nibble(zeros, row * 2 + b / 2, b % 2);
      sum += a.at(i / n * k + j) * w * scales.at(row * blocks + b);
    }
    EXPECT_NEAR(y.at(i), sum, 1e-4);
  }
}

// Sums over every name that the result lacks, one combination of indices after the other.
Tensor einsum(const std::string& left, const std::string& result, const std::vector<Tensor>& inputs) {
  std::map<char, int64_t> size;
  std::vector<std::string> terms{""};
  for (const char ch : left) {
    if (ch == ',') terms.emplace_back();
    if (ch != ',') terms.back() += ch;
  }
  for (size_t k = 0; k < terms.size(); ++k)
    for (size_t i = 0; i < terms[k].size(); ++i) size[terms[k][i]] = inputs[k].shape()[i];
  std::vector<int64_t> shape;
  for (const char ch : result) shape.push_back(size[ch]);
  int64_t all = 1, numel = 1;
  for (const auto& [name, n] : size) all *= n;
  for (const int64_t d : shape) numel *= d;
  std::vector<double> sums(static_cast<size_t>(numel), 0);
  for (int64_t code = 0; code < all; ++code) {
    std::map<char, int64_t> at;
    int64_t rest = code;
    for (const auto& [name, n] : size) {
      at[name] = rest % n;
      rest /= n;
    }
    const auto flat = [&](const std::string& names) {
      int64_t i = 0;
      for (const char ch : names) i = i * size[ch] + at[ch];
      return i;
    };
    double product = 1;
    for (size_t k = 0; k < terms.size(); ++k) product *= inputs[k].at(flat(terms[k]));
    sums[static_cast<size_t>(flat(result))] += product;
  }
  return Tensor::from(DType::kF64, shape, sums);
}

TEST(Einsum, AsSumsOverAllIndices) {
  Random random;
  SCOPED_TRACE(random.trace());
  const std::vector<std::pair<std::string, std::string>> equations{
      {"ij,jk", "ik"}, {"bij,bkj", "bik"},   {"ii", "i"},   {"ii", ""},   {"i,j", "ij"},    {"abc,cd,de", "abe"},
      {"ij", "ji"},    {"bhwc,hkc", "bhwk"}, {"ij,ij", ""}, {"ijk", "k"}, {"abc,ab", "ca"}, {"bii,ij", "bj"}};
  for (const auto& [left, result] : equations) {
    std::map<char, int64_t> size;
    std::vector<Tensor> inputs;
    std::vector<int64_t> shape;
    for (const char ch : left + ",") {
      if (ch == ',') {
        inputs.push_back(random.tensor(DType::kF64, std::exchange(shape, {})));
      } else {
        shape.push_back(size.emplace(ch, random.integer(1, 4)).first->second);
      }
    }
    const Tensor y = first(run("Einsum", inputs, {text_attribute("equation", left + "->" + result)}));
    EXPECT_TRUE(close(y, einsum(left, result, inputs), {1e-10, 1e-10})) << left << "->" << result;
  }
  const Tensor a = random.tensor(DType::kF64, {2, 3, 4}), b = random.tensor(DType::kF64, {4, 5});
  EXPECT_EQ(first(run("Einsum", {a, b}, {text_attribute("equation", "...ij,jk->...ik")})).shape(),
            (std::vector<int64_t>{2, 3, 5}));
  EXPECT_FALSE(run("Einsum", {a, b}, {text_attribute("equation", "ij,jk->ik")}).ok());
  EXPECT_FALSE(run("Einsum", {a, b}, {text_attribute("equation", "abc,cd->abz")}).ok());
}

TEST(Dft, AsDefinedAndItsInverseUndoesIt) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t n : {1, 2, 7, 12}) {
    const Tensor x = random.tensor(DType::kF32, {2, n, 2});
    const Tensor y = first(run("DFT", {x}, {int_attribute("axis", 1)}, 1, 17));
    for (int64_t k = 0; k < n; ++k) {
      std::complex<double> sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        sum += std::complex<double>(x.at(i * 2), x.at(i * 2 + 1)) *
               std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(i * k) / static_cast<double>(n));
      }
      EXPECT_NEAR(y.at(k * 2), sum.real(), 1e-4);
      EXPECT_NEAR(y.at(k * 2 + 1), sum.imag(), 1e-4);
    }
    EXPECT_TRUE(
        close(first(run("DFT", {y}, {int_attribute("axis", 1), int_attribute("inverse", 1)}, 1, 17)), x, {1e-4, 1e-5}));
  }
}

TEST(Scan, RunningSums) {
  ModelBuilder b;
  b.input("start", kFloat, {"2"}).input("x", kFloat, {"3", "2"});
  onnx_pb::GraphProto body;
  body.set_name("body");
  set_port(*body.add_input(), "sum_in", kFloat, {"2"});
  set_port(*body.add_input(), "row", kFloat, {"2"});
  ModelBuilder::add_node(body, "Add", {"sum_in", "row"}, {"sum"});
  ModelBuilder::add_node(body, "Identity", {"sum"}, {"out"});
  set_port(*body.add_output(), "sum", kFloat, {"2"});
  set_port(*body.add_output(), "out", kFloat, {"2"});
  b.node("Scan", {"start", "x"}, {"last", "all"}, {graph_attribute("body", body), int_attribute("num_scan_inputs", 1)});
  b.output("last").output("all");
  const auto model = b.import();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto y = ops::interpret(
      *model->graph, std::vector<Tensor>{Tensor::from(DType::kF32, {2}, std::vector<float>{10, 20}),
                                         Tensor::from(DType::kF32, {3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6})});
  ASSERT_TRUE(y.ok()) << y.status().message();
  EXPECT_EQ((*y)[0].at(1), 32);
  EXPECT_EQ((*y)[1].shape(), (std::vector<int64_t>{3, 2}));
  EXPECT_EQ((*y)[1].at(2), 14);
}

TEST(NarrowTypes, ComePackedAndUnpacked) {
  ModelBuilder b(25);
  auto& packed = b.tensor("w", 22 /* int4 */, {3});
  packed.set_raw_data(std::string("\x9f\x07", 2));  // -1, -7, 7
  b.node("Cast", {"w"}, {"y"}, {int_attribute("to", kFloat)});
  b.output("y");
  const auto model = b.import();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto y = ops::interpret(*model->graph, {});
  ASSERT_TRUE(y.ok()) << y.status().message();
  EXPECT_EQ((*y)[0].at(0), -1);
  EXPECT_EQ((*y)[0].at(1), -7);
  EXPECT_EQ((*y)[0].at(2), 7);
  packed.set_raw_data("\x9f");
  EXPECT_THAT(type_of(b), testing::HasSubstr("needs 2 bytes"));
}

}  // namespace
}  // namespace tenon::onnx
