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
  return c.yield(Op::k_scatter_nd, {c.input(0), c.input(1), c.input(2)}, {{"reduction", c.text("reduction", "none")}});
}

Status import_scatter_elements(Call& c) {
  return c.yield(Op::k_scatter_elements, {c.input(0), c.input(1), c.input(2)},
                 {{"axis", c.integer("axis", 0)}, {"reduction", c.text("reduction", "none")}});
}

// A cache [batch, …, most, …] takes the update's rows at each batch entry's own position; a circular one wraps.
Status import_tensor_scatter(Call& c) {
  Value *cache = c.input(0), *update = c.input(1), *start = c.input(2);
  TENON_ASSIGN(const int axis, c.axis(c.integer("axis", -2), cache->rank()));
  if (axis == 0 || update->rank() != cache->rank())
    return error(ErrorCode::kBadModel, "axis {} of an update of rank {}", axis, update->rank());
  const std::string mode = c.text("mode", "linear");
  if (mode != "linear" && mode != "circular") return error(ErrorCode::kBadModel, "mode '{}'", mode);
  Shape along(update->shape().size(), Dim(1)), batch = along;
  along[static_cast<size_t>(axis)] = update->shape()[static_cast<size_t>(axis)];
  batch[0] = update->shape()[0];
  TENON_ASSIGN(auto* at, c.iota(Dim(0), along[static_cast<size_t>(axis)]));
  TENON_ASSIGN(at, c.reshape(at, std::move(along)));
  if (start != nullptr) {
    TENON_ASSIGN(start, c.cast(start, DType::kI64));
    TENON_ASSIGN(start, c.reshape(start, std::move(batch)));
    TENON_ASSIGN(at, c.emit(Op::k_add, {at, start}));
  }
  if (mode == "circular") {
    TENON_ASSIGN(auto* most,
                 c.emit(Op::k_dims, {}, {{"values", Shape{cache->shape()[static_cast<size_t>(axis)]}}, {"scalar", 1}}));
    TENON_ASSIGN(at, c.emit(Op::k_mod, {at, most}));
  }
  TENON_ASSIGN(at, c.expand(at, update->shape()));
  return c.yield(Op::k_scatter_elements, {cache, at, update}, {{"axis", int64_t{axis}}});
}

Status import_top_k(Call& c) {
  Shape k{Dim(c.integer("k", 0))};  // opset 9
  if (c.input(1) != nullptr) {
    TENON_ASSIGN(k, c.dims(1));
  }
  TENON_ASSIGN(
      auto* node,
      c.emit_node(Op::k_top_k, {c.input(0)},
                  {{"k", std::move(k)}, {"axis", c.integer("axis", -1)}, {"largest", c.integer("largest", 1)}}));
  TENON_TRY(c.yield(node->output(0), 0));
  return c.yield(node->output(1), 1);
}

// 1 where x is greatest along the axis, the first of equals, 0 elsewhere. Before opset 13 over all axes from `axis` on.
Status import_hardmax(Call& c) {
  Value* x = c.input(0);
  const Shape shape = x->shape();
  const bool flat = c.opset() < 13;
  TENON_ASSIGN(int axis, c.axis(c.integer("axis", flat ? 1 : -1), x->rank()));
  if (flat) {
    TENON_ASSIGN(x, c.reshape(x, {ir::numel(Shape(shape.begin(), shape.begin() + axis)),
                                  ir::numel(Shape(shape.begin() + axis, shape.end()))}));
    axis = 1;
  }
  TENON_ASSIGN(auto* best, c.emit(Op::k_arg_max, {x}, {{"axis", int64_t{axis}}}));
  Shape along(x->shape().size(), Dim(1));
  along[static_cast<size_t>(axis)] = x->shape()[static_cast<size_t>(axis)];
  TENON_ASSIGN(auto* index, c.iota(Dim(0), along[static_cast<size_t>(axis)]));
  TENON_ASSIGN(index, c.reshape(index, std::move(along)));
  TENON_ASSIGN(auto* hit, c.emit(Op::k_equal, {best, index}));
  TENON_ASSIGN(hit, c.cast(hit, x->dtype()));
  return c.yield(c.reshape(hit, shape));
}

Status import_reverse_sequence(Call& c) {
  const int64_t time = c.integer("time_axis", 0), batch = c.integer("batch_axis", 1);
  if (time + batch != 1)
    return error(ErrorCode::kBadModel, "time_axis {} and batch_axis {}, expected 0 and 1", time, batch);
  return c.yield(Op::k_reverse_sequence, {c.input(0), c.input(1)}, {{"time_axis", time}});
}

// As many results as the data gives.
Status import_unique(Call& c) {
  ir::Attrs attrs{{"sorted", c.integer("sorted", 1)}};
  int axis = 0;
  if (c.has("axis")) {
    TENON_ASSIGN(axis, c.axis(c.integer("axis", 0), c.input(0)->rank()));
    attrs.set("axis", std::vector<int64_t>{axis});
  }
  TENON_ASSIGN(auto* node, c.emit_node(Op::k_unique, {c.input(0)}, std::move(attrs)));
  Value* count = node->output(4);
  TENON_TRY(c.yield(c.first_elements(node->output(0), axis, count), 0));
  if (c.wants(1)) TENON_TRY(c.yield(c.first_elements(node->output(1), 0, count), 1));
  TENON_TRY(c.yield(node->output(2), 2));
  if (c.wants(3)) TENON_TRY(c.yield(c.first_elements(node->output(3), 0, count), 3));
  return {};
}

// The slices of x along an axis (or the elements of flattened x) whose condition holds.
Status import_compress(Call& c) {
  Value *x = c.input(0), *condition = c.input(1);
  if (condition->rank() != 1) return error(ErrorCode::kBadModel, "a condition of rank {}", condition->rank());
  int axis = 0;
  if (c.has("axis")) {
    TENON_ASSIGN(axis, c.axis(c.integer("axis", 0), x->rank()));
  } else {
    TENON_ASSIGN(x, c.reshape(x, {ir::numel(x->shape())}));
  }
  TENON_ASSIGN(auto* found, c.emit_node(Op::k_nonzero, {condition}));
  TENON_ASSIGN(auto* index, c.reshape(found->output(0), {condition->shape()[0]}));
  TENON_ASSIGN(index, c.first_elements(index, 0, found->output(1)));
  return c.yield(Op::k_gather, {x, index}, {{"axis", int64_t{axis}}});
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

template <Op op>
Status running(Call& c) {
  TENON_ASSIGN(const auto axis, c.integers_of(1));
  if (axis.size() != 1) return error(ErrorCode::kBadModel, "axis has {} elements", axis.size());
  return c.yield(op, {c.input(0)},
                 {{"axis", axis[0]}, {"exclusive", c.integer("exclusive", 0)}, {"reverse", c.integer("reverse", 0)}});
}

template Status running<Op::k_cumsum>(Call&);
template Status running<Op::k_cumprod>(Call&);

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
