// Running one CPU kernel on one op, for every instruction set of this machine and several thread counts, beside the
// op's reference.
#pragma once

#include <cstdlib>
#include <deque>
#include <memory>

#include "kernels/cpu/kernels.h"
#include "tests/ops/run_op.h"

namespace tenon::test {

using kernels::Problem;
using kernels::cpu::available_isas;
using kernels::cpu::CpuKernel;
using kernels::cpu::Isa;
using kernels::cpu::isa_name;

// Products and sums of many terms, in another order than the reference's.
const inline Tolerance kAllowed = tolerance(DType::kF32) * 4;

// One op on given tensors. `constants` names the inputs that are weights.
struct Step {
  Op op{};
  std::vector<Given> inputs;
  Attrs attrs = {};
  std::vector<int> constants = {};
};

// A step as the kernels see it, with the graph that it was inferred in.
struct Built {
  ir::Graph graph;
  Problem problem;
};

inline Result<std::unique_ptr<Built>> build(const Step& step) {
  auto built = std::make_unique<Built>();
  std::vector<ir::Value*> values;
  for (const Given& tensor : step.inputs) {
    values.push_back(nullptr);
    if (tensor)
      values.back() =
          built->graph.add_input(built->graph.unique_name("x"), {tensor->dtype(), ir::to_shape(tensor->shape())});
  }
  TENON_ASSIGN(ir::Node * node, ops::create(built->graph, step.op, values, step.attrs));
  Problem& p = built->problem;
  p.op = step.op;
  p.attrs = node->attrs();
  for (int i = 0; i < static_cast<int>(step.inputs.size()); ++i) {
    const bool present = node->input(i) != nullptr;
    p.inputs.push_back(present ? node->input(i)->type() : ir::TensorType{});
    p.present.push_back(present);
    p.constant.push_back(std::find(step.constants.begin(), step.constants.end(), i) != step.constants.end());
  }
  for (int i = 0; i < node->num_outputs(); ++i) p.outputs.push_back(node->output(i)->type());
  return built;
}

// Attributes of kind Shape, all constant, as a run is told of them.
class ConstSizes {
 public:
  explicit ConstSizes(const Attrs& attrs) {
    for (const auto& [name, value] : attrs.all()) {
      if (const auto* shape = std::get_if<Shape>(&value))
        named_.push_back({name, values_.emplace_back(ir::const_values(*shape))});
    }
  }
  std::span<const ops::Sizes> named() const { return named_; }

 private:
  std::deque<std::vector<int64_t>> values_;  // named_ points at them
  std::vector<ops::Sizes> named_;
};

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

// All outputs, with the config of that text (empty: the first). A canary behind the workspace catches kernels that ask
// for too little. Output 0 may share the memory of input `shared`.
inline Result<std::vector<Tensor>> run_kernel(const CpuKernel& kernel, const Step& step, Isa isa, int threads,
                                              const std::string& config_text = "",
                                              std::optional<size_t> shared = std::nullopt) {
  TENON_ASSIGN(const std::unique_ptr<Built> built, build(step));
  const Problem& problem = built->problem;
  std::vector<Tensor> keep;  // packed weights
  std::vector<std::vector<int64_t>> shapes;
  std::vector<ops::TensorArg> inputs, outputs;
  shapes.reserve(step.inputs.size() + problem.outputs.size());
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    shapes.push_back(step.inputs[i] ? step.inputs[i]->shape() : std::vector<int64_t>{});
    if (!step.inputs[i]) {
      inputs.push_back({});
      continue;
    }
    Tensor data = *step.inputs[i];
    const int index = static_cast<int>(i);
    if (const auto packed = problem.constant[i] ? kernel.packed_type(problem, index) : std::nullopt) {
      TENON_ASSIGN(data, kernel.prepack(problem, index, data));
      EXPECT_EQ(data.dtype(), packed->dtype);
      EXPECT_EQ(data.shape(), ir::const_values(packed->shape));
    }
    keep.push_back(data);
    inputs.push_back({step.inputs[i]->dtype(), shapes.back(), const_cast<std::byte*>(data.data())});
  }
  std::vector<Tensor> results;
  for (const ir::TensorType& type : problem.outputs) {
    shapes.push_back(ir::const_values(type.shape));
    std::byte* data = nullptr;
    TENON_ASSIGN(Tensor result, Tensor::allocate(type.dtype, shapes.back(), &data));
    if (is_float(type.dtype)) std::memset(data, 0xff, result.bytes());  // NaN: every element must be written
    if (shared && results.empty()) {
      std::memcpy(data, inputs[*shared].data, result.bytes());
      inputs[*shared].data = data;
    }
    results.push_back(result);
    outputs.push_back({type.dtype, shapes.back(), data});
  }
  const ConstSizes sizes(problem.attrs);
  kernels::Config config = kernel.configs(problem).front();
  if (!config_text.empty()) config.text = config_text;
  TENON_ASSIGN(const auto launcher, kernel.prepare_for(problem, config, isa));
  ThreadPool pool(threads);
  std::vector<ops::TensorArg> shapes_only = inputs;
  for (ops::TensorArg& a : shapes_only) a.data = nullptr;
  const size_t bytes = launcher->workspace({.inputs = shapes_only, .outputs = outputs, .sizes = sizes.named()}, threads);
  constexpr size_t kCanary = 64;
  const std::unique_ptr<void, FreeDeleter> workspace(std::aligned_alloc(64, (bytes + 63) / 64 * 64 + kCanary));
  auto* canary = static_cast<unsigned char*>(workspace.get()) + bytes;
  std::memset(canary, 0xa5, kCanary);
  TENON_TRY(launcher->launch({.inputs = inputs,
                              .outputs = outputs,
                              .sizes = sizes.named(),
                              .workspace = workspace.get(),
                              .pool = threads == 1 ? nullptr : &pool}));
  EXPECT_TRUE(std::all_of(canary, canary + kCanary, [](unsigned char c) { return c == 0xa5; }))
      << "the workspace is too small";
  return results;
}

