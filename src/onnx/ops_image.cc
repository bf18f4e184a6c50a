// Images: resampling, regions, rearranged pixels.
#include <cmath>

#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

std::vector<double> numbers_of(const Tensor& t) {
  std::vector<double> values;
  for (int64_t i = 0; i < t.numel(); ++i) values.push_back(t.at(i));
  return values;
}

// floor(size * scale), for a symbolic size too where the scale is a fraction of small numbers.
Result<Dim> scaled_size(const Dim& size, double scale) {
  if (size.is_const()) return Dim(static_cast<int64_t>(std::floor(static_cast<double>(size.value()) * scale)));
  constexpr int64_t kMostDenominator = 64;
  for (int64_t denominator = 1; denominator <= kMostDenominator; ++denominator) {
    const double numerator = scale * static_cast<double>(denominator);
    if (numerator != std::rint(numerator)) continue;
    return Dim::floordiv(size * Dim(static_cast<int64_t>(numerator)), Dim(denominator));
  }
  return error(ErrorCode::kUnsupported, "the scale {} of the symbolic size {}", scale, size.to_string());
}

// Values given per chosen axis as values per axis.
template <class T>
Result<std::vector<T>> spread(const std::vector<T>& given, const std::vector<int64_t>& axes, std::vector<T> all) {
  if (given.size() != axes.size())
    return error(ErrorCode::kBadModel, "{} numbers for {} axes", given.size(), axes.size());
  for (size_t i = 0; i < axes.size(); ++i) all[static_cast<size_t>(axes[i])] = given[i];
  return all;
}

// One scale for all axes that are resized, which keeps their proportions, and the sizes that follow.
Status keep_aspect_ratio(const std::string& policy, const Shape& in, const std::vector<int64_t>& axes, Shape& sizes,
                         std::vector<double>& scales) {
  double scale = 0;
  for (const int64_t a : axes) {
    const auto axis = static_cast<size_t>(a);
    if (!in[axis].is_const() || !sizes[axis].is_const() || in[axis].value() < 1)
      return error(ErrorCode::kUnsupported, "symbolic sizes with keep_aspect_ratio_policy");
    const double own = static_cast<double>(sizes[axis].value()) / static_cast<double>(in[axis].value());
    scale = scale == 0 ? own : policy == "not_larger" ? std::min(scale, own) : std::max(scale, own);
  }
  for (const int64_t a : axes) {
    const auto axis = static_cast<size_t>(a);
    scales[axis] = scale;
    sizes[axis] = Dim(static_cast<int64_t>(std::floor(scale * static_cast<double>(in[axis].value()) + 0.5)));
  }
  return {};
}

bool is_given(const Value* v) { return v != nullptr && !(v->rank() == 1 && v->shape()[0] == Dim(0)); }

}  // namespace

Status import_resize(Call& c) {
  Value* x = c.input(0);
  const bool old = c.opset() < 11;
  std::vector<int64_t> axes = c.integers("axes");
  if (axes.empty())
    for (int i = 0; i < x->rank(); ++i) axes.push_back(i);
  for (int64_t& a : axes) {
    TENON_ASSIGN(a, c.axis(a, x->rank()));
  }
  const int scales_at = old ? 1 : 2;
  Shape sizes = x->shape();
  std::vector<double> scales(x->shape().size(), 1.0);
  const std::string policy = c.text("keep_aspect_ratio_policy", "stretch");
  bool scaled = true;
  if (!old && is_given(c.input(3))) {
    TENON_ASSIGN(const auto given, c.dims(3));
    TENON_ASSIGN(sizes, spread(given, axes, sizes));
    scaled = policy != "stretch";
    if (scaled) TENON_TRY(keep_aspect_ratio(policy, x->shape(), axes, sizes, scales));
  } else {
    if (!is_given(c.input(scales_at))) return error(ErrorCode::kBadModel, "neither scales nor sizes are given");
    TENON_ASSIGN(const Tensor given, c.constant_of(scales_at));
    TENON_ASSIGN(scales, spread(numbers_of(given), axes, scales));
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (!(scales[i] > 0 && scales[i] < 1e6)) return error(ErrorCode::kBadModel, "the scale {}", scales[i]);
      TENON_ASSIGN(sizes[i], scaled_size(sizes[i], scales[i]));
    }
  }
  const std::string place = old ? "asymmetric" : c.text("coordinate_transformation_mode", "half_pixel");
  ir::Attrs attrs{{"sizes", std::move(sizes)},
                  {"mode", c.text("mode", "nearest")},
                  {"place", place},
                  {"nearest", old ? std::string("floor") : c.text("nearest_mode", "round_prefer_floor")},
                  {"cubic", c.number("cubic_coeff_a", -0.75)},
                  {"exclude_outside", c.integer("exclude_outside", 0)},
                  {"antialias", c.integer("antialias", 0)},
                  {"outside", c.number("extrapolation_value", 0)}};
  if (scaled) attrs.set("scales", scales);
  if (place == "tf_crop_and_resize" && is_given(c.input(1))) {
    TENON_ASSIGN(const Tensor roi, c.constant_of(1));
    const std::vector<double> given = numbers_of(roi);
    if (given.size() != 2 * axes.size()) return error(ErrorCode::kBadModel, "a region of {} numbers", given.size());
    const auto half = given.begin() + static_cast<std::ptrdiff_t>(axes.size());
    TENON_ASSIGN(auto starts, spread({given.begin(), half}, axes, std::vector<double>(x->shape().size(), 0.0)));
    TENON_ASSIGN(const auto ends, spread({half, given.end()}, axes, std::vector<double>(x->shape().size(), 1.0)));
    starts.insert(starts.end(), ends.begin(), ends.end());
    attrs.set("roi", std::move(starts));
  }
  return c.yield(Op::k_resize, {x}, std::move(attrs));
}

