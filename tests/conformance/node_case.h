// One of the ONNX project's node tests: a model, recorded inputs and outputs, and what Tenon makes of them.
#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "builder/builder.h"
#include "onnx/import.h"
#include "onnx/onnx.pb.h"
#include "onnx/tensors.h"
#include "runtime/executable.h"
#include "tenon/runtime.h"

namespace tenon::conformance {

namespace fs = std::filesystem;

enum class Outcome {
  kPass,
  kPassSizes,  // passes once inputs that sizes depend on are given as initializers
  kRefused,    // by the importer, with the operator's name
  kWrong,      // other outputs than recorded
  kError,      // any other error
  kCrash,
  kHang,
};

struct Verdict {
  Outcome outcome = Outcome::kPass;
  std::string why = {};
  std::set<std::string> cpu = {}, cuda = {};  // kernels of the plan for each target
};

inline std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

class NodeCase {
 public:
  explicit NodeCase(fs::path folder) : folder_(std::move(folder)) {
    readable_ = model_.ParseFromString(read_bytes(folder_ / "model.onnx"));
  }

  const onnx_pb::ModelProto& model() const { return model_; }

  // Imports, builds an engine in `scratch`, runs every data set and compares.
  Verdict run(const fs::path& scratch) const {
    if (!readable_) return {Outcome::kError, "the model cannot be parsed"};
    Verdict verdict;
    for (int set = 0; fs::exists(folder_ / ("test_data_set_" + std::to_string(set))); ++set) {
      const Verdict one = run_set(folder_ / ("test_data_set_" + std::to_string(set)), scratch);
      if (one.outcome != Outcome::kPass && one.outcome != Outcome::kPassSizes) return one;
      verdict = one.outcome == Outcome::kPassSizes || set == 0 ? one : verdict;
    }
    return verdict;
  }

 private:
  static Result<ir::Tensor> read_tensor(const fs::path& path) {
    onnx_pb::TensorProto proto;
    if (!proto.ParseFromString(read_bytes(path)))
      return error(ErrorCode::kBadModel, "{}: no tensor", path.filename().string());
    return onnx::TensorReader("").read(proto);
  }

  static Result<ir::Model> import(const onnx_pb::ModelProto& model) {
    const std::string bytes = model.SerializeAsString();
    return onnx::import_bytes(std::as_bytes(std::span(bytes)), "");
  }

  // "… (%axes) must be constant …" names what the graph's sizes depend on; the recorded value of such an input becomes
  // an initializer. Where the refusal names an intermediate value, every scalar and every list of integers does. False:
  // nothing is left to try.
  static bool promote(onnx_pb::ModelProto& model, const fs::path& data, const std::string& refusal) {
    onnx_pb::GraphProto& graph = *model.mutable_graph();
    std::set<std::string> done;
    for (const auto& t : graph.initializer()) done.insert(t.name());
    std::vector<onnx_pb::TensorProto> named, small;
    for (int i = 0; i < graph.input_size(); ++i) {
      onnx_pb::TensorProto proto;
      const std::string& name = graph.input(i).name();
      if (done.contains(name) || !proto.ParseFromString(read_bytes(data / ("input_" + std::to_string(i) + ".pb"))))
        continue;
      proto.set_name(name);
      const auto dtype = onnx::dtype_of(proto.data_type());
      if (refusal.find("(%" + name + ") must be constant") != std::string::npos) named.push_back(proto);
      if (dtype.ok() && (proto.dims_size() == 0 || (proto.dims_size() == 1 && !is_float(*dtype))))
        small.push_back(proto);
    }
    for (const auto& proto : named.empty() ? small : named) *graph.add_initializer() = proto;
    return !named.empty() || !small.empty();
  }

  Verdict run_set(const fs::path& data, const fs::path& scratch) const {
    onnx_pb::ModelProto model = model_;
    Outcome success = Outcome::kPass;
    auto imported = import(model);
    while (!imported.ok() && imported.status().message().find("must be constant") != std::string::npos &&
           promote(model, data, imported.status().message())) {
      success = Outcome::kPassSizes;
      imported = import(model);
    }
    if (!imported.ok()) {
      return {imported.status().code() == ErrorCode::kUnsupported ? Outcome::kRefused : Outcome::kError,
              imported.status().message()};
    }
    const std::set<std::string> cuda = cuda_kernels(*imported->graph);
    const std::string engine = (scratch / "node.tenon").string();
    const auto built = builder::build(std::move(*imported), "", engine, {});
    if (!built.ok()) return {Outcome::kError, built.status().message()};
    try {
      Verdict verdict = run_engine(engine, data, success);
      verdict.cuda = cuda;
      return verdict;
    } catch (const Error& e) {
      return {Outcome::kError, e.what()};
    }
  }

