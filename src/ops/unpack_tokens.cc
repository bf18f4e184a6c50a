#include <cstring>

#include "ops/checks.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  const Shape& grid = c.attrs.shape("shape");
  if (grid.size() != 2) return error(ErrorCode::kBadModel, "attribute 'shape' has {} entries, [batch, seq] expected", grid.size());
  if (c.rank(0) == 0) return error(ErrorCode::kBadModel, "input 0 is a scalar, rows expected");
  TENON_TRY(require_type(c, 1, DType::kI32, {c.shape(0)[0]}));
  TENON_TRY(require_type(c, 2, DType::kI32, {grid[0] + 1}));
  TENON_TRY(require_type(c, 3, DType::kI32, {grid[0]}));
  Shape y = grid;
  y.insert(y.end(), c.shape(0).begin() + 1, c.shape(0).end());
  return c.output(c.dtype(0), std::move(y));
}

Status reference(const Attrs&, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int32_t* gather = args.input(1).as<const int32_t>();
  const int32_t* row_offsets = args.input(2).as<const int32_t>();
  const int32_t* key_begin = args.input(3).as<const int32_t>();
  const int64_t batch = y.dim(0), cells = batch * y.dim(1);
  const size_t row_bytes = static_cast<size_t>(product(x.shape, 1, x.rank())) * dtype_size(x.dtype);
  std::memset(y.data, 0, static_cast<size_t>(y.numel()) * dtype_size(y.dtype));
  for (int64_t b = 0; b < batch; ++b) {
    if (key_begin[b] < 0 || key_begin[b] > row_offsets[b + 1] || row_offsets[b + 1] > x.dim(0)) {
      return error(ErrorCode::kBadInput, "sequence {}: rows {} to {} are not among the {} given", b, key_begin[b], row_offsets[b + 1],
                   x.dim(0));
    }
    for (int64_t row = key_begin[b]; row < row_offsets[b + 1]; ++row) {
      if (gather[row] < 0 || gather[row] >= cells) {
        return error(ErrorCode::kBadInput, "row {} belongs to position {} of {}", row, gather[row], cells);
      }
      std::memcpy(y.as<std::byte>() + static_cast<size_t>(gather[row]) * row_bytes,
                  x.as<std::byte>() + static_cast<size_t>(row) * row_bytes, row_bytes);
    }
  }
  return {};
}

}  // namespace

OpDef define_unpack_tokens() {
  return {.summary = "x [tokens, …] -> [batch, seq, …]: row r goes to position gather[r]; zero where there is no row and for rows that "
                     "the mask hides (row_offsets[b] .. key_begin[b]); gather i32[tokens], row_offsets i32[batch + 1], key_begin "
                     "i32[batch]",
          .inputs = {{"x"}, {"gather"}, {"row_offsets"}, {"key_begin"}},
          .attrs = {{"shape", Shape{}, true, "[batch, seq]"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
