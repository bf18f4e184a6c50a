// Interpolation along each axis by itself: an output element is a weighted sum of a few neighbours of its place in x.
#include <cmath>

#include "ops/wide.h"

namespace tenon::ops {
namespace {

enum class Place {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kCrop,
  kHalfPixelForNearest
};
enum class Mode { kNearest, kLinear, kCubic };
enum class Nearest { kPreferFloor, kPreferCeil, kFloor, kCeil };

template <class E, size_t N>
std::optional<E> parse(const std::string& text, const char* const (&names)[N]) {
  for (size_t i = 0; i < N; ++i)
    if (text == names[i]) return static_cast<E>(i);
  return std::nullopt;
}

constexpr const char* kPlaces[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",  "align_corners",
                                   "asymmetric", "tf_crop_and_resize",   "tf_half_pixel_for_nn"};
constexpr const char* kModes[] = {"nearest", "linear", "cubic"};
constexpr const char* kNearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};

struct Settings {
  Place place{};
  Mode mode{};
  Nearest nearest{};
  double cubic = 0;
  bool exclude_outside = false, antialias = false;

  static Result<Settings> of(const Attrs& attrs) {
    const auto place = parse<Place>(attrs.text("place"), kPlaces);
    const auto mode = parse<Mode>(attrs.text("mode"), kModes);
    const auto nearest = parse<Nearest>(attrs.text("nearest"), kNearest);
    if (!place || !mode || !nearest) {
      return error(ErrorCode::kBadModel, "unknown mode \"{}\", \"{}\" or \"{}\"", attrs.text("place"),
                   attrs.text("mode"), attrs.text("nearest"));
    }
    return Settings{*place,
                    *mode,
                    *nearest,
                    attrs.number("cubic"),
                    attrs.integer("exclude_outside") != 0,
                    attrs.integer("antialias") != 0};
  }
};

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  TENON_TRY(Settings::of(c.attrs).status());
  const Shape& sizes = c.attrs.shape("sizes");
  const std::vector<double>&scales = c.attrs.numbers("scales"), &roi = c.attrs.numbers("roi");
  const auto rank = static_cast<size_t>(c.rank(0));
  if (sizes.size() != rank) return error(ErrorCode::kBadModel, "{} sizes for rank {}", sizes.size(), rank);
  if (!scales.empty() && scales.size() != rank)
    return error(ErrorCode::kBadModel, "{} scales for rank {}", scales.size(), rank);
  if (!roi.empty() && roi.size() != 2 * rank)
    return error(ErrorCode::kBadModel, "a region of {} numbers for rank {}", roi.size(), rank);
  for (const double edge : roi)
    if (!(std::abs(edge) < 1e6)) return error(ErrorCode::kBadModel, "a region that reaches to {}", edge);
  for (const double scale : scales)
    if (!(scale > 1e-6 && scale < 1e6)) return error(ErrorCode::kBadModel, "the scale {}", scale);
  TENON_TRY(check_sizes(sizes));
  return c.output(c.dtype(0), sizes);
}

// One axis of a run.
struct Axis {
  int64_t in = 0, out = 0;
  double scale = 1, start = 0, end = 1;  // of the region, for kCrop

  double place(Place how, int64_t i) const {
    const auto x = static_cast<double>(i), n = static_cast<double>(in), m = static_cast<double>(out);
    switch (how) {
      case Place::kHalfPixel:
        return (x + 0.5) / scale - 0.5;
      case Place::kHalfPixelSymmetric:
        return n / 2 * (1 - m / (scale * n)) + (x + 0.5) / scale - 0.5;
      case Place::kPytorchHalfPixel:
        return out > 1 ? (x + 0.5) / scale - 0.5 : 0;
      case Place::kAlignCorners:
        return out > 1 ? x * (n - 1) / (m - 1) : 0;
      case Place::kAsymmetric:
        return x / scale;
      case Place::kCrop:
        return out > 1 ? start * (n - 1) + x * (end - start) * (n - 1) / (m - 1) : 0.5 * (start + end) * (n - 1);
      case Place::kHalfPixelForNearest:
        return (x + 0.5) / scale;
    }
    return 0;
  }
};

