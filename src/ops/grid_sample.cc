#include <cmath>

#include "ops/wide.h"

namespace tenon::ops {
namespace {

enum class Mode { kNearest, kLinear, kCubic };
enum class Padding { kZeros, kBorder, kReflection };

std::optional<Mode> parse_mode(const std::string& text) {
  if (text == "nearest") return Mode::kNearest;
  if (text == "linear") return Mode::kLinear;
  return text == "cubic" ? std::optional(Mode::kCubic) : std::nullopt;
}

std::optional<Padding> parse_padding(const std::string& text) {
  if (text == "zeros") return Padding::kZeros;
  if (text == "border") return Padding::kBorder;
  return text == "reflection" ? std::optional(Padding::kReflection) : std::nullopt;
}

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  TENON_TRY(check_dtype(c, 1, DTypes::kFloat));
  const Shape &x = c.shape(0), &grid = c.shape(1);
  if (x.size() < 3 || grid.size() != x.size())
    return error(ErrorCode::kBadModel, "x of rank {}, a grid of rank {}", x.size(), grid.size());
  const auto axes = static_cast<int64_t>(x.size()) - 2;
  if (grid.back() != Dim(axes))
    return error(ErrorCode::kBadModel, "a grid of {} for {} spatial axes", ir::to_string(grid), axes);
  if (!parse_mode(c.attrs.text("mode")) || !parse_padding(c.attrs.text("padding"))) {
    return error(ErrorCode::kBadModel, "unknown mode \"{}\" or padding \"{}\"", c.attrs.text("mode"),
                 c.attrs.text("padding"));
  }
  TENON_ASSIGN(Dim batch, c.same(x[0], grid[0]));
  Shape y{std::move(batch), x[1]};
  y.insert(y.end(), grid.begin() + 1, grid.end() - 1);
  return c.output(c.dtype(0), std::move(y));
}

// Back and forth between low and high.
double reflect(double at, double low, double high) {
  const double range = high - low;
  if (range <= 0) return low;
  const double period = std::fmod(std::abs(at - low), 2 * range);
  return at < low || at > high ? low + (period > range ? 2 * range - period : period) : at;
}

struct Sampler {
  Mode mode;
  Padding padding;
  bool align_corners;
  std::span<const int64_t> sizes;  // spatial axes of x
  std::vector<int64_t> strides;

  double low() const { return align_corners ? 0 : -0.5; }
  double high(size_t axis) const { return static_cast<double>(sizes[axis]) - (align_corners ? 1 : 0.5); }

  // A grid value in [-1, 1] as a place along an axis of x.
  double place(double value, size_t axis) const {
    const auto n = static_cast<double>(sizes[axis]);
    double at = align_corners ? (value + 1) / 2 * (n - 1) : ((value + 1) * n - 1) / 2;
    at = std::isnan(at) ? -2 : std::clamp(at, -1e15, 1e15);  // NaN reads as outside
    if (mode == Mode::kNearest) at = std::rint(at);
    if (at >= low() && at <= high(axis)) return at;
    if (padding == Padding::kBorder) return std::clamp(at, 0.0, n - 1);
    return padding == Padding::kReflection ? reflect(at, low(), high(axis)) : std::clamp(at, -4.0, n + 3);
  }

  // The offset of an index along an axis; -1: a zero.
  int64_t offset(int64_t index, size_t axis) const {
    const int64_t n = sizes[axis];
    if (index < 0 || index >= n) {
      if (padding == Padding::kZeros) return -1;
      if (padding == Padding::kReflection)
        index = static_cast<int64_t>(reflect(static_cast<double>(index), low(), high(axis)));
      index = std::clamp<int64_t>(index, 0, n - 1);
    }
    return index * strides[axis];
  }

  // Weights of up to four neighbours along one axis.
  int neighbours(double at, int64_t& first, std::array<double, 4>& weights) const {
    if (mode == Mode::kNearest) {
      first = static_cast<int64_t>(at);
      weights[0] = 1;
      return 1;
    }
    const double base = std::floor(at), t = at - base;
    if (mode == Mode::kLinear) {
      first = static_cast<int64_t>(base);
      weights = {1 - t, t};
      return 2;
    }
    constexpr double a = -0.75;
    const auto near = [](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
    const auto far = [](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
    first = static_cast<int64_t>(base) - 1;
    weights = {far(t + 1), near(t), near(1 - t), far(2 - t)};
    return 4;
  }

  // The interpolated value at places [axis, axes) given, x being the plane from there on.
  template <class T>
  double sample(const T* x, const double* places, size_t axis) const {
    if (axis == sizes.size()) return static_cast<double>(static_cast<Compute<T>>(*x));
    int64_t first = 0;
    std::array<double, 4> weights{};
    const int count = neighbours(places[axis], first, weights);
    double sum = 0;
    for (int k = 0; k < count; ++k) {
      const int64_t from = offset(first + k, axis);
      if (from >= 0) sum += weights[static_cast<size_t>(k)] * sample(x + from, places, axis + 1);
    }
    return sum;
  }
};

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), grid = args.input(1), y = args.output();
  const auto sizes = x.shape.subspan(2);
  const Sampler sampler{*parse_mode(attrs.text("mode")), *parse_padding(attrs.text("padding")),
                        attrs.integer("align_corners") != 0, sizes, strides_of(sizes)};
  if (grid.dim(0) != x.dim(0)) return error(ErrorCode::kBadInput, "{} images and {} grids", x.dim(0), grid.dim(0));
  if (y.numel() == 0) return {};
  if (x.numel() == 0)
    return error(ErrorCode::kBadInput, "nothing to sample in a tensor of shape {}", shape_text(x.shape));
  TENON_ASSIGN(const Tensor places, widen<double>(grid));
  const size_t axes = sizes.size();
  const int64_t plane = product(sizes, size_t{0}, axes), points = product(y.shape, size_t{2}, y.shape.size());
  return visit_float(x.dtype, [&]<class T>() -> Status {
    std::vector<double> at(axes);
    for (int64_t n = 0; n < y.dim(0); ++n) {
      for (int64_t p = 0; p < points; ++p) {
        // A grid names the innermost axis first.
        const double* given = places.as<double>() + (n * points + p) * static_cast<int64_t>(axes);
        for (size_t i = 0; i < axes; ++i) at[i] = sampler.place(given[axes - 1 - i], i);
        for (int64_t channel = 0; channel < y.dim(1); ++channel) {
          const int64_t of = n * y.dim(1) + channel;
          y.as<T>()[of * points + p] = convert<T>(sampler.sample(x.as<T>() + of * plane, at.data(), 0));
        }
      }
    }
    return {};
  });
}

}  // namespace

OpDef define_grid_sample() {
  return {
      .summary =
          "y[n, c, o…] = x[n, c] interpolated at grid[n, o…], whose numbers in [-1, 1] span x, innermost axis first; "
          "x [N, C, in…], grid [N, out…, axes] -> [N, C, out…]",
      .inputs = {{"x"}, {"grid"}},
      .attrs = {{"mode", std::string("linear"), false, "nearest, linear or cubic"},
                {"padding", std::string("zeros"), false, "beyond x: zeros, border or reflection"},
                {"align_corners", int64_t{0}, false,
                 "1: -1 and 1 are the centres of the outermost elements, 0: their outer edges"}},
      .infer = infer,
      .reference = reference};
}

}  // namespace tenon::ops