  Verdict run_engine(const std::string& path, const fs::path& data, Outcome success) const {
    const Engine engine = Runtime({.threads = 1}).load_engine(path);
    ExecutionContext context = engine.create_execution_context();
    std::set<std::string> wanted;
    for (const TensorInfo& info : engine.inputs()) wanted.insert(info.name);
    std::vector<ir::Tensor> inputs;  // kept until the run is over
    for (int i = 0; i < model_.graph().input_size(); ++i) {
      const std::string& name = model_.graph().input(i).name();
      if (!wanted.contains(name)) continue;
      const auto tensor = read_tensor(data / ("input_" + std::to_string(i) + ".pb"));
      if (!tensor.ok()) return {Outcome::kError, "input: " + tensor.status().message()};
      inputs.push_back(*tensor);
      context.set_input(name, {tensor->dtype(), tensor->shape(), const_cast<std::byte*>(tensor->data())});
    }
    context.execute();
    for (int i = 0; i < model_.graph().output_size(); ++i) {
      const auto expected = read_tensor(data / ("output_" + std::to_string(i) + ".pb"));
      if (!expected.ok()) return {Outcome::kError, "output: " + expected.status().message()};
      const TensorView actual = context.output(model_.graph().output(i).name());
      const ir::Tensor made(actual.dtype, actual.shape, nullptr, static_cast<const std::byte*>(actual.data));
      if (std::string difference = compare(made, *expected); !difference.empty()) {
        return {Outcome::kWrong, "output " + std::to_string(i) + ": " + difference};
      }
    }
    return {success, "", kernels_of(engine.executable()->plan()), {}};
  }

  static std::set<std::string> kernels_of(const engine::Plan& plan) {
    std::set<std::string> ids;
    for (const auto& step : plan.steps)
      if (step.op != ir::Op::k_copy) ids.insert(step.kernels.front().kernel);
    return ids;
  }

  // What a plan for an H100 would run, which needs no GPU to be known.
  static std::set<std::string> cuda_kernels(const ir::Graph& imported) {
    const auto graph = imported.clone();
    if (!passes::run_pipeline(*graph, {}).ok()) return {};
    plan::PlanOptions options;
    options.target = kernels::Target::kCuda;
    options.machine.compute_capability = 90;
    options.machine.multiprocessors = 132;
    const auto planned = plan::make_plan(*graph, options);
    return planned.ok() ? kernels_of(planned->plan) : std::set<std::string>();
  }

  // ONNX's own bounds (rtol 1e-3, atol 1e-5); 16-bit floats are given 1e-2. Empty: equal within them.
  static std::string compare(const ir::Tensor& actual, const ir::Tensor& expected) {
    const auto type = [](const ir::Tensor& t) {
      return ir::TensorType{t.dtype(), ir::to_shape(t.shape())}.to_string();
    };
    if (actual.shape() != expected.shape() || actual.dtype() != expected.dtype())
      return type(actual) + ", expected " + type(expected);
    const bool half = expected.dtype() == DType::kF16 || expected.dtype() == DType::kBF16;
    const double relative = half ? 1e-2 : 1e-3, absolute = half ? 1e-2 : 1e-5;
    for (int64_t i = 0; i < expected.numel(); ++i) {
      const double a = actual.at(i), e = expected.at(i);
      const bool equal = is_float(expected.dtype()) ? a == e || (std::isnan(a) && std::isnan(e)) ||
                                                          std::abs(a - e) <= absolute + relative * std::abs(e)
                         : is_integer(expected.dtype()) ? actual.int_at(i) == expected.int_at(i)
                                                        : a == e || (std::isnan(a) && std::isnan(e));
      if (!equal) return fmt::format("element {} of {} is {}, expected {}", i, type(expected), a, e);
    }
    return "";
  }

  fs::path folder_;
  onnx_pb::ModelProto model_;
  bool readable_ = false;
};

}  // namespace tenon::conformance
