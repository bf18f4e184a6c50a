#include "ops/activation.h"
#include "ops/checks.h"
#include "ops/matrix_product.h"
#include "ops/wide.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  TENON_TRY(check_same_dtype(c));
  TENON_TRY(require_rank(c, 1, 2));
  if (c.rank(0) == 0) return error(ErrorCode::kBadModel, "input 0 is a scalar, rows expected");
  if (!parse_activation(c.attrs.text("activation"))) {
    return error(ErrorCode::kBadModel, "unknown activation '{}'", c.attrs.text("activation"));
  }
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

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t k = args.input(1).dim(0), n = args.input(1).dim(1);
  if (x.dim(-1) != k) {
    return error(ErrorCode::kBadInput, "cannot multiply {} by {}", shape_text(x.shape), shape_text(args.input(1).shape));
  }
  const int64_t rows = product(x.shape, 0, x.rank() - 1);
  const Activation activation = *parse_activation(attrs.text("activation"));
  return visit_float(y.dtype, [&]<class T>() -> Status {
    using A = Compute<T>;
    TENON_ASSIGN(const Tensor a, widen<A>(x));
    TENON_ASSIGN(const Tensor w, widen<A>(args.input(1)));
    std::byte* scratch = nullptr;
    Tensor product;
    if constexpr (!std::is_same_v<T, A>) {
      TENON_ASSIGN(product, Tensor::allocate(DType::kF32, {y.numel()}, &scratch));
    }
    A* out = std::is_same_v<T, A> ? static_cast<A*>(y.data) : reinterpret_cast<A*>(scratch);
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
  return {.summary = "y = activation(x W + bias) + residual; x [..., K], w [K, N], bias [N], residual [..., N] -> [..., N]",
          .inputs = {{"x"}, {"w"}, {"bias", Arity::kOptional}, {"residual", Arity::kOptional}},
          .attrs = {{"activation", std::string(), false, "'', relu, gelu (erf), gelu_tanh, gelu_sigmoid, tanh, sigmoid or silu"}},
          .locality = Locality::kRow,
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