// Resize before opset 10.
Status import_upsample(Call& c) {
  Value* x = c.input(0);
  std::vector<double> scales;
  if (c.has("scales")) {
    const std::vector<float> given = c.numbers("scales");
    scales.assign(given.begin(), given.end());
  } else {
    TENON_ASSIGN(const Tensor given, c.constant_of(1));
    scales = numbers_of(given);
  }
  if (scales.size() != x->shape().size())
    return error(ErrorCode::kBadModel, "{} scales for rank {}", scales.size(), x->rank());
  Shape sizes;
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!(scales[i] > 0 && scales[i] < 1e6)) return error(ErrorCode::kBadModel, "the scale {}", scales[i]);
    TENON_ASSIGN(auto size, scaled_size(x->shape()[i], scales[i]));
    sizes.push_back(std::move(size));
  }
  return c.yield(Op::k_resize, {x},
                 {{"sizes", std::move(sizes)},
                  {"scales", scales},
                  {"mode", c.text("mode", "nearest")},
                  {"place", std::string("asymmetric")},
                  {"nearest", std::string("floor")}});
}

Status import_grid_sample(Call& c) {
  std::string mode = c.text("mode", "linear");
  if (mode == "bilinear") mode = "linear";
  if (mode == "bicubic") mode = "cubic";
  return c.yield(
      Op::k_grid_sample, {c.input(0), c.input(1)},
      {{"mode", mode}, {"padding", c.text("padding_mode", "zeros")}, {"align_corners", c.integer("align_corners", 0)}});
}

// grid[n, o…] = theta[n] (place of o in [-1, 1], 1); the innermost axis stands first.
Status import_affine_grid(Call& c) {
  Value* theta = c.input(0);
  TENON_ASSIGN(const auto size, c.integers_of(1));
  if (size.size() < 4 || size.size() > 5 || theta->rank() != 3)
    return error(ErrorCode::kBadModel, "a size of {} numbers", size.size());
  const std::vector<int64_t> out(size.begin() + 2, size.end());
  const size_t axes = out.size();
  int64_t points = 1;
  for (const int64_t o : out) {
    if (o < 1 || o > (int64_t{1} << 22) / points) return error(ErrorCode::kBadModel, "a size of {}", o);
    points *= o;
  }
  const bool corners = c.integer("align_corners", 0) != 0;
  std::vector<float> base;
  for (int64_t p = 0; p < points; ++p) {
    int64_t rest = p;
    for (size_t k = axes; k-- > 0;) {
      const auto n = static_cast<double>(out[k]), i = static_cast<double>(rest % out[k]);
      base.push_back(static_cast<float>(corners ? (out[k] > 1 ? 2 * i / (n - 1) - 1 : 0) : (2 * i + 1) / n - 1));
      rest /= out[k];
    }
    base.push_back(1);
  }
  const auto columns = static_cast<int64_t>(axes) + 1;
  TENON_ASSIGN(auto* places, c.cast(c.literal(Tensor::from(DType::kF32, {points, columns}, base)), theta->dtype()));
  TENON_ASSIGN(theta, c.transpose(theta, {0, 2, 1}));
  TENON_ASSIGN(auto* grid, c.emit(Op::k_matmul, {places, theta}));
  Shape shape{theta->shape()[0]};
  for (const int64_t o : out) shape.emplace_back(o);
  shape.emplace_back(static_cast<int64_t>(axes));
  return c.yield(c.reshape(grid, std::move(shape)));
}

Status import_roi_align(Call& c) {
  const std::string mode = c.text("mode", "avg");
  if (mode != "avg" && mode != "max") return error(ErrorCode::kBadModel, "mode '{}'", mode);
  const bool half = c.opset() >= 16 && c.text("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  return c.yield(Op::k_roi_align, {c.input(0), c.input(1), c.input(2)},
                 {{"height", c.integer("output_height", 1)},
                  {"width", c.integer("output_width", 1)},
                  {"samples", c.integer("sampling_ratio", 0)},
                  {"scale", c.number("spatial_scale", 1)},
                  {"half_pixel", int64_t{half}},
                  {"max", int64_t{mode == "max"}}});
}

