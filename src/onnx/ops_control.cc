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

// Unrolled like a loop: each turn takes the next slice of every scanned input. The body takes states and slices and
// gives states and slices to stack.
Status import_scan(Call& c) {
  onnx_pb::GraphProto* body = c.subgraph("body");
  if (body == nullptr) return error(ErrorCode::kBadModel, "the body is missing");
  const int64_t scanned = c.integer("num_scan_inputs", 0), states = c.num_inputs() - scanned;
  const int64_t stacks = c.num_outputs() - states;
  if (scanned < 1 || states < 0 || stacks < 0)
    return error(ErrorCode::kBadModel, "{} of {} inputs are scanned", scanned, c.num_inputs());
  const auto list = [&](const char* name, int64_t count) -> Result<std::vector<int64_t>> {
    std::vector<int64_t> values = c.integers(name);
    if (!values.empty() && static_cast<int64_t>(values.size()) != count)
      return error(ErrorCode::kBadModel, "{} {}", values.size(), name);
    values.resize(static_cast<size_t>(count), 0);
    return values;
  };
  TENON_ASSIGN(auto in_axes, list("scan_input_axes", scanned));
  TENON_ASSIGN(const auto in_backwards, list("scan_input_directions", scanned));
  TENON_ASSIGN(auto out_axes, list("scan_output_axes", stacks));
  TENON_ASSIGN(const auto out_backwards, list("scan_output_directions", stacks));
  std::vector<Value*> state(c.inputs().begin(), c.inputs().begin() + states);
  std::vector<Value*> sources(c.inputs().begin() + states, c.inputs().end());
  Dim length(0);
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i] == nullptr) return error(ErrorCode::kBadModel, "a scanned input is missing");
    TENON_ASSIGN(in_axes[i], c.axis(in_axes[i], sources[i]->rank()));
    const Dim& size = sources[i]->shape()[static_cast<size_t>(in_axes[i])];
    if (i > 0) TENON_TRY(c.same(length, size));
    if (i == 0 || size.is_const()) length = size;
  }
  if (!length.is_const()) return error(ErrorCode::kUnsupported, "a scan over the symbolic size {}", length.to_string());
  if (length.value() > kMaxTurns) return error(ErrorCode::kUnsupported, "more than {} turns", kMaxTurns);
  std::vector<std::vector<Value*>> stacked(static_cast<size_t>(stacks));
  for (int64_t turn = 0; turn < length.value(); ++turn) {
    std::vector<Value*> inputs = state;
    for (size_t i = 0; i < sources.size(); ++i) {
      const int64_t at = in_backwards[i] != 0 ? length.value() - 1 - turn : turn;
      TENON_ASSIGN(auto* slice, c.slice(sources[i], static_cast<int>(in_axes[i]), Dim(at), Dim(at + 1)));
      Shape shape = slice->shape();
      shape.erase(shape.begin() + in_axes[i]);
      TENON_ASSIGN(slice, c.reshape(slice, std::move(shape)));
      inputs.push_back(slice);
    }
    TENON_ASSIGN(const auto outputs, c.inline_subgraph(*body, inputs));
    if (static_cast<int64_t>(outputs.size()) != states + stacks)
      return error(ErrorCode::kBadModel, "the body has {} outputs", outputs.size());
    for (const Value* v : outputs)
      if (v == nullptr) return cannot_import();
    std::copy_n(outputs.begin(), states, state.begin());
    for (size_t i = 0; i < stacked.size(); ++i) {
      Value* row = outputs[static_cast<size_t>(states) + i];
      TENON_ASSIGN(const int axis, c.axis(out_axes[i], row->rank() + 1));
      Shape shape = row->shape();
      shape.insert(shape.begin() + axis, Dim(1));
      TENON_ASSIGN(row, c.reshape(row, std::move(shape)));
      stacked[i].insert(out_backwards[i] != 0 ? stacked[i].begin() : stacked[i].end(), row);
    }
  }
  for (int64_t i = 0; i < states; ++i) TENON_TRY(c.yield(state[static_cast<size_t>(i)], static_cast<int>(i)));
  for (size_t i = 0; i < stacked.size(); ++i) {
    const int output = static_cast<int>(states) + static_cast<int>(i);
    if (stacked[i].empty()) return error(ErrorCode::kUnsupported, "a scan of no turns");
    TENON_ASSIGN(const int axis, c.axis(out_axes[i], stacked[i][0]->rank()));
    TENON_TRY(c.yield(stacked[i].size() == 1 ? Result<Value*>(stacked[i][0])
                                             : c.emit(Op::k_concat, stacked[i], {{"axis", int64_t{axis}}}),
                      output));
  }
  return {};
}

}  // namespace tenon::onnx
