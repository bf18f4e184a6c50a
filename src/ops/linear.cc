#include "ops/activation.h"
#include "ops/checks.h"
#include "ops/matrix_product.h"
#include "ops/quantize_rows.h"
#include "ops/wide.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  const std::string& factors = c.attrs.text("factors");
  const bool integers = are_integers(factors);
  if (integers) {
    TENON_TRY(require_dtype(c, 1, DType::kF32));
    for (const int i : {2, 3})
      if (c.has(i)) TENON_TRY(require_dtype(c, i, c.dtype(0)));
  } else {
    TENON_TRY(check_same_dtype(c));
  }
  TENON_TRY(require_rank(c, 1, 2));
  if (c.rank(0) == 0) return error(ErrorCode::kBadModel, "input 0 is a scalar, rows expected");
  if (const auto activation = parse_activation(c.attrs.text("activation")); !activation || !is_of_linear(*activation)) {
    return error(ErrorCode::kBadModel, "unknown activation '{}'", c.attrs.text("activation"));
  }
  if (!factors.empty()) {
    if (factors != "bf16" && factors != "tf32" && !integers) return error(ErrorCode::kBadModel, "unknown factors '{}'", factors);
    const bool narrow_rows = integers && c.dtype(0) == DType::kBF16;
    if (c.dtype(0) != DType::kF32 && !narrow_rows) return error(ErrorCode::kBadModel, "factors of {} need f32 inputs", factors);
  }
  TENON_TRY(check_given_scale(c, integers));
  Shape y = c.shape(0);
  if (Status s = c.same(y.back(), c.shape(1)[0]).status(); !s.ok()) return s.with_context("summed axis");
  y.back() = c.shape(1)[1];
  if (c.has(2)) TENON_TRY(require_shape(c, 2, {y.back()}));
  if (c.has(3)) TENON_TRY(require_shape(c, 3, y));
  return c.output(c.dtype(0), std::move(y));
}

// Columns [j, j + width) of y from the same columns of the product x W, rows n apart.
template <class T>
void finish(const RunArgs& args, Activation activation, const Compute<T>* product, int64_t rows, int64_t n, int64_t j,
            int64_t width) {
  const TensorArg bias = args.input(2), residual = args.input(3);
  T* y = args.output().as<T>();
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t c = j; c < j + width; ++c) {
      Compute<T> v = product[i * n + c];
      if (bias) v += convert<Compute<T>>(bias.as<const T>()[c]);
      if (activation != Activation::kNone) v = static_cast<Compute<T>>(activate(activation, v));
      if (residual) v += convert<Compute<T>>(residual.as<const T>()[i * n + c]);
      y[i * n + c] = convert<T>(v);
    }
  }
}

// product [rows, n] = x W with both factors rounded to 8 bits (ops/quantize.h); the sums are exact in double.
Status int8_product(const float* x, const float* w, int64_t rows, int64_t n, int64_t k, bool quads, const RowScale& given,
                    float* product) {
  std::byte *a_bytes = nullptr, *b_bytes = nullptr, *sum_bytes = nullptr;
  TENON_ASSIGN(const Tensor a, Tensor::allocate(DType::kF64, {rows, k}, &a_bytes));
  TENON_ASSIGN(const Tensor b, Tensor::allocate(DType::kF64, {k, n}, &b_bytes));
  TENON_ASSIGN(const Tensor sums, Tensor::allocate(DType::kF64, {rows, n}, &sum_bytes));
  auto *q = reinterpret_cast<double*>(a_bytes), *r = reinterpret_cast<double*>(b_bytes),
       *sum = reinterpret_cast<double*>(sum_bytes);
  std::vector<float> row_steps, column_steps, column(static_cast<size_t>(k));
  std::vector<int8_t> integers(static_cast<size_t>(k));
  for (int64_t i = 0; i < rows; ++i) {
    const RowScale row = given.step != 0 ? given : scale_of_row(x + i * k, k);
    row_steps.push_back(row.step);
    for (int64_t c = 0; c < k; ++c) q[i * k + c] = quantize(x[i * k + c], row) - row.zero;
  }
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < k; ++i) column[static_cast<size_t>(i)] = w[i * n + j];
    column_steps.push_back(quantize_column(column.data(), k, quads, integers.data()));
    for (int64_t i = 0; i < k; ++i) r[i * n + j] = integers[static_cast<size_t>(i)];
  }
  matrix_product(rows, n, k, q, k, r, n, sum, n);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < n; ++j)
      product[i * n + j] = static_cast<float>(sum[i * n + j]) *
                           (row_steps[static_cast<size_t>(i)] * column_steps[static_cast<size_t>(j)]);
  return {};
}

