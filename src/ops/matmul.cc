#include "ops/checks.h"
#include "ops/matrix_product.h"
#include "ops/wide.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_same_dtype(c));
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  if (const std::string& factors = c.attrs.text("factors"); !factors.empty()) {
    if (factors != "tf32") return error(ErrorCode::kBadModel, "unknown factors '{}'", factors);
    if (c.dtype(0) != DType::kF32) return error(ErrorCode::kBadModel, "factors of {} need f32 inputs", factors);
  }
  Shape a = c.shape(0), b = c.shape(1);
  if (a.empty() || b.empty()) return error(ErrorCode::kBadModel, "a scalar has no matrix product");
  const bool row = a.size() == 1, column = b.size() == 1;  // vectors stand for one row, one column
  if (row) a.insert(a.begin(), Dim(1));
  if (column) b.push_back(Dim(1));
  if (Status s = c.same(a.back(), b[b.size() - 2]).status(); !s.ok()) return s.with_context("summed axis");
  TENON_ASSIGN(Shape y, c.broadcast(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2)));
  if (!row) y.push_back(a[a.size() - 2]);
  if (!column) y.push_back(b.back());
  return c.output(c.dtype(0), std::move(y));
}

// A matmul in numpy's form as batches of [m, k] x [k, n].
struct Geometry {
  int64_t m = 1, n = 1, k = 1;
  std::vector<int64_t> batch;               // axes of y before the matrices
  std::vector<int64_t> a_strides, b_strides;  // in elements, along those axes
};

Geometry geometry_of(std::span<const int64_t> a, std::span<const int64_t> b, std::span<const int64_t> y) {
  Geometry g;
  const bool row = a.size() == 1, column = b.size() == 1;
  g.m = row ? 1 : a[a.size() - 2];
  g.k = a.back();
  g.n = column ? 1 : b.back();
  g.batch.assign(y.begin(), y.end() - (row ? 0 : 1) - (column ? 0 : 1));
  g.a_strides = broadcast_strides(row ? a.first(0) : a.first(a.size() - 2), g.batch);
  g.b_strides = broadcast_strides(column ? b.first(0) : b.first(b.size() - 2), g.batch);
  for (int64_t& s : g.a_strides) s *= g.m * g.k;
  for (int64_t& s : g.b_strides) s *= g.k * g.n;
  return g;
}

Status check_shapes(const RunArgs& args, const Geometry& g) {
  const TensorArg a = args.input(0), b = args.input(1);
  const int64_t b_rows = b.dim(b.rank() == 1 ? 0 : -2);
  if (b_rows == g.k) return {};
  return error(ErrorCode::kBadInput, "cannot multiply {} by {}", shape_text(a.shape), shape_text(b.shape));
}

// Integers wrap.
template <class T>
void integer_product(const Geometry& g, const T* a, const T* b, T* y) {
  std::vector<uint64_t> row(static_cast<size_t>(g.n));
  for (int64_t i = 0; i < g.m; ++i) {
    std::fill(row.begin(), row.end(), 0);
    for (int64_t k = 0; k < g.k; ++k) {
      for (int64_t j = 0; j < g.n; ++j)
        row[static_cast<size_t>(j)] += static_cast<uint64_t>(a[i * g.k + k]) * static_cast<uint64_t>(b[k * g.n + j]);
    }
    y = std::transform(row.begin(), row.end(), y, [](uint64_t v) { return static_cast<T>(v); });
  }
}

Status reference(const Attrs&, const RunArgs& args) {
  const TensorArg y = args.output();
  const Geometry g = geometry_of(args.input(0).shape, args.input(1).shape, y.shape);
  TENON_TRY(check_shapes(args, g));
  struct Pair {
    int64_t a, b;
  };
  std::vector<Pair> batches;
  for_each_row<2>(g.batch, {g.a_strides, g.b_strides}, [&](const auto& at, const auto& step, int64_t count) {
    for (int64_t i = 0; i < count; ++i) batches.push_back({at[0] + i * step[0], at[1] + i * step[1]});
  });
  if (is_integer(y.dtype)) {
    return visit_number(y.dtype, [&]<class T>() -> Status {
      if constexpr (std::is_integral_v<T>) {
        for (size_t i = 0; i < batches.size(); ++i) {
          integer_product(g, args.input(0).as<T>() + batches[i].a, args.input(1).as<T>() + batches[i].b,
                          y.as<T>() + static_cast<int64_t>(i) * g.m * g.n);
        }
      }
      return {};
    });
  }
  return visit_float(y.dtype, [&]<class T>() -> Status {
    using A = Compute<T>;
    TENON_ASSIGN(const Tensor a, widen<A>(args.input(0)));
    TENON_ASSIGN(const Tensor b, widen<A>(args.input(1)));
    Tensor memory;
    TENON_ASSIGN(A* out, wide_output<A>(y, memory));
    constexpr int64_t kColumns = 64;  // of one task
    const int64_t tasks = (g.n + kColumns - 1) / kColumns;
    for_chunks(args.pool, static_cast<int64_t>(batches.size()) * tasks, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t batch = task / tasks, j = task % tasks * kColumns;
        const Pair at = batches[static_cast<size_t>(batch)];
        matrix_product(g.m, std::min(kColumns, g.n - j), g.k, a.as<A>() + at.a, g.k, b.as<A>() + at.b + j, g.n,
                       out + batch * g.m * g.n + j, g.n);
      }
    });
    if constexpr (!std::is_same_v<T, A>) {
      for (int64_t i = 0; i < y.numel(); ++i) y.as<T>()[i] = T(out[i]);
    }
    return {};
  });
}

double flops(const Attrs&, std::span<const TensorArg> inputs, std::span<const TensorArg> outputs) {
  return 2.0 * static_cast<double>(outputs[0].numel()) * static_cast<double>(inputs[0].dim(-1));
}

}  // namespace

OpDef define_matmul() {
  return {.summary = "y = a b as numpy's matmul: a [..., M, K], b [..., K, N] -> [..., M, N], leading axes broadcast; a vector "
                     "stands for one row or one column",
          .inputs = {{"a"}, {"b"}},
          .attrs = {{"factors", std::string(), false,
                     "what a and b may be rounded to before they are multiplied: '' their own type; of f32: tf32"}},
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
