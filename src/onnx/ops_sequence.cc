// Sequences of tensors. They exist only while the graph is built: whoever makes one and whoever reads one must agree
// now.
#include "onnx/ops.h"

namespace tenon::onnx {

// Without sizes every part has one row; keepdims says whether that axis stays.
Status import_split_to_sequence(Call& c) {
  Value* x = c.input(0);
  TENON_ASSIGN(const int axis, c.axis(c.integer("axis", 0), x->rank()));
  const Dim size = x->shape()[static_cast<size_t>(axis)];
  std::vector<int64_t> sizes;
  if (c.input(1) != nullptr) {
    TENON_ASSIGN(sizes, c.integers_of(1));
  }
  if (sizes.empty() || c.input(1)->rank() == 0) {
    const int64_t part = sizes.empty() ? 1 : sizes[0];
    if (!size.is_const() || size.value() > ops::kMaxKnown)
      return error(ErrorCode::kUnsupported, "axis {} has the size {}", axis, size.to_string());
    if (part < 1) return error(ErrorCode::kBadModel, "parts of size {}", part);
    sizes.assign(static_cast<size_t>(size.value() / part), part);
    if (size.value() % part != 0) sizes.push_back(size.value() % part);
  }
  const bool drop_axis = c.input(1) == nullptr && c.integer("keepdims", 1) == 0;
  std::vector<Value*> parts;
  Dim begin(0);
  for (const int64_t part : sizes) {
    if (part < 0) return error(ErrorCode::kBadModel, "a part of size {}", part);
    TENON_ASSIGN(auto* piece, c.slice(x, axis, begin, begin + Dim(part)));
    begin = begin + Dim(part);
    if (drop_axis) {
      Shape shape = piece->shape();
      shape.erase(shape.begin() + axis);
      TENON_ASSIGN(piece, c.reshape(piece, std::move(shape)));
    }
    parts.push_back(piece);
  }
  TENON_TRY(c.same(begin, size));
  return c.yield_sequence(std::move(parts));
}

Status import_sequence_construct(Call& c) {
  for (const Value* v : c.inputs())
    if (v == nullptr) return error(ErrorCode::kBadModel, "an input is missing");
  return c.yield_sequence({c.inputs().begin(), c.inputs().end()});
}

Status import_sequence_at(Call& c) {
  TENON_ASSIGN(const auto parts, c.sequence(0));
  TENON_ASSIGN(const auto position, c.integers_of(1));
  const auto count = static_cast<int64_t>(parts.size());
  if (position.size() != 1 || position[0] < -count || position[0] >= count) {
    return error(ErrorCode::kBadModel, "a position outside of a sequence of {}", count);
  }
  return c.yield(parts[static_cast<size_t>(position[0] < 0 ? position[0] + count : position[0])]);
}

Status import_sequence_length(Call& c) {
  TENON_ASSIGN(const auto parts, c.sequence(0));
  return c.yield(c.literal(Tensor::from(DType::kI64, {}, std::vector<int64_t>{static_cast<int64_t>(parts.size())})));
}

Status import_concat_from_sequence(Call& c) {
  TENON_ASSIGN(auto parts, c.sequence(0));
  if (parts.empty()) return error(ErrorCode::kBadModel, "an empty sequence");
  const bool new_axis = c.integer("new_axis", 0) != 0;
  TENON_ASSIGN(const int axis, c.axis(c.integer("axis", 0), parts[0]->rank() + (new_axis ? 1 : 0)));
  for (Value*& part : parts) {
    if (!new_axis) break;
    Shape shape = part->shape();
    if (axis > part->rank()) return error(ErrorCode::kBadModel, "the tensors of the sequence differ in rank");
    shape.insert(shape.begin() + axis, Dim(1));
    TENON_ASSIGN(part, c.reshape(part, std::move(shape)));
  }
  return c.yield(parts.size() == 1 ? Result<Value*>(parts[0]) : c.emit(Op::k_concat, parts, {{"axis", int64_t{axis}}}));
}

}  // namespace tenon::onnx
