// The ONNX project's own node tests, run by the ops' reference loops. They are not part of the repository: the test is
// skipped where ../shared is absent.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "onnx/import.h"
#include "onnx/onnx.pb.h"
#include "onnx/op_table.h"
#include "onnx/tensors.h"
#include "ops/create.h"
#include "ops/interpret.h"

namespace tenon::onnx {
namespace {

namespace fs = std::filesystem;

// The folder of unpacked tests; empty when there are none.
fs::path unpacked_tests() {
  const fs::path archive = fs::path(TENON_SOURCE_DIR) / "../shared/data/onnx_node_tests/node_tests.tar.xz";
  if (!fs::exists(archive)) return {};
  const fs::path folder = fs::path(TENON_BINARY_DIR) / "onnx_node_tests";
  const fs::path done = folder / "unpacked";
  if (!fs::exists(done)) {
    fs::create_directories(folder);
    const std::string command = "tar -xJf '" + archive.string() + "' -C '" + folder.string() + "'";
    if (std::system(command.c_str()) != 0) return {};
    std::ofstream mark(done);
  }
  return folder / "onnx/backend/test/data/node";
}

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

Result<ir::Tensor> read_tensor(const fs::path& path) {
  onnx_pb::TensorProto proto;
  if (!proto.ParseFromString(read_bytes(path)) || proto.data_type() == 0)
    return error(ErrorCode::kUnsupported, "no tensor");
  return TensorReader("").read(proto);
}

// Tests of newer opsets differ from opset 24 in the types that operators accept only.
std::string with_known_opset(const std::string& bytes) {
  onnx_pb::ModelProto model;
  model.ParseFromString(bytes);
  for (auto& opset : *model.mutable_opset_import())
    if (opset.domain().empty() && opset.version() > kNewestOpset) opset.set_version(kNewestOpset);
  return model.SerializeAsString();
}

enum class Outcome { kPassed, kUnsupported, kDynamic, kFailed };

// rtol 1e-3, atol 1e-5 are the bounds of ONNX's own test runner; half precision is given its rounding.
bool agrees(const ir::Tensor& actual, const ir::Tensor& expected) {
  if (actual.shape() != expected.shape() || actual.dtype() != expected.dtype()) return false;
  const double rounding = expected.dtype() == DType::kF16 ? 2e-3 : expected.dtype() == DType::kBF16 ? 1.6e-2 : 1e-3;
  for (int64_t i = 0; i < expected.numel(); ++i) {
    const double a = actual.at(i), e = expected.at(i);
    if (a == e || (std::isnan(a) && std::isnan(e))) continue;
    if (!(std::abs(a - e) <= 1e-5 + rounding * std::abs(e))) return false;
  }
  return true;
}

// Inputs that an operator needs to know while the graph is built are given as constants.
void make_constants(onnx_pb::ModelProto& model, const fs::path& data) {
  onnx_pb::GraphProto& graph = *model.mutable_graph();
  for (int i = 0; i < graph.input_size(); ++i) {
    onnx_pb::TensorProto proto;
    if (!proto.ParseFromString(read_bytes(data / ("input_" + std::to_string(i) + ".pb")))) continue;
    proto.set_name(graph.input(i).name());
    const bool small =
        proto.dims_size() <= 1 && proto.data_type() != 1 && proto.data_type() != 10 && proto.data_type() != 11;
    if (small) *graph.add_initializer() = proto;
  }
}

struct TestResult {
  Outcome outcome = Outcome::kPassed;
  std::string why;
};

TestResult run_model(const std::string& bytes, const fs::path& data) {
  const auto model = import_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())), "");
  if (!model.ok()) {
    const bool unsupported = model.status().code() == ErrorCode::kUnsupported;
    const bool dynamic = model.status().message().find("must be constant") != std::string::npos;
    return {dynamic       ? Outcome::kDynamic
            : unsupported ? Outcome::kUnsupported
                          : Outcome::kFailed,
            model.status().message()};
  }
  onnx_pb::ModelProto proto;
  proto.ParseFromString(bytes);
  std::map<std::string, int> positions;
  for (int i = 0; i < proto.graph().input_size(); ++i) positions[proto.graph().input(i).name()] = i;
  std::vector<ir::Tensor> inputs;
  for (const auto& input : model->graph->inputs()) {
    const auto tensor = read_tensor(data / ("input_" + std::to_string(positions[input->name()]) + ".pb"));
    if (!tensor.ok()) return {Outcome::kUnsupported, tensor.status().message()};
    inputs.push_back(*tensor);
  }
  const auto outputs = ops::interpret(*model->graph, inputs);
  if (!outputs.ok()) {
    const bool unsupported = outputs.status().code() == ErrorCode::kUnsupported;
    return {unsupported ? Outcome::kUnsupported : Outcome::kFailed, outputs.status().message()};
  }
  for (size_t i = 0; i < outputs->size(); ++i) {
    const auto expected = read_tensor(data / ("output_" + std::to_string(i) + ".pb"));
    if (!expected.ok()) return {Outcome::kUnsupported, expected.status().message()};
    if (!agrees((*outputs)[i], *expected)) return {Outcome::kFailed, "output " + std::to_string(i) + " differs"};
  }
  return {};
}

TestResult run_test(const fs::path& folder) {
  const std::string bytes = with_known_opset(read_bytes(folder / "model.onnx"));
  const fs::path data = folder / "test_data_set_0";
  const TestResult run = run_model(bytes, data);
  if (run.outcome != Outcome::kDynamic) return run;
  onnx_pb::ModelProto model;
  model.ParseFromString(bytes);
  make_constants(model, data);
  return run_model(model.SerializeAsString(), data);
}

TEST(OnnxNodeTests, EverySupportedOperatorAgrees) {
  const fs::path folder = unpacked_tests();
  if (folder.empty()) GTEST_SKIP() << "the ONNX node tests are not here (../shared/data/onnx_node_tests)";
  std::map<Outcome, int> counts;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const TestResult run = run_test(entry.path());
    ++counts[run.outcome];
    if (run.outcome == Outcome::kFailed) ADD_FAILURE() << name << ": " << run.why;
  }
  std::cout << "ONNX node tests: " << counts[Outcome::kPassed] << " passed, " << counts[Outcome::kUnsupported]
            << " unsupported, " << counts[Outcome::kDynamic] << " sized by run-time data, " << counts[Outcome::kFailed]
            << " differ\n";
  EXPECT_GE(counts[Outcome::kPassed], 990);
}

}  // namespace
}  // namespace tenon::onnx
