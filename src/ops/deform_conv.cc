#include <cmath>

#include "ops/wide.h"
#include "ops/window.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  TENON_TRY(check_same_dtype(c));
  const Shape &x = c.shape(0), &w = c.shape(1), &offset = c.shape(2);
  const int64_t group = c.attrs.integer("group"), offset_group = c.attrs.integer("offset_group");
  if (x.size() != 4 || w.size() != 4 || offset.size() != 4) {
    return error(ErrorCode::kUnsupported, "x, weights and offsets of ranks {}, {} and {}, expected 4", x.size(),
                 w.size(), offset.size());
  }
  TENON_TRY(check_window(c, 2));
  if (group < 1 || offset_group < 1)
    return error(ErrorCode::kBadModel, "{} groups, {} of offsets", group, offset_group);
  if (Status s = c.same(x[1], w[1] * Dim(group)).status(); !s.ok()) return s.with_context("channels");
  Shape y{x[0], w[0]};
  for (size_t i = 2; i < 4; ++i) {
    y.push_back(window_count(c.attrs, i - 2, x[i], w[i]));
    if (Status s = c.same(y[i], offset[i]).status(); !s.ok()) return s.with_context("offsets");
  }
  TENON_TRY(check_sizes(y));
  return c.output(c.dtype(0), std::move(y));
}

// A plane at a place between its elements; zeros beyond.
template <class A>
A sample(const A* plane, int64_t height, int64_t width, double y, double x) {
  if (!(y > -1 && y < static_cast<double>(height) && x > -1 && x < static_cast<double>(width))) return A{0};
  const double y0 = std::floor(y), x0 = std::floor(x);
  const auto at = [&](double row, double column) -> double {
    const auto i = static_cast<int64_t>(row), j = static_cast<int64_t>(column);
    return i < 0 || i >= height || j < 0 || j >= width ? 0 : static_cast<double>(plane[i * width + j]);
  };
  const double v = y - y0, u = x - x0;
  return static_cast<A>((1 - v) * ((1 - u) * at(y0, x0) + u * at(y0, x0 + 1)) +
                        v * ((1 - u) * at(y0 + 1, x0) + u * at(y0 + 1, x0 + 1)));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), w = args.input(1), offset = args.input(2), bias = args.input(3),
                  mask = args.input(4), y = args.output();
  const int64_t group = attrs.integer("group"), parts = attrs.integer("offset_group");
  const Window g = Window::of(attrs, args, x.shape, y.shape, w.shape.subspan(2));
  const int64_t taps = g.kernel_size(), pixels = g.out_size(), channels = x.dim(1), filters = w.dim(0), own = w.dim(1);
  const bool fits = channels == own * group && filters % group == 0 && channels % parts == 0 &&
                    offset.dim(1) == 2 * parts * taps && offset.numel() == x.dim(0) * 2 * parts * taps * pixels &&
                    (!mask || mask.numel() == x.dim(0) * parts * taps * pixels) && (!bias || bias.numel() == filters);
  if (!fits)
    return error(ErrorCode::kBadInput, "weights {} and offsets {} do not fit {}", shape_text(w.shape),
                 shape_text(offset.shape), shape_text(x.shape));
  return visit_float(y.dtype, [&]<class T>() -> Status {
    using A = Compute<T>;
    TENON_ASSIGN(const Tensor wide, widen<A>(x));
    const auto number = [](const TensorArg& t, int64_t at) { return convert<double>(t.as<T>()[at]); };
    for (int64_t n = 0; n < x.dim(0); ++n) {
      for (int64_t f = 0; f < filters; ++f) {
        for (int64_t p = 0; p < pixels; ++p) {
          double sum = bias ? number(bias, f) : 0;
          for (int64_t k = 0; k < own; ++k) {
            const int64_t channel = f / (filters / group) * own + k, part = channel / (channels / parts);
            const A* plane = wide.as<A>() + (n * channels + channel) * g.in_size();
            g.for_each_tap([&](const std::array<int64_t, 3>& t, int64_t tap) {
              const int64_t of = (n * parts + part) * taps + tap;
              const double row = static_cast<double>(g.at(1, p / g.out[2], t[1])) + number(offset, 2 * of * pixels + p);
              const double column =
                  static_cast<double>(g.at(2, p % g.out[2], t[2])) + number(offset, (2 * of + 1) * pixels + p);
              const double weight = number(w, (f * own + k) * taps + tap) * (mask ? number(mask, of * pixels + p) : 1);
              sum += weight * static_cast<double>(sample(plane, g.in[1], g.in[2], row, column));
            });
          }
          y.as<T>()[(n * filters + f) * pixels + p] = convert<T>(sum);
        }
      }
    }
    return {};
  });
}

}  // namespace

OpDef define_deform_conv() {
  std::vector<AttrDef> attrs = window_attrs();
  attrs.push_back({"group", int64_t{1}, false, "channels and filters are divided into this many independent groups"});
  attrs.push_back({"offset_group", int64_t{1}, false, "channels are divided into this many groups of equal offsets"});
  return {
      .summary =
          "conv whose taps are moved by offset [N, 2 * offset_group * taps, out…] (row, column) and scaled by mask; "
          "x [N, C, H, W], w [F, C / group, kernel…], bias [F] -> [N, F, out…]",
      .inputs = {{"x"}, {"w"}, {"offset"}, {"bias", Arity::kOptional}, {"mask", Arity::kOptional}},
      .attrs = std::move(attrs),
      .infer = infer,
      .reference = reference};
}

}  // namespace tenon::ops
