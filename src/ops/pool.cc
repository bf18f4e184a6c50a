// Windows of each channel reduced to one value.
#include <cmath>
#include <limits>

#include "ops/window.h"

namespace tenon::ops {
namespace {

Result<Shape> infer_shape(InferContext& c) {
  const Shape& x = c.shape(0);
  const std::vector<int64_t>& kernel = c.attrs.integers("kernel_shape");
  if (x.size() < 3 || kernel.size() != x.size() - 2)
    return error(ErrorCode::kBadModel, "a window {} for rank {}", shape_text(kernel), x.size());
  TENON_TRY(check_window(c, kernel.size()));
  const size_t first = spatial_axis(c.attrs);
  Shape y = x;
  for (size_t i = 0; i < kernel.size(); ++i) {
    if (kernel[i] < 1 || kernel[i] > (int64_t{1} << 24)) return error(ErrorCode::kBadModel, "a window {}", shape_text(kernel));
    y[first + i] = window_count(c.attrs, i, x[first + i], Dim(kernel[i]), c.attrs.integer("ceil_mode") != 0);
  }
  TENON_TRY(check_sizes(y));
  return y;
}

// Calls window(o, flat) for each window of a plane, o its three indices.
template <class Body>
void for_each_window(const Window& g, Body&& window) {
  int64_t flat = 0;
  for (int64_t a = 0; a < g.out[0]; ++a)
    for (int64_t b = 0; b < g.out[1]; ++b)
      for (int64_t c = 0; c < g.out[2]; ++c) window(std::array<int64_t, 3>{a, b, c}, flat++);
}

// Calls element(flat index in the plane of x) for each element of window o that lies inside of x; returns how many
// elements lie inside of x and its padding.
template <class Body>
int64_t for_each_element(const Window& g, const std::array<int64_t, 3>& o, Body&& element) {
  int64_t padded = 1;
  std::array<int64_t, 3> begin{}, end{};
  for (size_t i = 0; i < 3; ++i) {
    const int64_t dilation = g.dilation[i], start = g.at(i, o[i], 0);
    // Of the window's elements along this axis, how many come before index `size` of x.
    const auto before = [&](int64_t size) { return std::clamp<int64_t>((size - start + dilation - 1) / dilation, 0, g.kernel[i]); };
    begin[i] = before(0);
    end[i] = before(g.in[i]);
    padded *= before(g.in[i] + g.after[i]);  // none comes before the padding
  }
  for (int64_t a = begin[0]; a < end[0]; ++a) {
    for (int64_t b = begin[1]; b < end[1]; ++b) {
      const int64_t row = (g.at(0, o[0], a) * g.in[1] + g.at(1, o[1], b)) * g.in[2];
      for (int64_t c = begin[2]; c < end[2]; ++c) element(row + g.at(2, o[2], c));
    }
  }
  return padded;
}

Window window_of(const Attrs& attrs, const RunArgs& args) {
  return Window::of(attrs, args, args.input(0).shape, args.output().shape, attrs.integers("kernel_shape"),
                    spatial_axis(attrs));
}

// Calls body(plane, in, out) for each channel of each image, in and out its places in x and y.
template <class Body>
void for_each_plane(const Attrs& attrs, const Window& g, const TensorArg& y, Body&& body) {
  const bool last = channels_last(attrs);
  const int64_t channels = y.shape[channel_axis(attrs, y.shape.size())], planes = y.dim(0) * channels;
  for (int64_t plane = 0; plane < planes; ++plane)
    body(plane, Plane::of(last, plane, channels, g.in_size()), Plane::of(last, plane, channels, g.out_size()));
}

// ---- Greatest
// --------------------------------------------------------------------------------------------------------

Status infer_max(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  TENON_ASSIGN(const Shape y, infer_shape(c));
  if (c.attrs.integer("indices") != 0) {
    if (channels_last(c.attrs)) return error(ErrorCode::kUnsupported, "indices of elements with channels last");
    TENON_TRY(c.output(c.dtype(0), y));
    return c.output(DType::kI64, y);
  }
  return c.output(c.dtype(0), y);
}

// The number of an element of x whose last spatial axis runs fastest, or its first one.
int64_t element_number(const Window& g, int64_t plane, int64_t flat, bool column_major) {
  if (!column_major) return plane * g.in_size() + flat;
  const int64_t c = flat % g.in[2], b = flat / g.in[2] % g.in[1], a = flat / g.in[2] / g.in[1];
  return plane * g.in_size() + (c * g.in[1] + b) * g.in[0] + a;
}

Status reference_max(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const Window g = window_of(attrs, args);
  const bool column_major = attrs.integer("column_major") != 0;
  int64_t* indices = attrs.integer("indices") != 0 ? args.output(1).as<int64_t>() : nullptr;
  return visit_number(x.dtype, [&]<class T>() -> Status {
    for_each_plane(attrs, g, y, [&](int64_t plane, const Plane& in, const Plane& out) {
      const T* from = x.as<T>() + in.offset;
      for_each_window(g, [&](const std::array<int64_t, 3>& o, int64_t flat) {
        int64_t best = -1;
        for_each_element(g, o, [&](int64_t at) {
          const auto v = static_cast<Compute<T>>(from[at * in.step]);
          if (best < 0 || v > static_cast<Compute<T>>(from[best * in.step]) || v != v) best = at;
        });
        const int64_t to = out.offset + flat * out.step;
        // A window that lies in the padding alone has no element.
        y.as<T>()[to] = best < 0 ? convert<T>(-std::numeric_limits<double>::infinity()) : from[best * in.step];
        if (indices != nullptr) indices[to] = best < 0 ? 0 : element_number(g, plane, best, column_major);
      });
    });
    return {};
  });
}

// ---- Means
// -----------------------------------------------------------------------------------------------------------

Status infer_float(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  TENON_ASSIGN(Shape y, infer_shape(c));
  return c.output(c.dtype(0), std::move(y));
}

struct Average {
  bool count_padding = false;
  explicit Average(const Attrs& attrs) : count_padding(attrs.integer("count_include_pad") != 0) {}
  template <class A>
  A add(A sum, A x) const {
    return sum + x;
  }
  template <class A>
  A finish(A sum, int64_t elements, int64_t padded) const {
    const int64_t count = count_padding ? padded : elements;
    return count == 0 ? A{0} : sum / static_cast<A>(count);
  }
};

struct Norm {
  double p = 2;
  explicit Norm(const Attrs& attrs) : p(attrs.number("p")) {}
  template <class A>
  A add(A sum, A x) const {
    return sum + std::pow(std::abs(x), static_cast<A>(p));
  }
  template <class A>
  A finish(A sum, int64_t, int64_t) const {
    return std::pow(sum, static_cast<A>(1 / p));
  }
};

template <class R>
Status reference_float(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const Window g = window_of(attrs, args);
  const R reduction(attrs);
  return visit_float(x.dtype, [&]<class T>() -> Status {
    using A = Compute<T>;
    for_each_plane(attrs, g, y, [&](int64_t, const Plane& in, const Plane& out) {
      const T* from = x.as<T>() + in.offset;
      for_each_window(g, [&](const std::array<int64_t, 3>& o, int64_t flat) {
        A sum{0};
        int64_t elements = 0;
        const int64_t padded = for_each_element(g, o, [&](int64_t at) {
          sum = reduction.add(sum, static_cast<A>(from[at * in.step]));
          ++elements;
        });
        y.as<T>()[out.offset + flat * out.step] = static_cast<T>(reduction.finish(sum, elements, padded));
      });
    });
    return {};
  });
}

double flops(const Attrs& attrs, std::span<const TensorArg>, std::span<const TensorArg> outputs) {
  return static_cast<double>(outputs[0].numel()) *
         static_cast<double>(product(attrs.integers("kernel_shape"), size_t{0}, attrs.integers("kernel_shape").size()));
}

OpDef pooling(std::string_view summary, std::vector<AttrDef> own, Status (*infer)(InferContext&),
              Status (*reference)(const Attrs&, const RunArgs&)) {
  std::vector<AttrDef> attrs = window_attrs();
  attrs.insert(attrs.begin(), {"kernel_shape", std::vector<int64_t>{}, true, "of the window, per spatial axis"});
  attrs.push_back({"ceil_mode", int64_t{0}, false, "1: also a last window that reaches beyond the end"});
  attrs.push_back(channels_last_attr());
  attrs.insert(attrs.end(), own.begin(), own.end());
  return {.summary = summary,
          .inputs = {{"x"}},
          .attrs = std::move(attrs),
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace

OpDef define_max_pool() {
  OpDef def = pooling("y = greatest element of each window, padding left out; x [N, C, spatial…] -> [N, C, out…]",
                      {{"indices", int64_t{0}, false, "1: a second output, the number of that element in x"},
                       {"column_major", int64_t{0}, false, "1: the first spatial axis runs fastest in those numbers"}},
                      infer_max, reference_max);
  def.outputs = {"y", "indices"};
  return def;
}

OpDef define_average_pool() {
  return pooling("y = mean of each window; x [N, C, spatial…] -> [N, C, out…]",
                 {{"count_include_pad", int64_t{0}, false, "1: padding counts as zeros"}}, infer_float,
                 reference_float<Average>);
}

OpDef define_lp_pool() {
  return pooling("y = (sum of |x|^p over each window)^(1/p); x [N, C, spatial…] -> [N, C, out…]", {{"p", 2.0}},
                 infer_float, reference_float<Norm>);
}

}  // namespace tenon::ops
