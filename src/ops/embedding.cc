#include <cmath>

#include "ops/checks.h"
#include "ops/wide.h"

namespace tenon::ops {
namespace {

bool has_norm(const Attrs& attrs) { return attrs.integer("norm") != 0; }

Status infer(InferContext& c) {
  const int norm_inputs = has_norm(c.attrs) ? 2 : 0;
  const int pairs = (c.num_inputs() - norm_inputs) / 2;
  if (c.num_inputs() % 2 != 0 || pairs < 1) {
    return error(ErrorCode::kBadModel, "{} inputs given; pairs of indices and table expected{}", c.num_inputs(),
                 norm_inputs ? ", then gamma and beta" : "");
  }
  for (int i = 0; i < c.num_inputs(); ++i) {
    if (!c.has(i)) return error(ErrorCode::kBadModel, "input {} is missing", i);
  }
  TENON_TRY(check_dtype(c, 1, DTypes::kFloat));
  TENON_TRY(require_rank(c, 1, 2));
  const DType dtype = c.dtype(1);
  const Dim width = c.shape(1)[1];
  Shape rows;
  for (int p = 0; p < pairs; ++p) {
    TENON_TRY(check_dtype(c, 2 * p, DTypes::kInteger));
    TENON_ASSIGN(rows, c.broadcast(rows, c.shape(2 * p)));
    TENON_TRY(require_rank(c, 2 * p + 1, 2));
    TENON_TRY(require_type(c, 2 * p + 1, dtype, {c.shape(2 * p + 1)[0], width}));
  }
  for (int i = 2 * pairs; i < c.num_inputs(); ++i) TENON_TRY(require_type(c, i, dtype, {width}));
  rows.push_back(width);
  return c.output(dtype, std::move(rows));
}

// Indices are ids of a vocabulary: a negative one is as wrong as one beyond the table.
Status check_ids(std::span<const int64_t> ids, std::span<const int64_t> shape, int64_t limit, size_t pair) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < limit) continue;
    const auto flat = static_cast<int64_t>(i);
    const std::string where = shape.size() < 2 ? fmt::format("row {}", flat)
                                               : fmt::format("row {}, column {}", flat / shape.back(), flat % shape.back());
    return error(ErrorCode::kBadInput, "ids of table {}: {} at {} is out of range: ids must be 0 to {}", pair, ids[i], where,
                 limit - 1);
  }
  return {};
}

void normalize(std::vector<double>& row, double epsilon) {
  const auto n = static_cast<double>(row.size());
  double sum = 0, squares = 0;
  for (const double v : row) sum += v;
  const double mean = sum / n;
  for (const double v : row) squares += (v - mean) * (v - mean);
  const double scale = 1.0 / std::sqrt(squares / n + epsilon);
  for (double& v : row) v = (v - mean) * scale;
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg y = args.output();
  const bool norm = has_norm(attrs);
  const double epsilon = attrs.number("epsilon");
  const std::span<const int64_t> positions = y.shape.first(y.shape.size() - 1);
  const int64_t rows = product(positions, 0, static_cast<int>(positions.size())), width = y.dim(-1);
  const size_t pairs = (args.inputs.size() - (norm ? 2 : 0)) / 2;
  std::vector<std::vector<int64_t>> ids(pairs);  // of each table, by output row
  for (size_t p = 0; p < pairs; ++p) {
    const TensorArg& indices = args.inputs[2 * p];
    TENON_ASSIGN(const std::vector<int64_t> values, read_ints(indices));
    TENON_TRY(check_ids(values, indices.shape, args.inputs[2 * p + 1].dim(0), p));
    ids[p].reserve(static_cast<size_t>(rows));
    for_each_row<1>(positions, {broadcast_strides(indices.shape, positions)}, [&](const auto& at, const auto& step, int64_t n) {
      for (int64_t i = 0; i < n; ++i) ids[p].push_back(values[static_cast<size_t>(at[0] + i * step[0])]);
    });
  }
  return visit_float(y.dtype, [&]<class T>() -> Status {
    for_chunks(args.pool, rows, [&](int64_t begin, int64_t end) {
      std::vector<double> sum(static_cast<size_t>(width));
      for (int64_t r = begin; r < end; ++r) {
        std::fill(sum.begin(), sum.end(), 0.0);
        for (size_t p = 0; p < pairs; ++p) {
          const T* row = args.inputs[2 * p + 1].as<const T>() + ids[p][static_cast<size_t>(r)] * width;
          for (size_t j = 0; j < sum.size(); ++j) sum[j] += convert<double>(row[j]);
        }
        if (norm) {
          normalize(sum, epsilon);
          const T* gamma = args.inputs[2 * pairs].as<const T>();
          const T* beta = args.inputs[2 * pairs + 1].as<const T>();
          for (size_t j = 0; j < sum.size(); ++j) sum[j] = sum[j] * convert<double>(gamma[j]) + convert<double>(beta[j]);
        }
        for (size_t j = 0; j < sum.size(); ++j) y.as<T>()[r * width + static_cast<int64_t>(j)] = convert<T>(sum[j]);
      }
    });
    return {};
  });
}

double flops(const Attrs& attrs, std::span<const TensorArg> inputs, std::span<const TensorArg> outputs) {
  const double tables = static_cast<double>(inputs.size() / 2) - (has_norm(attrs) ? 1 : 0);
  return (tables - 1 + (has_norm(attrs) ? 8 : 0)) * static_cast<double>(outputs[0].numel());
}

}  // namespace

OpDef define_embedding() {
  return {.summary = "y = sum_i table_i[indices_i], then LayerNorm when norm = 1; inputs indices_0, table_0, indices_1, table_1, … "
                     "[gamma, beta]; indices broadcast together, table_i [V_i, H], gamma, beta [H] -> [..., H]",
          .inputs = {{"indices and tables", Arity::kVariadic}},
          .attrs = {{"norm", int64_t{0}, false, "1: the last two inputs are gamma and beta of a LayerNorm over H"},
                    {"epsilon", 1e-12, false, "added to the variance of that LayerNorm"}},
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
