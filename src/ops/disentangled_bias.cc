#include <cstring>

#include "ops/checks.h"
#include "ops/wide.h"

namespace tenon::ops {
namespace {

enum Input { kQ, kK, kQTable, kQIndex, kKTable, kKIndex, kQOffsets, kKBegin, kKEnd, kQPositions, kKPositions };

struct Heads {
  int64_t count = 1, dim = 1;
  explicit Heads(const Attrs& attrs) : count(attrs.integer("heads")), dim(attrs.integer("head_dim")) {}
  int64_t width() const { return count * dim; }
};

// ---- Inference -------------------------------------------------------------------------------------------------------

Status check_heads(const InferContext& c) {
  const Heads heads(c.attrs);
  constexpr int64_t kMost = int64_t{1} << 24;
  if (heads.count < 1 || heads.count > kMost || heads.dim < 1 || heads.dim > kMost) {
    return error(ErrorCode::kBadModel, "{} heads of {} columns", heads.count, heads.dim);
  }
  const std::vector<int64_t>& columns = c.attrs.integers("columns");
  if (columns.size() != 2) return error(ErrorCode::kBadModel, "attribute 'columns' must have two entries");
  for (const int i : {kQ, kK}) {
    const int64_t first = columns[static_cast<size_t>(i)];
    const Dim& given = c.shape(i).back();
    const bool fits = !given.is_const() || first + heads.width() <= given.value();
    if (first >= 0 && first <= kMost * kMost && fits) continue;
    return error(ErrorCode::kBadModel, "input {} is {} wide, but its heads take columns {} to {}", i, given.to_string(), first,
                 first + heads.width());
  }
  return {};
}

Status check_packing(InferContext& c) {
  TENON_TRY(require_rank(c, kKBegin, 1));
  const Dim batch = c.shape(kKBegin)[0];
  TENON_TRY(require_type(c, kQOffsets, DType::kI32, {batch + 1}));
  TENON_TRY(require_type(c, kKBegin, DType::kI32, {batch}));
  TENON_TRY(require_type(c, kKEnd, DType::kI32, {batch}));
  TENON_TRY(require_type(c, kQPositions, DType::kI32, {c.shape(kQ)[0]}));
  return require_type(c, kKPositions, DType::kI32, {c.shape(kK)[0]});
}

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, kQ, DTypes::kFloat));
  TENON_TRY(require_dtype(c, kK, c.dtype(kQ)));
  const bool packed = c.has(kQOffsets);
  for (const int i : {kKBegin, kKEnd, kQPositions, kKPositions}) {
    if (c.has(i) != packed) return error(ErrorCode::kBadModel, "offsets, ranges of keys and positions come together");
  }
  for (const int i : {kQ, kK}) TENON_TRY(require_rank(c, i, packed ? 2 : 3));
  TENON_TRY(check_heads(c));
  if (packed) TENON_TRY(check_packing(c));
  Shape lengths;
  for (const int table : {kQTable, kKTable}) {
    const int index = table + 1;
    if (c.has(table) != c.has(index)) return error(ErrorCode::kBadModel, "a table and what picks its rows come together");
    if (!c.has(table)) continue;
    TENON_TRY(require_rank(c, table, 2));
    TENON_TRY(require_type(c, table, c.dtype(kQ), {c.shape(table)[0], Dim(Heads(c.attrs).width())}));
    TENON_TRY(require_rank(c, index, 2));
    if (lengths.empty()) lengths = c.shape(index);
    TENON_TRY(require_type(c, index, DType::kI32, lengths));
  }
  if (lengths.empty()) return error(ErrorCode::kBadModel, "it has no table");
  const Dim batch = packed ? c.shape(kKBegin)[0] : c.shape(kQ)[0];
  if (!packed) {
    TENON_TRY(c.same(batch, c.shape(kK)[0]).status());
    TENON_TRY(c.same(lengths[0], c.shape(kQ)[1]).status());
    TENON_TRY(c.same(lengths[1], c.shape(kK)[1]).status());
  }
  return c.output(c.dtype(kQ), {batch, Dim(Heads(c.attrs).count), lengths[0], lengths[1]});
}

// ---- Reference -------------------------------------------------------------------------------------------------------

// Rows [begin, end) of a sequence, counted through the batch in dense form, too, and where they stand in it.
struct Rows {
  int64_t begin = 0, end = 0;
  const int32_t* positions = nullptr;  // null: row - begin
  int64_t position(int64_t row) const { return positions != nullptr ? positions[row] : row - begin; }
};

Result<Rows> checked(Rows rows, const TensorArg& x, int64_t length, int64_t sequence) {
  const int64_t given = x.numel() / x.dim(-1);
  if (rows.begin < 0 || rows.begin > rows.end || rows.end > given) {
    return error(ErrorCode::kBadInput, "sequence {}: rows {} to {} of {}", sequence, rows.begin, rows.end, given);
  }
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t position = rows.position(row);
    if (position < 0 || position >= length)
      return error(ErrorCode::kBadInput, "row {} is at position {} of {}", row, position, length);
  }
  return rows;
}

Result<Rows> queries_of(const RunArgs& args, int64_t b) {
  const TensorArg q = args.input(kQ), offsets = args.input(kQOffsets);
  Rows rows{b * q.dim(1), (b + 1) * q.dim(1)};
  if (offsets) rows = {offsets.as<int32_t>()[b], offsets.as<int32_t>()[b + 1], args.input(kQPositions).as<int32_t>()};
  return checked(rows, q, args.output().dim(2), b);
}

