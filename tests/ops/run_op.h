// Running one op, or a small graph in text, on tensors.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "ops/interpret.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"

namespace tenon::test {

using ir::Attrs;
using ir::Op;
using ir::Shape;
using ir::Tensor;

inline constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

// An input of run_op; nothing where an optional one is absent.
using Given = std::optional<Tensor>;

// All outputs of one node over graph inputs of the tensors' own types.
inline Result<std::vector<Tensor>> run_op(Op op, const std::vector<Given>& given, Attrs attrs = {}, ThreadPool* pool = nullptr) {
  ir::Graph graph;
  std::vector<ir::Value*> values;
  std::vector<Tensor> inputs;
  for (const Given& tensor : given) {
    values.push_back(nullptr);
    if (!tensor) continue;
    values.back() = graph.add_input(graph.unique_name("x"), {tensor->dtype(), ir::to_shape(tensor->shape())});
    inputs.push_back(*tensor);
  }
  TENON_ASSIGN(ir::Node* node, ops::create(graph, op, values, std::move(attrs)));
  for (int i = 0; i < node->num_outputs(); ++i) graph.add_output(std::to_string(i), node->output(i));
  TENON_TRY(ops::verify(graph));
  ops::InterpretOptions options;
  options.pool = pool;
  return ops::interpret(graph, inputs, options);
}

// The only output of a run that must succeed.
inline Tensor output_of(const Result<std::vector<Tensor>>& result) {
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? (*result)[0] : Tensor();
}

// The type inferred for %y in `graph @g(<inputs>) { %y = <call> … }`, or the error's message.
inline std::string inferred(const std::string& inputs, const std::string& call) {
  const auto graph = ops::parse_graph("graph @g(" + inputs + ") {\n  %y = " + call + "\n  return \"y\" = %y\n}\n");
  return graph.ok() ? (*graph)->outputs()[0].value->type().to_string() : graph.status().message();
}

inline Tensor floats(std::vector<int64_t> shape, const std::vector<float>& values) {
  return Tensor::from(DType::kF32, std::move(shape), values);
}
inline Tensor int32s(const std::vector<int32_t>& values) {
  return Tensor::from(DType::kI32, {static_cast<int64_t>(values.size())}, values);
}
inline std::vector<int64_t> integers_of(const Tensor& t) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < t.numel(); ++i) values.push_back(t.int_at(i));
  return values;
}

// A tensor made element by element from f(flat index), a double.
template <class F>
Tensor filled(DType dtype, std::vector<int64_t> shape, F f) {
  std::byte* data = nullptr;
  Tensor t = *Tensor::allocate(dtype, std::move(shape), &data);
  visit_dtype(dtype, [&]<class T>() {
    for (int64_t i = 0; i < t.numel(); ++i) {
      const T v = convert<T>(static_cast<double>(f(i)));
      std::memcpy(data + static_cast<size_t>(i) * sizeof(T), &v, sizeof(T));
    }
  });
  return t;
}

inline const std::vector<DType> kFloatTypes{DType::kF32, DType::kF16, DType::kBF16, DType::kF64};

}  // namespace tenon::test
