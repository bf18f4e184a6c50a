#include "ops/wide.h"
#include "ops/window.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_same_dtype(c));
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  const Shape &x = c.shape(0), &w = c.shape(1);
  const int64_t group = c.attrs.integer("group");
  if (x.size() < 3 || w.size() != x.size())
    return error(ErrorCode::kBadModel, "x of rank {}, weights of rank {}", x.size(), w.size());
  TENON_TRY(check_window(c, x.size() - 2));
  if (group < 1) return error(ErrorCode::kBadModel, "{} groups", group);
  if (Status s = c.same(x[1], w[1] * Dim(group)).status(); !s.ok()) return s.with_context("channels");
  if (w[0].is_const() && w[0].value() % group != 0)
    return error(ErrorCode::kBadModel, "{} filters in {} groups", w[0].value(), group);
  if (c.has(2)) {
    if (c.rank(2) != 1) return error(ErrorCode::kBadModel, "a bias of rank {}", c.rank(2));
    if (Status s = c.same(c.shape(2)[0], w[0]).status(); !s.ok()) return s.with_context("bias");
  }
  Shape y{x[0], w[0]};
  for (size_t i = 2; i < x.size(); ++i) y.push_back(window_count(c.attrs, i - 2, x[i], w[i]));
  TENON_TRY(check_sizes(y));
  return c.output(c.dtype(0), std::move(y));
}

// One plane of y: the filter w [channels, kernel] over `channels` planes of x.
template <class A>
void filter_plane(const Window& g, const A* x, const A* w, int64_t channels, A bias, A* y) {
  std::fill_n(y, g.out_size(), bias);
  for (int64_t channel = 0; channel < channels; ++channel, x += g.in_size(), w += g.kernel_size()) {
    g.for_each_tap([&](const std::array<int64_t, 3>& k, int64_t tap) {
      const auto rows = g.inside(0, k[0]), columns = g.inside(1, k[1]), cells = g.inside(2, k[2]);
      const A factor = w[tap];
      for (int64_t a = rows.first; a < rows.second; ++a) {
        for (int64_t b = columns.first; b < columns.second; ++b) {
          const A* from = x + (g.at(0, a, k[0]) * g.in[1] + g.at(1, b, k[1])) * g.in[2];
          A* to = y + (a * g.out[1] + b) * g.out[2];
          for (int64_t i = cells.first; i < cells.second; ++i)
            to[i] = static_cast<A>(to[i] + factor * from[g.at(2, i, k[2])]);
        }
      }
    });
  }
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), w = args.input(1), bias = args.input(2), y = args.output();
  const int64_t group = attrs.integer("group"), channels = w.dim(1), filters = w.dim(0);
  if (x.dim(1) != channels * group || filters % group != 0 || (bias && bias.numel() != filters)) {
    return error(ErrorCode::kBadInput, "weights {} in {} groups do not fit {}", shape_text(w.shape), group,
                 shape_text(x.shape));
  }
  const Window g = Window::of(attrs, args, x.shape, y.shape, w.shape.subspan(2));
  return visit_number(y.dtype, [&]<class T>() -> Status {
    // Integers wrap.
    using A = std::conditional_t<std::is_integral_v<T>,
                                 std::make_unsigned_t<std::conditional_t<std::is_integral_v<T>, T, int>>, Compute<T>>;
    const auto run = [&](const A* xs, const A* ws, const A* biases) {
      for_chunks(args.pool, x.dim(0) * filters, [&](int64_t begin, int64_t end) {
        std::vector<A> plane(static_cast<size_t>(g.out_size()));
        for (int64_t at = begin; at < end; ++at) {
          const int64_t filter = at % filters, first = filter / (filters / group) * channels;
          filter_plane(g, xs + (at / filters * x.dim(1) + first) * g.in_size(),
                       ws + filter * channels * g.kernel_size(), channels, biases != nullptr ? biases[filter] : A{0},
                       plane.data());
          std::transform(plane.begin(), plane.end(), y.as<T>() + at * g.out_size(),
                         [](A v) { return static_cast<T>(v); });
        }
      });
    };
    if constexpr (std::is_integral_v<T>) {
      run(x.as<A>(), w.as<A>(), bias.as<A>());
    } else {
      TENON_ASSIGN(const Tensor wide_x, widen<A>(x));
      TENON_ASSIGN(const Tensor wide_w, widen<A>(w));
      Tensor wide_bias;
      if (bias) {
        TENON_ASSIGN(wide_bias, widen<A>(bias));
      }
      run(wide_x.as<A>(), wide_w.as<A>(), bias ? wide_bias.as<A>() : nullptr);
    }
    return {};
  });
}

double flops(const Attrs&, std::span<const TensorArg> inputs, std::span<const TensorArg> outputs) {
  const TensorArg& w = inputs[1];
  return 2.0 * static_cast<double>(outputs[0].numel()) * static_cast<double>(w.dim(0) == 0 ? 0 : w.numel() / w.dim(0));
}

}  // namespace

OpDef define_conv() {
  std::vector<AttrDef> attrs = window_attrs();
  attrs.push_back({"group", int64_t{1}, false, "channels and filters are divided into this many independent groups"});
  return {.summary =
              "y[n, f, o…] = bias[f] + sum over c, k… of w[f, c, k…] x[n, c, o… stride + k… dilation - pad], zeros "
              "beyond x; "
              "x [N, C, spatial…], w [F, C / group, kernel…], bias [F] -> [N, F, out…]",
          .inputs = {{"x"}, {"w"}, {"bias", Arity::kOptional}},
          .attrs = std::move(attrs),
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