// The kernel gives what the reference gives, for one instruction set and for 1, 2 and 3 threads; threads change no bit.
inline void expect_like(const std::vector<Tensor>& expected, const CpuKernel& kernel, const Step& step, Isa isa,
                        Tolerance allowed) {
  std::vector<Tensor> alone;
  for (const int threads : {1, 2, 3}) {
    SCOPED_TRACE(fmt::format("{}, {} threads", isa_name(isa), threads));
    const auto actual = run_kernel(kernel, step, isa, threads);
    ASSERT_TRUE(actual.ok()) << actual.status().message();
    for (size_t i = 0; i < expected.size(); ++i) {
      const bool exact = !is_float(expected[i].dtype());
      ASSERT_TRUE(close((*actual)[i], expected[i], exact ? Tolerance{} : allowed)) << "output " << i;
      ASSERT_TRUE(threads == 1 || (*actual)[i].same_bytes(alone[i]))
          << "output " << i << " depends on the thread count";
    }
    if (threads == 1) alone = *actual;
  }
}

// The same for every instruction set of this machine.
inline void expect_like_reference(const CpuKernel& kernel, const Step& step, Tolerance allowed) {
  const auto expected = run_op(step.op, step.inputs, step.attrs);
  ASSERT_TRUE(expected.ok()) << expected.status().message();
  for (const Isa isa : available_isas()) expect_like(*expected, kernel, step, isa, allowed);
}

// The kernel refuses what the reference refuses, in the same words.
inline void expect_same_error(const CpuKernel& kernel, const Step& step) {
  const auto expected = run_op(step.op, step.inputs, step.attrs);
  ASSERT_FALSE(expected.ok());
  const auto actual = run_kernel(kernel, step, available_isas().front(), 2);
  ASSERT_FALSE(actual.ok());
  EXPECT_EQ(actual.status().code(), expected.status().code());
  EXPECT_THAT(expected.status().message(), testing::HasSubstr(actual.status().message()));
}

// The reason why a kernel declines a step.
inline std::string declined(const CpuKernel& kernel, const Step& step) {
  const auto built = build(step);
  return built.ok() ? kernel.supports((*built)->problem).reason : "not a valid op: " + built.status().message();
}

// The step with its f32 tensors rounded to bf16, but for input `keep`.
inline Step in_bf16(Step step, size_t keep = 99) {
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    Given& x = step.inputs[i];
    if (i == keep || !x || x->dtype() != DType::kF32) continue;
    const Tensor wide = *x;
    x = filled(DType::kBF16, wide.shape(), [&](int64_t at) { return wide.at(at); });
  }
  return step;
}

// Rows [begin, end) of a tensor's first axis.
inline Tensor rows_of(const Tensor& x, int64_t begin, int64_t end) {
  std::vector<int64_t> shape = x.shape();
  const size_t row = x.shape()[0] == 0 ? 0 : x.bytes() / static_cast<size_t>(x.shape()[0]);
  shape[0] = end - begin;
  std::byte* data = nullptr;
  Tensor part = *Tensor::allocate(x.dtype(), shape, &data);
  std::memcpy(data, x.data() + static_cast<size_t>(begin) * row, part.bytes());
  return part;
}

}  // namespace tenon::test
