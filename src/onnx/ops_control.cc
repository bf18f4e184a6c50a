// Control flow that is decided while the graph is built.
#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

// Loops are unrolled up to this many turns.
constexpr int64_t kMaxTurns = 1024;

Result<bool> condition_of(const Tensor& tensor) {
  if (tensor.numel() != 1) return error(ErrorCode::kBadModel, "a condition of {} elements", tensor.numel());
  return tensor.at(0) != 0;
}

// The value of a condition that a loop's body computes.
Result<bool> known_condition(const Value* value) {
  if (value == nullptr) return error(ErrorCode::kUnsupported, "the loop's condition cannot be computed");
  if (value->known() && value->known()->values.size() == 1 && value->known()->values[0].is_const())
    return value->known()->values[0].value() != 0;
  if (const Tensor* tensor = value->constant()) return condition_of(*tensor);
  return error(ErrorCode::kUnsupported, "the loop's condition depends on the inputs of the model");
}

Status cannot_import() { return error(ErrorCode::kUnsupported, "its body contains operators that are not supported"); }

}  // namespace

// The branch is chosen now: the condition has to be constant.
Status import_if(Call& c) {
  TENON_ASSIGN(const Tensor tensor, c.constant_of(0));
  TENON_ASSIGN(const bool condition, condition_of(tensor));
  onnx_pb::GraphProto* branch = c.subgraph(condition ? "then_branch" : "else_branch");
  if (branch == nullptr) return error(ErrorCode::kBadModel, "a branch is missing");
  TENON_ASSIGN(const auto outputs, c.inline_subgraph(*branch, {}));
  if (static_cast<int>(outputs.size()) < c.num_outputs())
    return error(ErrorCode::kBadModel, "the branch has {} outputs", outputs.size());
  for (int i = 0; i < c.num_outputs(); ++i) {
    if (outputs[static_cast<size_t>(i)] == nullptr) return cannot_import();
    TENON_TRY(c.yield(outputs[static_cast<size_t>(i)], i));
  }
  return {};
}

// Unrolled: the number of turns has to be constant. Inputs: trip count?, condition?, carried values; the body takes
// turn, condition, carried values and gives condition, carried values, values to stack.
Status import_loop(Call& c) {
  onnx_pb::GraphProto* body = c.subgraph("body");
  if (body == nullptr) return error(ErrorCode::kBadModel, "the body is missing");
  int64_t turns = kMaxTurns + 1;
  bool running = true;
  if (c.input(0) != nullptr) {
    TENON_ASSIGN(const auto count, c.integers_of(0));
    if (count.size() != 1) return error(ErrorCode::kBadModel, "a trip count of {} elements", count.size());
    turns = count[0];
  }
  if (c.input(1) != nullptr) {
    TENON_ASSIGN(const Tensor tensor, c.constant_of(1));
    TENON_ASSIGN(running, condition_of(tensor));
  }
  std::vector<Value*> carried(c.inputs().begin() + std::min(2, c.num_inputs()), c.inputs().end());
  const int stacks = c.num_outputs() - static_cast<int>(carried.size());
  if (stacks < 0)
    return error(ErrorCode::kBadModel, "{} outputs for {} carried values", c.num_outputs(), carried.size());
  std::vector<std::vector<Value*>> stacked(static_cast<size_t>(stacks));
  for (int64_t turn = 0; running && turn < turns; ++turn) {
    if (turn == kMaxTurns) return error(ErrorCode::kUnsupported, "more than {} turns", kMaxTurns);
    std::vector<Value*> inputs{c.literal(Tensor::from(DType::kI64, {}, std::vector<int64_t>{turn})),
                               c.scalar(DType::kBool, 1)};
    inputs.insert(inputs.end(), carried.begin(), carried.end());
    TENON_ASSIGN(const auto outputs, c.inline_subgraph(*body, inputs));
    if (outputs.size() != 1 + carried.size() + stacked.size())
      return error(ErrorCode::kBadModel, "the body has {} outputs", outputs.size());
    for (const Value* v : outputs)
      if (v == nullptr) return cannot_import();
    TENON_ASSIGN(running, known_condition(outputs[0]));
    for (size_t i = 0; i < carried.size(); ++i) carried[i] = outputs[1 + i];
    for (size_t i = 0; i < stacked.size(); ++i) {
      Value* row = outputs[1 + carried.size() + i];
      Shape shape = row->shape();
      shape.insert(shape.begin(), Dim(1));
      TENON_ASSIGN(row, c.reshape(row, std::move(shape)));
      stacked[i].push_back(row);
    }
  }
  for (size_t i = 0; i < carried.size(); ++i) TENON_TRY(c.yield(carried[i], static_cast<int>(i)));
  for (size_t i = 0; i < stacked.size(); ++i) {
    const int output = static_cast<int>(carried.size() + i);
    if (!c.wants(output)) continue;
    if (stacked[i].empty()) return error(ErrorCode::kUnsupported, "a loop of no turns with stacked outputs");
    TENON_TRY(c.yield(
        stacked[i].size() == 1 ? Result<Value*>(stacked[i][0]) : c.emit(Op::k_concat, stacked[i], {{"axis", 0}}),
        output));
  }
  return {};
}

}  // namespace tenon::onnx
