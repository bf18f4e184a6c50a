#include "ops/activation.h"
#include "ops/checks.h"
#include "ops/quantize_rows.h"
#include "ops/wide.h"
#include "ops/window.h"

namespace tenon::ops {
namespace {

// Of attribute channels_last: x alone is [N, C, spatial…].
constexpr int64_t kImageFirst = 2;

// The shape of x, in the layout of y.
template <class Sizes>
Sizes like_y(const Attrs& attrs, Sizes x) {
  if (attrs.integer("channels_last") == kImageFirst && x.size() > 1) std::rotate(x.begin() + 1, x.begin() + 2, x.end());
  return x;
}

bool rounds_to_int8(const Attrs& attrs) { return are_integers(attrs.text("factors")); }

Status check_dtypes(const InferContext& c) {
  if (rounds_to_int8(c.attrs)) {
    const DType x = c.dtype(0);
    if (x != DType::kF32 && x != DType::kBF16)
      return error(ErrorCode::kBadModel, "factors of int8 are made of f32 or bf16, not of {}", dtype_name(x));
    if (c.attrs.integer("channels_last") == kImageFirst)
      return error(ErrorCode::kBadModel, "factors of int8 need x in the layout of y");
    for (const int i : {2, 3})
      if (c.has(i)) TENON_TRY(require_dtype(c, i, x));
    return require_dtype(c, 1, DType::kF32);
  }
  if (!c.attrs.text("factors").empty())
    return error(ErrorCode::kBadModel, "unknown factors '{}'", c.attrs.text("factors"));
  if (c.attrs.integer("channels_last") != kImageFirst) return check_same_dtype(c);
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  for (const int i : {2, 3})
    if (c.has(i)) TENON_TRY(require_dtype(c, i, c.dtype(1)));
  return {};
}

Status infer(InferContext& c) {
  TENON_TRY(check_dtypes(c));
  TENON_TRY(check_dtype(c, 1, DTypes::kNumber));
  const Shape x = like_y(c.attrs, c.shape(0)), &w = c.shape(1);
  const int64_t group = c.attrs.integer("group");
  if (x.size() < 3 || w.size() != x.size())
    return error(ErrorCode::kBadModel, "x of rank {}, weights of rank {}", x.size(), w.size());
  TENON_TRY(check_window(c, x.size() - 2));
  if (group < 1) return error(ErrorCode::kBadModel, "{} groups", group);
  const size_t first = spatial_axis(c.attrs), channel = channel_axis(c.attrs, x.size());
  if (Status s = c.same(x[channel], w[1] * Dim(group)).status(); !s.ok()) return s.with_context("channels");
  if (w[0].is_const() && w[0].value() % group != 0)
    return error(ErrorCode::kBadModel, "{} filters in {} groups", w[0].value(), group);
  if (c.has(2)) {
    if (c.rank(2) != 1) return error(ErrorCode::kBadModel, "a bias of rank {}", c.rank(2));
    if (Status s = c.same(c.shape(2)[0], w[0]).status(); !s.ok()) return s.with_context("bias");
  }
  Shape y = x;
  y[channel] = w[0];
  for (size_t i = 0; i + 2 < x.size(); ++i) y[first + i] = window_count(c.attrs, i, x[first + i], w[2 + i]);
  TENON_TRY(check_sizes(y));
  if (c.has(3)) TENON_TRY(require_shape(c, 3, y));
  const std::string& activation = c.attrs.text("activation");
  if (!parse_activation(activation)) return error(ErrorCode::kBadModel, "unknown activation '{}'", activation);
  if (!activation.empty() && !is_float(c.dtype(1)))
    return error(ErrorCode::kBadModel, "{} of {}", activation, dtype_name(c.dtype(1)));
  TENON_TRY(check_given_scale(c, rounds_to_int8(c.attrs)));
  return c.output(rounds_to_int8(c.attrs) ? c.dtype(0) : c.dtype(1), std::move(y));
}

// One plane of y: the filter w [channels, kernel] over `channels` planes of x, `next` apart, whose elements are `step`
// apart.
template <class A>
void filter_plane(const Window& g, const A* x, int64_t step, int64_t next, const A* w, int64_t channels, A bias, A* y) {
  std::fill_n(y, g.out_size(), bias);
  for (int64_t channel = 0; channel < channels; ++channel, x += next, w += g.kernel_size()) {
    g.for_each_tap([&](const std::array<int64_t, 3>& k, int64_t tap) {
      const auto rows = g.inside(0, k[0]), columns = g.inside(1, k[1]), cells = g.inside(2, k[2]);
      const A factor = w[tap];
      for (int64_t a = rows.first; a < rows.second; ++a) {
        for (int64_t b = columns.first; b < columns.second; ++b) {
          const A* from = x + (g.at(0, a, k[0]) * g.in[1] + g.at(1, b, k[1])) * g.in[2] * step;
          A* to = y + (a * g.out[1] + b) * g.out[2];
          for (int64_t i = cells.first; i < cells.second; ++i)
            to[i] = static_cast<A>(to[i] + factor * from[g.at(2, i, k[2]) * step]);
        }
      }
    });
  }
}

// plane of sums -> that of y, with the residual's, which stands as y's.
template <class A, class T>
void finish_plane(const Attrs& attrs, const std::vector<A>& sums, const Plane& at, const T* residual, T* y) {
  const Activation activation = *parse_activation(attrs.text("activation"));
  const bool of_sum = attrs.integer("activate_sum") != 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    const int64_t to = at.offset + static_cast<int64_t>(i) * at.step;
    const auto apply = [&](A v) {
      return activation == Activation::kNone ? v : static_cast<A>(activate(activation, static_cast<double>(v)));
    };
    A v = of_sum ? sums[i] : apply(sums[i]);
    if (residual != nullptr) v = static_cast<A>(v + static_cast<A>(residual[to]));
    y[to] = static_cast<T>(of_sum ? apply(v) : v);
  }
}

// y from factors of 8 bits (ops/quantize.h): a row is all that a pixel's window sees of a group's channels, zeros
// beyond the image, a column a filter.
template <class T>
Status int8_reference(const Attrs& attrs, const RunArgs& args, const Window& g, const float* x, int64_t x_channels) {
  const TensorArg w = args.input(1), bias = args.input(2), y = args.output();
  const bool last = channels_last(attrs);
  const int64_t channels = w.dim(1), filters = w.dim(0), taps = g.kernel_size(), k = channels * taps;
  const int64_t own = filters / attrs.integer("group"), images = y.dim(0), pixels = g.out_size();
  std::vector<int32_t> weights(static_cast<size_t>(filters * k));
  std::vector<float> steps, column(static_cast<size_t>(k));  // columns are in the order [tap, channel]
  std::vector<int8_t> integers(static_cast<size_t>(k));
  for (int64_t f = 0; f < filters; ++f) {
    const float* from = w.as<const float>() + f * k;
    for (int64_t i = 0; i < k; ++i) column[static_cast<size_t>(i)] = from[i % channels * taps + i / channels];
    steps.push_back(quantize_column(column.data(), k, attrs.text("factors") == "int8_quads", integers.data()));
    for (int64_t i = 0; i < k; ++i)
      weights[static_cast<size_t>(f * k + i % channels * taps + i / channels)] = integers[static_cast<size_t>(i)];
  }
  const RowScale given = given_scale(attrs);
  std::vector<float> row(static_cast<size_t>(k));
  std::vector<std::vector<float>> sums(static_cast<size_t>(filters), std::vector<float>(static_cast<size_t>(pixels)));
  for (int64_t image = 0; image < images; ++image) {
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      const std::array<int64_t, 3> at{pixel / (g.out[1] * g.out[2]), pixel / g.out[2] % g.out[1], pixel % g.out[2]};
      for (int64_t group = 0; group * own < filters; ++group) {
        g.for_each_tap([&](const std::array<int64_t, 3>& tap, int64_t flat) {
          bool inside = true;
          int64_t from = 0;
          for (size_t i = 0; i < 3; ++i) {
            const int64_t index = g.at(i, at[i], tap[i]);
            inside = inside && index >= 0 && index < g.in[i];
            from = from * g.in[i] + index;
          }
          for (int64_t c = 0; c < channels; ++c) {
            const Plane plane = Plane::of(last, image * x_channels + group * channels + c, x_channels, g.in_size());
            row[static_cast<size_t>(c * taps + flat)] = inside ? x[plane.offset + from * plane.step] : 0.0f;
          }
        });
        const RowScale scale = given.step != 0 ? given : scale_of_row(row.data(), k);
        for (int64_t f = group * own; f < (group + 1) * own; ++f) {
          int64_t sum = 0;
          for (int64_t i = 0; i < k; ++i)
            sum +=
                (quantize(row[static_cast<size_t>(i)], scale) - scale.zero) * weights[static_cast<size_t>(f * k + i)];
          sums[static_cast<size_t>(f)][static_cast<size_t>(pixel)] =
              static_cast<float>(sum) * (scale.step * steps[static_cast<size_t>(f)]) +
              (bias ? convert<float>(bias.as<const T>()[f]) : 0.0f);
        }
      }
    }
    for (int64_t f = 0; f < filters; ++f)
      finish_plane(attrs, sums[static_cast<size_t>(f)], Plane::of(last, image * filters + f, filters, pixels),
                   args.input(3).as<const T>(), y.as<T>());
  }
  return {};
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), w = args.input(1), bias = args.input(2), residual = args.input(3),
                  y = args.output();
  const std::vector<int64_t> x_shape = like_y(attrs, std::vector<int64_t>(x.shape.begin(), x.shape.end()));
  const size_t channel = channel_axis(attrs, x_shape.size());
  const bool last = results_channels_last(attrs), x_last = channels_last(attrs);
  const int64_t group = attrs.integer("group"), channels = w.dim(1), filters = w.dim(0);
  if (x_shape[channel] != channels * group || filters % group != 0 || (bias && bias.numel() != filters)) {
    return error(ErrorCode::kBadInput, "weights {} in {} groups do not fit {}", shape_text(w.shape), group,
                 shape_text(x.shape));
  }
  const Window g = Window::of(attrs, args, x_shape, y.shape, w.shape.subspan(2), spatial_axis(attrs));
  const int64_t step = x_last ? x_shape[channel] : 1, next = x_last ? 1 : g.in_size();
  if (rounds_to_int8(attrs)) {
    TENON_ASSIGN(const Tensor wide, widen<float>(x));
    const auto run = y.dtype == DType::kBF16 ? int8_reference<BF16> : int8_reference<float>;
    return run(attrs, args, g, wide.as<float>(), x_shape[channel]);
  }
  return visit_number(y.dtype, [&]<class T>() -> Status {
    // Integers wrap.
    using A = std::conditional_t<std::is_integral_v<T>,
                                 std::make_unsigned_t<std::conditional_t<std::is_integral_v<T>, T, int>>, Compute<T>>;
    const auto run = [&](const A* xs, const A* ws, const A* biases) {
      for_chunks(args.pool, x.dim(0) * filters, [&](int64_t begin, int64_t end) {
        std::vector<A> plane(static_cast<size_t>(g.out_size()));
        for (int64_t at = begin; at < end; ++at) {
          const int64_t filter = at % filters, first = filter / (filters / group) * channels;
          const Plane from = Plane::of(x_last, at / filters * x_shape[channel] + first, x_shape[channel], g.in_size());
          filter_plane(g, xs + from.offset, step, next, ws + filter * channels * g.kernel_size(), channels,
                       biases != nullptr ? biases[filter] : A{0}, plane.data());
          finish_plane(attrs, plane, Plane::of(last, at, filters, g.out_size()), residual.as<const T>(), y.as<T>());
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
  attrs.push_back(
      {"channels_last", int64_t{0}, false,
       "1: all but the weights are [N, spatial…, C], not [N, C, spatial…]; 2: all but x and the weights, and "
       "x may be of another float type than they"});
  attrs.push_back({"activation", std::string(), false, "as of linear; also relu6, hard_sigmoid or hard_swish"});
  attrs.push_back({"activate_sum", int64_t{0}, false, "1: the activation comes after the residual, not before it"});
  attrs.push_back(
      {"factors", std::string(), false,
       "'': their own type; int8: x, f32 or bf16, is rounded to 8 bits by pixel of y, what its window sees at a "
       "time, and w, f32, by filter; summed exactly; int8_quads: the same with w such that sums of four products, in the order [kernel…, C], fit 16 bits"});
  attrs.push_back(x_step_attr());
  attrs.push_back(x_zero_attr());
  return {.summary =
              "y[n, f, o…] = activation(bias[f] + sum over c, k… of w[f, c, k…] x[n, c, o… stride + k… dilation - "
              "pad]) + residual[n, f, o…], zeros beyond x; "
              "x [N, C, spatial…], w [F, C / group, kernel…], bias [F], residual as y -> [N, F, out…]",
          .inputs = {{"x"}, {"w"}, {"bias", Arity::kOptional}, {"residual", Arity::kOptional}},
          .attrs = std::move(attrs),
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
