// Tensors made from nothing but sizes and constants.
#include <algorithm>
#include <cmath>

#include "onnx/ops.h"
#include "onnx/tensors.h"

namespace tenon::onnx {
namespace {

// Constants up to this size stay literals; larger ones are parameters under the name of their output.
constexpr int64_t kMaxLiteral = 16;

// The number of elements of start, start + step, … before limit, when all are integers known up to symbols.
Dim range_size(const Dim& start, const Dim& limit, int64_t step) {
  const Dim distance = step > 0 ? limit - start : start - limit;
  const Dim width = step > 0 ? Dim(step) : -Dim(step);
  return Dim::floordiv(Dim::max(distance, Dim(0)) + width - Dim(1), width);
}

// A range over constants that are no integers.
Status float_range(Call& c) {
  double bounds[3];
  for (int i = 0; i < 3; ++i) {
    TENON_ASSIGN(const Tensor tensor, c.constant_of(i));
    if (tensor.numel() != 1) return error(ErrorCode::kBadModel, "input {} is no scalar", i);
    bounds[i] = tensor.at(0);
  }
  const auto [start, limit, step] = bounds;
  const double count = std::ceil((limit - start) / step);
  constexpr double kMost = 1 << 24;
  if (!(std::abs(count) <= kMost))
    return error(ErrorCode::kBadModel, "a range from {} to {} by {}", start, limit, step);
  const Dim size(static_cast<int64_t>(std::max(count, 0.0)));
  const DType dtype = c.input(0)->dtype();
  TENON_ASSIGN(auto* y,
               c.emit(Op::k_iota, {}, {{"start", Shape{Dim(0)}}, {"size", Shape{size}}, {"dtype", DType::kI64}}));
  TENON_ASSIGN(y, c.cast(y, dtype));
  TENON_ASSIGN(y, c.emit(Op::k_mul, {y, c.scalar(dtype, step)}));
  return c.yield(Op::k_add, {y, c.scalar(dtype, start)});
}

}  // namespace

Status import_constant(Call& c) {
  if (c.has("value")) {
    TENON_ASSIGN(Tensor tensor, c.tensor("value"));
    if (tensor.numel() <= kMaxLiteral) return c.yield(c.literal(std::move(tensor)));
    return c.yield(c.parameter(std::move(tensor)));
  }
  if (c.has("value_float")) return c.yield(c.scalar(DType::kF32, c.number("value_float", 0)));
  if (c.has("value_int"))
    return c.yield(c.literal(Tensor::from(DType::kI64, {}, std::vector<int64_t>{c.integer("value_int", 0)})));
  if (c.has("value_ints")) return c.yield(c.literal(Tensor::ints(c.integers("value_ints"))));
  if (c.has("value_floats")) {
    const std::vector<float> values = c.numbers("value_floats");
    return c.yield(c.literal(Tensor::from(DType::kF32, {static_cast<int64_t>(values.size())}, values)));
  }
  for (const char* name : {"value_string", "value_strings", "sparse_value"})
    if (c.has(name)) return error(ErrorCode::kUnsupported, "attribute '{}'", name);
  return error(ErrorCode::kBadModel, "a constant without a value");
}

Status import_constant_of_shape(Call& c) {
  TENON_ASSIGN(Shape shape, c.dims(0));
  Tensor element = Tensor::scalar(DType::kF32, 0);
  if (c.has("value")) {
    TENON_ASSIGN(element, c.tensor("value"));
    if (element.numel() != 1)
      return error(ErrorCode::kBadModel, "the value has {} elements, expected 1", element.numel());
  }
  return c.yield(c.expand(c.literal(element.reshaped({})), std::move(shape)));
}

Status import_range(Call& c) {
  const DType dtype = c.input(0)->dtype();
  if (is_float(dtype)) return float_range(c);
  TENON_ASSIGN(const auto start, c.dims(0));
  TENON_ASSIGN(const auto limit, c.dims(1));
  TENON_ASSIGN(const auto step, c.integers_of(2));
  if (start.size() != 1 || limit.size() != 1 || step.size() != 1)
    return error(ErrorCode::kBadModel, "an input is no scalar");
  if (step[0] == 0 || step[0] == INT64_MIN) return error(ErrorCode::kBadModel, "the step is {}", step[0]);
  return c.yield(Op::k_iota, {},
                 {{"start", Shape{start[0]}},
                  {"step", step[0]},
                  {"size", Shape{range_size(start[0], limit[0], step[0])}},
                  {"dtype", dtype}});
}

// Ones on a diagonal: row + k == column.
Status import_eye_like(Call& c) {
  const Value* x = c.input(0);
  if (x->rank() != 2) return error(ErrorCode::kBadModel, "an input of rank {}, expected 2", x->rank());
  DType dtype = x->dtype();
  if (c.has("dtype")) {
    TENON_ASSIGN(dtype, dtype_of(static_cast<int32_t>(c.integer("dtype", 0))));
  }
  const Dim rows = x->shape()[0], columns = x->shape()[1];
  TENON_ASSIGN(auto* row,
               c.emit(Op::k_iota, {},
                      {{"start", Shape{Dim(c.integer("k", 0))}}, {"size", Shape{rows}}, {"dtype", DType::kI64}}));
  TENON_ASSIGN(row, c.reshape(row, {rows, Dim(1)}));
  TENON_ASSIGN(auto* column,
               c.emit(Op::k_iota, {}, {{"start", Shape{Dim(0)}}, {"size", Shape{columns}}, {"dtype", DType::kI64}}));
  TENON_ASSIGN(auto* diagonal, c.emit(Op::k_equal, {row, column}));
  return c.yield(c.cast(diagonal, dtype));
}

// Ones of a symbolic length, which is how opset 10 spells a range, have every index; else as many as the data gives.
Status import_non_zero(Call& c) {
  Value* input = c.input(0);
  if (input->is(Op::k_expand) && input->rank() == 1) {
    const Tensor* element = input->producer()->input(0)->constant();
    if (element != nullptr && element->uniform_value().value_or(0) != 0) {
      const Dim count = input->shape()[0];
      TENON_ASSIGN(auto* indices, c.iota(Dim(0), count));
      return c.yield(c.reshape(indices, {Dim(1), count}));
    }
  }
  TENON_ASSIGN(auto* found, c.emit_node(Op::k_nonzero, {input}));
  return c.yield(c.first_elements(found->output(0), 1, found->output(1)));
}

}  // namespace tenon::onnx