double cubic_weight(double distance, double a) {
  const double d = std::abs(distance);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

// Weights of the neighbours first, first + 1 … of a place that lies in (base, base + 1].
struct Neighbours {
  int64_t first = 0;
  std::vector<double> weights;
};

Neighbours neighbours_of(const Settings& s, const Axis& axis, double place) {
  const auto base = static_cast<int64_t>(std::ceil(place)) - 1;
  const double ratio = place - static_cast<double>(base);
  if (s.mode == Mode::kNearest) {
    const bool whole = ratio == 1;
    const bool upper = whole || (s.nearest == Nearest::kPreferFloor  ? ratio > 0.5
                                 : s.nearest == Nearest::kPreferCeil ? ratio >= 0.5
                                                                     : s.nearest == Nearest::kCeil);
    return {upper ? base + 1 : base, {1}};
  }
  // Shrinking with antialiasing widens the filter by the scale.
  const double shrink = s.antialias ? std::min(axis.scale, 1.0) : 1.0, reach = s.mode == Mode::kLinear ? 1 : 2;
  const auto start = static_cast<int64_t>(std::floor(-reach / shrink)) + 1;
  Neighbours n{base + start, {}};
  for (int64_t i = start; i < 2 - start; ++i) {
    const double distance = (static_cast<double>(i) - ratio) * shrink;
    n.weights.push_back(s.mode == Mode::kLinear ? std::max(0.0, 1 - std::abs(distance))
                                                : cubic_weight(distance, s.cubic));
  }
  double sum = 0;
  for (size_t k = 0; k < n.weights.size(); ++k) {
    const int64_t at = n.first + static_cast<int64_t>(k);
    if (s.exclude_outside && (at < 0 || at >= axis.in)) n.weights[k] = 0;
    sum += n.weights[k];
  }
  for (double& w : n.weights) w /= sum;
  return n;
}

// y [outer, axis.out, inner] from x [outer, axis.in, inner].
void resize_axis(const Settings& s, const Axis& axis, const std::vector<double>& x, int64_t outer, int64_t inner,
                 std::vector<double>& y) {
  y.assign(static_cast<size_t>(outer * axis.out * inner), 0);
  for (int64_t i = 0; i < axis.out; ++i) {
    const Neighbours n = neighbours_of(s, axis, axis.place(s.place, i));
    for (size_t k = 0; k < n.weights.size(); ++k) {
      const int64_t at = std::clamp<int64_t>(n.first + static_cast<int64_t>(k), 0, axis.in - 1);
      const double weight = n.weights[k];
      if (weight == 0) continue;
      for (int64_t o = 0; o < outer; ++o) {
        const double* from = x.data() + (o * axis.in + at) * inner;
        double* to = y.data() + (o * axis.out + i) * inner;
        for (int64_t j = 0; j < inner; ++j) to[j] += weight * from[j];
      }
    }
  }
}

// Where a region reaches beyond x there is nothing to interpolate.
void fill_outside(const Settings& s, const std::vector<Axis>& axes, double value, std::span<const int64_t> shape,
                  std::vector<double>& y) {
  int64_t inner = static_cast<int64_t>(y.size());
  for (size_t a = 0; a < axes.size(); ++a) {
    const int64_t size = shape[a];
    inner /= size;
    for (int64_t i = 0; i < size; ++i) {
      const double place = axes[a].place(s.place, i);
      if (place >= 0 && place <= static_cast<double>(axes[a].in - 1)) continue;
      for (int64_t begin = i * inner; begin < static_cast<int64_t>(y.size()); begin += size * inner) {
        std::fill_n(y.begin() + begin, inner, value);
      }
    }
  }
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  TENON_ASSIGN(const Settings s, Settings::of(attrs));
  const std::vector<double>&scales = attrs.numbers("scales"), &roi = attrs.numbers("roi");
  if (y.numel() == 0) return {};
  if (x.numel() == 0)
    return error(ErrorCode::kBadInput, "nothing to resize in a tensor of shape {}", shape_text(x.shape));
  std::vector<Axis> axes;
  for (int a = 0; a < x.rank(); ++a) {
    Axis& axis = axes.emplace_back(Axis{x.dim(a), y.dim(a)});
    const auto at = static_cast<size_t>(a);
    axis.scale = !scales.empty() ? scales[at] : static_cast<double>(axis.out) / static_cast<double>(axis.in);
    if (!roi.empty()) {
      axis.start = roi[at];
      axis.end = roi[at + x.shape.size()];
    }
  }
  const Tensor source(x.dtype, {x.shape.begin(), x.shape.end()}, nullptr, x.as<const std::byte>());
  std::vector<double> values(static_cast<size_t>(x.numel())), next;
  for (size_t i = 0; i < values.size(); ++i) values[i] = source.at(static_cast<int64_t>(i));
  // Axes that shrink go first: nothing in between is larger than both x and y.
  std::vector<int64_t> shape(x.shape.begin(), x.shape.end());
  for (const bool shrinks : {true, false}) {
    for (size_t a = 0; a < axes.size(); ++a) {
      const Axis& axis = axes[a];
      const bool same = axis.in == axis.out && axis.scale == 1 && s.place != Place::kCrop;
      if (same || (axis.out < axis.in) != shrinks) continue;
      resize_axis(s, axis, values, product(shape, size_t{0}, a), product(shape, a + 1, shape.size()), next);
      values.swap(next);
      shape[a] = axis.out;
    }
  }
  if (s.place == Place::kCrop) fill_outside(s, axes, attrs.number("outside"), y.shape, values);
  return visit_number(y.dtype, [&]<class T>() -> Status {
    std::transform(values.begin(), values.end(), y.as<T>(),
                   [](double v) { return convert<T>(std::is_integral_v<T> ? std::rint(v) : v); });
    return {};
  });
}

}  // namespace

OpDef define_resize() {
  return {.summary = "y = x interpolated to other sizes, axis by axis (ONNX Resize)",
          .inputs = {{"x"}},
          .attrs = {{"sizes", Shape{}, true, "of every axis of y"},
                    {"scales", std::vector<double>{}, false, "per axis; empty: sizes of y / sizes of x"},
                    {"roi", std::vector<double>{}, false,
                     "starts then ends per axis, as parts of x; for tf_crop_and_resize"},
                    {"mode", std::string("nearest"), false, "nearest, linear or cubic"},
                    {"place", std::string("half_pixel"), false,
                     "where in x an element of y lies: ONNX's coordinate_transformation_mode"},
                    {"nearest", std::string("round_prefer_floor"), false,
                     "round_prefer_floor, round_prefer_ceil, floor or ceil"},
                    {"cubic", -0.75, false, "the parameter of cubic convolution (Keys 1981)"},
                    {"exclude_outside", int64_t{0}, false,
                     "1: neighbours outside of x weigh nothing, instead of repeating its edge"},
                    {"antialias", int64_t{0}, false, "1: filters widen where y is smaller"},
                    {"outside", 0.0, false, "value of y beyond x; for tf_crop_and_resize"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
