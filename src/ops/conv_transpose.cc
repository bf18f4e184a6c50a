#include "ops/wide.h"
#include "ops/window.h"

namespace tenon::ops {
namespace {

// w is [C, F / group, kernel…].
Status infer(InferContext& c) {
  TENON_TRY(check_same_dtype(c));
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  const Shape &x = c.shape(0), &w = c.shape(1), &sizes = c.attrs.shape("sizes");
  const int64_t group = c.attrs.integer("group");
  if (x.size() < 3 || w.size() != x.size())
    return error(ErrorCode::kBadModel, "x of rank {}, weights of rank {}", x.size(), w.size());
  TENON_TRY(check_window(c, x.size() - 2));
  if (group < 1) return error(ErrorCode::kBadModel, "{} groups", group);
  if (sizes.size() != x.size() - 2)
    return error(ErrorCode::kBadModel, "{} sizes for {} spatial axes", sizes.size(), x.size() - 2);
  if (Status s = c.same(x[1], w[0]).status(); !s.ok()) return s.with_context("channels");
  if (w[0].is_const() && w[0].value() % group != 0)
    return error(ErrorCode::kBadModel, "{} channels in {} groups", w[0].value(), group);
  if (c.has(2)) {
    if (c.rank(2) != 1) return error(ErrorCode::kBadModel, "a bias of rank {}", c.rank(2));
    if (Status s = c.same(c.shape(2)[0], w[1] * Dim(group)).status(); !s.ok()) return s.with_context("bias");
  }
  Shape y{x[0], w[1] * Dim(group)};
  y.insert(y.end(), sizes.begin(), sizes.end());
  TENON_TRY(check_sizes(y));
  return c.output(c.dtype(0), std::move(y));
}

// Adds one plane of x, spread by the filter w [kernel], to a plane of y. The window slides over y: what conv reads,
// this writes.
template <class A>
void spread_plane(const Window& g, const A* x, const A* w, A* y) {
  g.for_each_tap([&](const std::array<int64_t, 3>& k, int64_t tap) {
    const auto rows = g.inside(0, k[0]), columns = g.inside(1, k[1]), cells = g.inside(2, k[2]);
    for (int64_t a = rows.first; a < rows.second; ++a) {
      for (int64_t b = columns.first; b < columns.second; ++b) {
        const A* from = x + (a * g.out[1] + b) * g.out[2];
        A* to = y + (g.at(0, a, k[0]) * g.in[1] + g.at(1, b, k[1])) * g.in[2];
        for (int64_t i = cells.first; i < cells.second; ++i) to[g.at(2, i, k[2])] += w[tap] * from[i];
      }
    }
  });
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), w = args.input(1), bias = args.input(2), y = args.output();
  const int64_t group = attrs.integer("group"), channels = x.dim(1), filters = y.dim(1), own = w.dim(1);
  if (w.dim(0) != channels || channels % group != 0 || own * group != filters || (bias && bias.numel() != filters)) {
    return error(ErrorCode::kBadInput, "weights {} in {} groups do not fit {}", shape_text(w.shape), group,
                 shape_text(x.shape));
  }
  const Window g = Window::of(attrs, args, y.shape, x.shape, w.shape.subspan(2));
  return visit_float(y.dtype, [&]<class T>() -> Status {
    using A = Compute<T>;
    TENON_ASSIGN(const Tensor xs, widen<A>(x));
    TENON_ASSIGN(const Tensor ws, widen<A>(w));
    for_chunks(args.pool, x.dim(0) * filters, [&](int64_t begin, int64_t end) {
      std::vector<A> plane(static_cast<size_t>(g.in_size()));
      for (int64_t at = begin; at < end; ++at) {
        const int64_t filter = at % filters, part = channels / group, first = filter / own * part;
        std::fill(plane.begin(), plane.end(), bias ? convert<A>(bias.as<T>()[filter]) : A{0});
        for (int64_t channel = first; channel < first + part; ++channel) {
          spread_plane(g, xs.as<A>() + (at / filters * channels + channel) * g.out_size(),
                       ws.as<A>() + (channel * own + filter % own) * g.kernel_size(), plane.data());
        }
        std::transform(plane.begin(), plane.end(), y.as<T>() + at * g.in_size(), [](A v) { return static_cast<T>(v); });
      }
    });
    return {};
  });
}

double flops(const Attrs&, std::span<const TensorArg> inputs, std::span<const TensorArg>) {
  const TensorArg& w = inputs[1];
  return 2.0 * static_cast<double>(inputs[0].numel()) * static_cast<double>(w.dim(0) == 0 ? 0 : w.numel() / w.dim(0));
}

}  // namespace

OpDef define_conv_transpose() {
  std::vector<AttrDef> attrs = window_attrs();
  attrs.push_back({"group", int64_t{1}, false, "channels and filters are divided into this many independent groups"});
  attrs.push_back(
      {"sizes", Shape{}, true, "of y's spatial axes: what lies beyond is cut off, what no window reaches is the bias"});
  return {.summary =
              "y[n, f, i… stride + k… dilation - pad] = bias[f] + sum over c, i…, k… of w[c, f, k…] x[n, c, i…]; "
              "x [N, C, in…], w [C, F / group, kernel…], bias [F] -> [N, F, sizes…]",
          .inputs = {{"x"}, {"w"}, {"bias", Arity::kOptional}},
          .attrs = std::move(attrs),
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