Result<Tensor> rounded_to_bf16(const TensorArg& x) {
  std::byte* bytes = nullptr;
  TENON_ASSIGN(Tensor rounded, Tensor::allocate(DType::kF32, {x.numel()}, &bytes));
  for (int64_t i = 0; i < x.numel(); ++i)
    reinterpret_cast<float*>(bytes)[i] = static_cast<float>(BF16(x.as<const float>()[i]));
  return rounded;
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t k = args.input(1).dim(0), n = args.input(1).dim(1);
  if (x.dim(-1) != k) {
    return error(ErrorCode::kBadInput, "cannot multiply {} by {}", shape_text(x.shape),
                 shape_text(args.input(1).shape));
  }
  const int64_t rows = product(x.shape, 0, x.rank() - 1);
  const Activation activation = *parse_activation(attrs.text("activation"));
  const std::string& factors = attrs.text("factors");
  if (are_integers(factors)) {
    std::byte* scratch = nullptr;
    TENON_ASSIGN(const Tensor sums, Tensor::allocate(DType::kF32, {y.numel()}, &scratch));
    auto* out = reinterpret_cast<float*>(scratch);
    TENON_ASSIGN(const Tensor a, widen<float>(x));
    TENON_TRY(int8_product(a.as<float>(), args.input(1).as<const float>(), rows, n, k, factors == "int8_quads",
                           given_scale(attrs), out));
    if (y.dtype == DType::kBF16)
      finish<BF16>(args, activation, out, rows, n, 0, n);
    else
      finish<float>(args, activation, out, rows, n, 0, n);
    return {};
  }
  return visit_float(y.dtype, [&]<class T>() -> Status {
    using A = Compute<T>;
    TENON_ASSIGN(const Tensor a, factors == "bf16" ? rounded_to_bf16(x) : widen<A>(x));
    TENON_ASSIGN(const Tensor w, factors == "bf16" ? rounded_to_bf16(args.input(1)) : widen<A>(args.input(1)));
    Tensor memory;
    TENON_ASSIGN(A* out, wide_output<A>(y, memory));
    constexpr int64_t kColumns = 64;  // of one task
    for_chunks(args.pool, (n + kColumns - 1) / kColumns, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin * kColumns; j < std::min(n, end * kColumns); j += kColumns) {
        const int64_t width = std::min(kColumns, n - j);
        matrix_product(rows, width, k, a.as<A>(), k, w.as<A>() + j, n, out + j, n);
        finish<T>(args, activation, out, rows, n, j, width);
      }
    });
    return {};
  });
}

double flops(const Attrs& attrs, std::span<const TensorArg> inputs, std::span<const TensorArg> outputs) {
  double per_output = 2.0 * static_cast<double>(inputs[0].dim(-1));
  if (!attrs.text("activation").empty()) per_output += 8;
  for (size_t i = 2; i < inputs.size(); ++i) per_output += inputs[i].shape.empty() ? 0 : 1;
  return per_output * static_cast<double>(outputs[0].numel());
}

}  // namespace

OpDef define_linear() {
  return {
      .summary = "y = activation(x W + bias) + residual; x [..., K], w [K, N], bias [N], residual [..., N] -> [..., N]",
      .inputs = {{"x"}, {"w"}, {"bias", Arity::kOptional}, {"residual", Arity::kOptional}},
      .attrs = {{"activation", std::string(), false,
                 "'', relu, gelu (erf), gelu_tanh, gelu_sigmoid, tanh, sigmoid or silu"},
                {"factors", std::string(), false,
                 "what x and W may be rounded to before they are multiplied: '' their own type; of "
                 "f32: tf32 or bf16, or int8 (x, f32 or bf16, by row when run, W, f32, by column), summed exactly; int8_quads: "
                 "the same with W such that sums of four products fit 16 bits"},
                x_step_attr(),
                x_zero_attr()},
      .locality = Locality::kRow,
      .infer = infer,
      .flops = flops,
      .reference = reference};
}

}  // namespace tenon::ops