Status import_non_max_suppression(Call& c) {
  const auto scalar = [&](int i, double fallback) -> Result<double> {
    if (c.input(i) == nullptr) return fallback;
    TENON_ASSIGN(const Tensor t, c.constant_of(i));
    if (t.numel() != 1) return error(ErrorCode::kBadModel, "input {} has {} elements", i, t.numel());
    return t.at(0);
  };
  TENON_ASSIGN(const double most, scalar(2, 0));
  TENON_ASSIGN(const double overlap, scalar(3, 0));
  TENON_ASSIGN(const double score, scalar(4, -1e300));
  TENON_ASSIGN(auto* node, c.emit_node(Op::k_non_max_suppression, {c.input(0), c.input(1)},
                                       {{"most", static_cast<int64_t>(std::clamp(most, 0.0, 1e9))},
                                        {"iou_threshold", overlap},
                                        {"score_threshold", score},
                                        {"centre", c.integer("center_point_box", 0)}}));
  return c.yield(c.first_elements(node->output(0), 0, node->output(1)));
}

// [N, C, H, W] -> [N, C / b^2, H b, W b]
Status import_depth_to_space(Call& c) {
  Value* x = c.input(0);
  const Dim b(c.integer("blocksize", 0));
  if (x->rank() != 4) return error(ErrorCode::kBadModel, "an input of rank {}, expected 4", x->rank());
  const Shape s = x->shape();
  const auto depth = b == Dim(0) ? std::nullopt : s[1].exact_div(b * b);
  if (!depth) return error(ErrorCode::kBadModel, "{} channels in blocks of {}", s[1].to_string(), b.to_string());
  const bool blocks_first = c.text("mode", "DCR") == "DCR";
  TENON_ASSIGN(
      x, c.reshape(x, blocks_first ? Shape{s[0], b, b, *depth, s[2], s[3]} : Shape{s[0], *depth, b, b, s[2], s[3]}));
  TENON_ASSIGN(x, c.transpose(x, blocks_first ? std::vector<int64_t>{0, 3, 4, 1, 5, 2}
                                              : std::vector<int64_t>{0, 1, 4, 2, 5, 3}));
  return c.yield(c.reshape(x, {s[0], *depth, s[2] * b, s[3] * b}));
}

// [N, C, H b, W b] -> [N, b^2 C, H, W]
Status import_space_to_depth(Call& c) {
  Value* x = c.input(0);
  const Dim b(c.integer("blocksize", 0));
  if (x->rank() != 4) return error(ErrorCode::kBadModel, "an input of rank {}, expected 4", x->rank());
  const Shape s = x->shape();
  const auto height = b == Dim(0) ? std::nullopt : s[2].exact_div(b),
             width = b == Dim(0) ? std::nullopt : s[3].exact_div(b);
  if (!height || !width)
    return error(ErrorCode::kBadModel, "{} x {} in blocks of {}", s[2].to_string(), s[3].to_string(), b.to_string());
  TENON_ASSIGN(x, c.reshape(x, {s[0], s[1], *height, b, *width, b}));
  TENON_ASSIGN(x, c.transpose(x, {0, 3, 5, 1, 2, 4}));
  return c.yield(c.reshape(x, {s[0], s[1] * b * b, *height, *width}));
}

// Cut or padded with zeros on both sides alike.
Status import_center_crop_pad(Call& c) {
  Value* x = c.input(0);
  TENON_ASSIGN(const Shape wanted, c.dims(1));
  std::vector<int64_t> axes = c.integers("axes");
  if (axes.empty())
    for (int i = 0; i < x->rank(); ++i) axes.push_back(i);
  if (axes.size() != wanted.size())
    return error(ErrorCode::kBadModel, "{} sizes for {} axes", wanted.size(), axes.size());
  Shape before(x->shape().size(), Dim(0)), after = before;
  for (size_t i = 0; i < axes.size(); ++i) {
    TENON_ASSIGN(const int axis, c.axis(axes[i], x->rank()));
    const Dim size = x->shape()[static_cast<size_t>(axis)], missing = wanted[i] - size;
    if (missing.at_least(0)) {
      before[static_cast<size_t>(axis)] = Dim::floordiv(missing, Dim(2));
      after[static_cast<size_t>(axis)] = missing - before[static_cast<size_t>(axis)];
    } else if ((-missing).at_least(0)) {
      const Dim start = Dim::floordiv(-missing, Dim(2));
      TENON_ASSIGN(x, c.slice(x, axis, start, start + wanted[i]));
    } else {
      return error(ErrorCode::kUnsupported, "whether {} is less than {} is not known", wanted[i].to_string(),
                   size.to_string());
    }
  }
  return c.yield(Op::k_pad, {x}, {{"before", std::move(before)}, {"after", std::move(after)}});
}

}  // namespace tenon::onnx
