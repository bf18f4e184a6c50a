#include <algorithm>
#include <cstring>
#include <functional>

#include "ops/checks.h"
#include "ops/support.h"

namespace tenon::ops {
namespace {

constexpr int64_t kMostColumns = 8;

// Errors: bad-model for what is no floating-point type.
Result<DType> result_type(DType x, const std::string& to) {
  if (to.empty()) return x;
  const std::optional<DType> type = parse_dtype(to);
  if (!type || !is_float(*type)) return error(ErrorCode::kBadModel, "'{}' is not a floating-point type", to);
  return *type;
}

// Of element `from` of x to element `to` of y, `count` of them.
using Move = std::function<void(int64_t from, int64_t to, int64_t count)>;
Move move_between(const TensorArg& x, const TensorArg& y) {
  Move move = [size = static_cast<int64_t>(dtype_size(x.dtype)), &x, &y](int64_t from, int64_t to, int64_t count) {
    std::memcpy(y.as<std::byte>() + to * size, x.as<std::byte>() + from * size, static_cast<size_t>(count * size));
  };
  if (x.dtype == y.dtype) return move;
  (void)visit_float(x.dtype, [&]<class From>() {
    return visit_float(y.dtype, [&]<class To>() {
      move = [&x, &y](int64_t from, int64_t to, int64_t count) {
        for (int64_t i = 0; i < count; ++i) y.as<To>()[to + i] = convert<To>(x.as<From>()[from + i]);
      };
      return Status();
    });
  });
  return move;
}

Status infer(InferContext& c) {
  const Shape& grid = c.attrs.shape("shape");
  if (grid.size() != 2)
    return error(ErrorCode::kBadModel, "attribute 'shape' has {} entries, [batch, seq] expected", grid.size());
  if (c.rank(0) == 0) return error(ErrorCode::kBadModel, "input 0 is a scalar, rows expected");
  TENON_TRY(require_type(c, 1, DType::kI32, {c.shape(0)[0]}));
  TENON_TRY(require_type(c, 2, DType::kI32, {grid[0] + 1}));
  TENON_TRY(require_type(c, 3, DType::kI32, {grid[0]}));
  const int64_t column = c.attrs.integer("column"), columns = c.attrs.integer("columns");
  TENON_ASSIGN(const DType to, result_type(c.dtype(0), c.attrs.text("to")));
  if (column >= 0 || to != c.dtype(0)) TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  if (columns < 1 || columns > kMostColumns || (column < 0 && columns != 1))
    return error(ErrorCode::kBadModel, "attribute 'columns' is {}", columns);
  Shape y = grid;
  if (column < 0) {
    y.insert(y.end(), c.shape(0).begin() + 1, c.shape(0).end());
  } else if (c.rank(0) != 2 || (Dim(column) + Dim(columns - 1) - c.shape(0)[1]).at_least(0)) {
    return error(ErrorCode::kBadModel, "input 0 has no column {}", column + columns - 1);
  }
  for (int64_t i = 0; i < columns; ++i) TENON_TRY(c.output(to, y));
  return {};
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0);
  const int32_t* gather = args.input(1).as<const int32_t>();
  const int32_t* row_offsets = args.input(2).as<const int32_t>();
  const int32_t* key_begin = args.input(3).as<const int32_t>();
  const int64_t batch = args.output().dim(0), cells = batch * args.output().dim(1);
  const int64_t row_size = product(x.shape, 1, x.rank()), column = attrs.integer("column");
  const int64_t first = std::max<int64_t>(column, 0), count = column < 0 ? row_size : 1;
  for (int64_t b = 0; b < batch; ++b) {
    if (key_begin[b] < 0 || key_begin[b] > row_offsets[b + 1] || row_offsets[b + 1] > x.dim(0)) {
      return error(ErrorCode::kBadInput, "sequence {}: rows {} to {} are not among the {} given", b, key_begin[b],
                   row_offsets[b + 1], x.dim(0));
    }
    for (int64_t row = key_begin[b]; row < row_offsets[b + 1]; ++row) {
      if (gather[row] < 0 || gather[row] >= cells) {
        return error(ErrorCode::kBadInput, "row {} belongs to position {} of {}", row, gather[row], cells);
      }
    }
  }
  for (size_t i = 0; i < args.outputs.size(); ++i) {
    const TensorArg& y = args.outputs[i];
    const Move move = move_between(x, y);
    std::memset(y.data, 0, static_cast<size_t>(y.numel()) * dtype_size(y.dtype));
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t row = key_begin[b]; row < row_offsets[b + 1]; ++row)
        move(row * row_size + first + static_cast<int64_t>(i), gather[row] * count, count);
  }
  return {};
}

}  // namespace

OpDef define_unpack_tokens() {
  return {
      .summary =
          "x [tokens, …] -> [batch, seq, …]: row r goes to position gather[r]; zero where there is no row and for rows "
          "that the mask hides (row_offsets[b] .. key_begin[b]); gather i32[tokens], row_offsets i32[batch + 1], "
          "key_begin i32[batch]",
      .inputs = {{"x"}, {"gather"}, {"row_offsets"}, {"key_begin"}},
      .attrs = {{"shape", Shape{}, true, "[batch, seq]"},
                {"column", int64_t{-1}, false, "of floats x [tokens, n]: y [batch, seq] is this column alone; -1: all"},
                {"columns", int64_t{1}, false, "as many outputs, up to 8: that column and those behind it, one each"},
                {"to", std::string(), false, "floats become this floating-point type; empty: x's"}},
      .infer = infer,
      .reference = reference};
}

}  // namespace tenon::ops
