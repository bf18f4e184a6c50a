// Reading and writing by index.
#include "onnx/ops.h"

namespace tenon::onnx {

Status import_gather(Call& c) {
  return c.yield(Op::k_gather, {c.input(0), c.input(1)}, {{"axis", c.integer("axis", 0)}});
}

Status import_gather_elements(Call& c) {
  return c.yield(Op::k_gather_elements, {c.input(0), c.input(1)}, {{"axis", c.integer("axis", 0)}});
}

Status import_gather_nd(Call& c) {
  return c.yield(Op::k_gather_nd, {c.input(0), c.input(1)}, {{"batch_dims", c.integer("batch_dims", 0)}});
}

Status import_scatter_nd(Call& c) {
  if (const std::string reduction = c.text("reduction", "none"); reduction != "none") {
    return error(ErrorCode::kUnsupported, "reduction '{}'", reduction);
  }
  return c.yield(Op::k_scatter_nd, {c.input(0), c.input(1), c.input(2)});
}

Status import_trilu(Call& c) {
  int64_t k = 0;
  if (c.input(1) != nullptr) {
    TENON_ASSIGN(const auto diagonal, c.integers_of(1));
    if (diagonal.size() != 1) return error(ErrorCode::kBadModel, "k has {} elements", diagonal.size());
    k = diagonal[0];
  }
  return c.yield(Op::k_trilu, {c.input(0)}, {{"upper", c.integer("upper", 1)}, {"k", k}});
}

Status import_cumsum(Call& c) {
  TENON_ASSIGN(const auto axis, c.integers_of(1));
  if (axis.size() != 1) return error(ErrorCode::kBadModel, "axis has {} elements", axis.size());
  return c.yield(Op::k_cumsum, {c.input(0)},
                 {{"axis", axis[0]}, {"exclusive", c.integer("exclusive", 0)}, {"reverse", c.integer("reverse", 0)}});
}

// y[..., j, ...] = on where indices == j (negative ones count from the end), else off.
Status import_one_hot(Call& c) {
  Value* indices = c.input(0);
  TENON_ASSIGN(const auto depth, c.dims(1));
  TENON_ASSIGN(auto* values, c.reshape(c.input(2), {Dim(2)}));
  if (depth.size() != 1) return error(ErrorCode::kBadModel, "depth has {} elements", depth.size());
  TENON_ASSIGN(const int axis, c.axis(c.integer("axis", -1), indices->rank() + 1));
  TENON_ASSIGN(indices, c.cast(indices, DType::kI64));
  TENON_ASSIGN(auto* wrapped, c.emit(Op::k_dims, {}, {{"values", Shape{depth[0]}}, {"scalar", 1}}));
  TENON_ASSIGN(wrapped, c.emit(Op::k_add, {indices, wrapped}));
  TENON_ASSIGN(auto* negative, c.emit(Op::k_less, {indices, c.scalar(DType::kI64, 0)}));
  TENON_ASSIGN(indices, c.emit(Op::k_where, {negative, wrapped, indices}));
  Shape shape = indices->shape();
  shape.insert(shape.begin() + axis, Dim(1));
  TENON_ASSIGN(indices, c.reshape(indices, std::move(shape)));
  TENON_ASSIGN(auto* classes,
               c.emit(Op::k_iota, {}, {{"start", Shape{Dim(0)}}, {"size", Shape{depth[0]}}, {"dtype", DType::kI64}}));
  Shape column(static_cast<size_t>(indices->rank()), Dim(1));
  column[static_cast<size_t>(axis)] = depth[0];
  TENON_ASSIGN(classes, c.reshape(classes, std::move(column)));
  TENON_ASSIGN(auto* hit, c.emit(Op::k_equal, {indices, classes}));
  TENON_ASSIGN(auto* off, c.slice(values, 0, Dim(0), Dim(1)));
  TENON_ASSIGN(auto* on, c.slice(values, 0, Dim(1), Dim(2)));
  return c.yield(Op::k_where, {hit, on, off});
}

}  // namespace tenon::onnx