Result<Rows> keys_of(const RunArgs& args, int64_t b) {
  const TensorArg k = args.input(kK), begin = args.input(kKBegin);
  Rows rows{b * k.dim(1), (b + 1) * k.dim(1)};
  if (begin) rows = {begin.as<int32_t>()[b], args.input(kKEnd).as<int32_t>()[b], args.input(kKPositions).as<int32_t>()};
  return checked(rows, k, args.output().dim(3), b);
}

Status check_index(const RunArgs& args, Input table) {
  const TensorArg index = args.input(table + 1);
  const int64_t rows = index ? args.input(table).dim(0) : 0;
  for (int64_t i = 0; index && i < index.numel(); ++i) {
    const int32_t row = index.as<int32_t>()[i];
    if (row >= 0 && row < rows) continue;
    return error(ErrorCode::kBadInput, "positions {} and {} pick row {} of a table of {}", i / index.dim(1), i % index.dim(1), row, rows);
  }
  return {};
}

template <class T>
Compute<T> dot(const T* a, const T* b, int64_t n) {
  Compute<T> sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += convert<Compute<T>>(a[i]) * convert<Compute<T>>(b[i]);
  return sum;
}

template <class T>
void run_sequence(const Attrs& attrs, const RunArgs& args, int64_t b, const Rows& queries, const Rows& keys) {
  const Heads heads(attrs);
  const TensorArg q = args.input(kQ), k = args.input(kK), y = args.output();
  const auto scale = static_cast<Compute<T>>(attrs.number("scale"));
  const auto row_of = [&](const TensorArg& x, int input, int64_t row, int64_t head) {
    return x.as<T>() + row * x.dim(-1) + attrs.integers("columns")[static_cast<size_t>(input)] + head * heads.dim;
  };
  const auto picked = [&](Input table, int64_t position_q, int64_t position_k, int64_t head) {
    const TensorArg index = args.input(table + 1);
    const int64_t row = index.as<int32_t>()[position_q * index.dim(1) + position_k];
    return args.input(table).as<T>() + row * heads.width() + head * heads.dim;
  };
  for (int64_t head = 0; head < heads.count; ++head)
    for (int64_t i = queries.begin; i < queries.end; ++i)
      for (int64_t j = keys.begin; j < keys.end; ++j) {
        const int64_t pi = queries.position(i), pj = keys.position(j);
        Compute<T> sum = 0;
        if (args.input(kQTable)) sum += dot(row_of(q, kQ, i, head), picked(kQTable, pi, pj, head), heads.dim);
        if (args.input(kKTable)) sum += dot(row_of(k, kK, j, head), picked(kKTable, pi, pj, head), heads.dim);
        y.as<T>()[((b * heads.count + head) * y.dim(2) + pi) * y.dim(3) + pj] = convert<T>(sum * scale);
      }
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg y = args.output();
  TENON_TRY(check_index(args, kQTable));
  TENON_TRY(check_index(args, kKTable));
  std::memset(y.data, 0xff, static_cast<size_t>(y.numel()) * dtype_size(y.dtype));  // NaN: whoever reads it is found out
  for (int64_t b = 0; b < y.dim(0); ++b) {
    TENON_ASSIGN(const Rows queries, queries_of(args, b));
    TENON_ASSIGN(const Rows keys, keys_of(args, b));
    TENON_TRY(visit_float(y.dtype, [&]<class T>() {
      run_sequence<T>(attrs, args, b, queries, keys);
      return Status();
    }));
  }
  return {};
}

// A product with each row of a table that its length can reach.
double flops(const Attrs& attrs, std::span<const TensorArg> inputs, std::span<const TensorArg> outputs) {
  double rows = 0;
  for (const int table : {kQTable, kKTable}) {
    if (table >= static_cast<int>(inputs.size()) || !inputs[static_cast<size_t>(table)]) continue;
    const TensorArg& x = inputs[table == kQTable ? kQ : kK];
    const auto reached = std::min<int64_t>(inputs[static_cast<size_t>(table)].dim(0), outputs[0].dim(2) + outputs[0].dim(3));
    rows += static_cast<double>(x.numel() / std::max<int64_t>(1, x.dim(-1)) * reached);
  }
  return 2 * rows * static_cast<double>(Heads(attrs).width());
}

}  // namespace

OpDef define_disentangled_bias() {
  const Arity optional = Arity::kOptional;
  return {.summary = "y[b, h, i, j] = scale * (q_i_h . q_table[q_index[i, j]]_h + k_j_h . k_table[k_index[i, j]]_h), what the scores of "
                     "attention gain by the places of query and key (He et al., DeBERTa, 2021); dense: q [batch, q_len, Wq], k [batch, "
                     "k_len, Wk]; packed: q [q_rows, Wq], k [k_rows, Wk], where sequence b has query rows q_offsets[b] .. q_offsets[b + 1] "
                     "and key rows k_begin[b] .. k_end[b]; tables [n, heads*D], indices i32[q_len, k_len] -> [batch, heads, q_len, k_len], "
                     "by original positions; what stands where no rows meet is not to be read",
          .inputs = {{"q"}, {"k"}, {"q_table", optional}, {"q_index", optional}, {"k_table", optional}, {"k_index", optional},
                     {"q_offsets", optional}, {"k_begin", optional}, {"k_end", optional}, {"q_positions", optional}, {"k_positions", optional}},
          .attrs = {{"heads", int64_t{0}, true, "heads of queries and of keys"},
                    {"head_dim", int64_t{0}, true, "D: columns of one head"},
                    {"columns", std::vector<int64_t>{0, 0}, false, "where head 0 begins in the rows of q and k"},
                    {"scale", 1.0, true, "factor of the sums"}},
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
