#include <cmath>
#include <limits>

#include "ops/wide.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  TENON_TRY(check_dtype(c, 2, DTypes::kInteger));
  if (c.dtype(1) != c.dtype(0))
    return error(ErrorCode::kBadModel, "x is {}, boxes are {}", dtype_name(c.dtype(0)), dtype_name(c.dtype(1)));
  if (c.rank(0) != 4 || c.rank(1) != 2 || c.rank(2) != 1)
    return error(ErrorCode::kBadModel, "x, boxes and batch indices of ranks {}, {} and {}", c.rank(0), c.rank(1),
                 c.rank(2));
  if (c.shape(1)[1] != Dim(4)) return error(ErrorCode::kBadModel, "boxes of {} numbers", c.shape(1)[1].to_string());
  TENON_ASSIGN(Dim count, c.same(c.shape(1)[0], c.shape(2)[0]));
  const int64_t height = c.attrs.integer("height"), width = c.attrs.integer("width");
  if (height < 1 || width < 1 || c.attrs.integer("samples") < 0 || c.attrs.integer("samples") > 1024)
    return error(ErrorCode::kBadModel, "an output of {} x {} with {} samples", height, width, c.attrs.integer("samples"));
  return c.output(c.dtype(0), {std::move(count), c.shape(0)[1], Dim(height), Dim(width)});
}

// A point of a plane as its four neighbours; none where it lies outside.
struct Corners {
  std::array<int64_t, 4> at{};
  std::array<double, 4> weight{};
};

Corners corners_of(double y, double x, int64_t height, int64_t width) {
  if (!(y >= -1 && y <= static_cast<double>(height) && x >= -1 && x <= static_cast<double>(width))) return {};
  const auto split = [](double v, int64_t size, int64_t& low, int64_t& high) {
    v = std::max(v, 0.0);
    low = std::min(static_cast<int64_t>(v), size - 1);
    high = std::min(low + 1, size - 1);
    return low == high ? 0.0 : v - static_cast<double>(low);
  };
  int64_t top = 0, bottom = 0, left = 0, right = 0;
  const double v = split(y, height, top, bottom), u = split(x, width, left, right);
  return {{top * width + left, top * width + right, bottom * width + left, bottom * width + right},
          {(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u}};
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), boxes = args.input(1), y = args.output();
  const bool greatest = attrs.integer("max") != 0;
  const double scale = attrs.number("scale"), shift = attrs.integer("half_pixel") != 0 ? 0.5 : 0;
  const int64_t channels = x.dim(1), height = x.dim(2), width = x.dim(3), rows = y.dim(2), columns = y.dim(3);
  TENON_ASSIGN(const std::vector<int64_t> images, read_indices(args.input(2), x.dim(0)));
  if (y.numel() > 0 && height * width == 0)
    return error(ErrorCode::kBadInput, "nothing to sample in a tensor of shape {}", shape_text(x.shape));
  if (static_cast<int64_t>(images.size()) != boxes.dim(0))
    return error(ErrorCode::kBadInput, "{} boxes, {} batch indices", boxes.dim(0), images.size());
  return visit_float(y.dtype, [&]<class T>() -> Status {
    for (int64_t r = 0; r < boxes.dim(0); ++r) {
      const auto edge = [&](int i) { return convert<double>(boxes.as<T>()[r * 4 + i]) * scale - shift; };
      const double left = edge(0), top = edge(1);
      // Without the half-pixel shift a box has at least one element.
      const double least = shift == 0 ? 1 : -std::numeric_limits<double>::infinity();
      const double bin_width = std::max(edge(2) - left, least) / static_cast<double>(columns);
      const double bin_height = std::max(edge(3) - top, least) / static_cast<double>(rows);
      constexpr double kMost = 1024;
      if (!(std::abs(bin_width) < kMost && std::abs(bin_height) < kMost))
        return error(ErrorCode::kBadInput, "box {} is too large", r);
      const int64_t samples = attrs.integer("samples");
      const int64_t nx = samples > 0 ? samples : static_cast<int64_t>(std::ceil(bin_width));
      const int64_t ny = samples > 0 ? samples : static_cast<int64_t>(std::ceil(bin_height));
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          std::vector<Corners> points;
          for (int64_t a = 0; a < ny; ++a) {
            for (int64_t b = 0; b < nx; ++b) {
              points.push_back(corners_of(
                  top +
                      (static_cast<double>(i) + (static_cast<double>(a) + 0.5) / static_cast<double>(ny)) * bin_height,
                  left +
                      (static_cast<double>(j) + (static_cast<double>(b) + 0.5) / static_cast<double>(nx)) * bin_width,
                  height, width));
            }
          }
          for (int64_t channel = 0; channel < channels; ++channel) {
            const T* plane = x.as<T>() + (images[static_cast<size_t>(r)] * channels + channel) * height * width;
            double sum = 0, best = points.empty() ? 0 : -std::numeric_limits<double>::infinity();
            for (const Corners& point : points) {
              for (size_t k = 0; k < 4; ++k) {
                const double v = point.weight[k] * convert<double>(plane[point.at[k]]);
                sum += v;
                best = std::max(best, v);
              }
            }
            const double mean = points.empty() ? 0 : sum / static_cast<double>(points.size());
            y.as<T>()[((r * channels + channel) * rows + i) * columns + j] = convert<T>(greatest ? best : mean);
          }
        }
      }
    }
    return {};
  });
}

}  // namespace

OpDef define_roi_align() {
  return {.summary =
              "y[r, c] = the box r of x[image[r], c], resampled (Mask R-CNN's RoIAlign); x [N, C, H, W], boxes [R, 4] "
              "as x1, y1, x2, y2, "
              "image [R] -> [R, C, height, width]",
          .inputs = {{"x"}, {"boxes"}, {"image"}},
          .attrs = {{"height", int64_t{1}, true},
                    {"width", int64_t{1}, true},
                    {"samples", int64_t{0}, false,
                     "points per bin along each axis; 0: as many as the bin has elements of x"},
                    {"scale", 1.0, false, "from the boxes' coordinates to those of x"},
                    {"half_pixel", int64_t{1}, false, "1: coordinates are shifted by half an element"},
                    {"max", int64_t{0}, false,
                     "1: the greatest weighted corner of a bin's points instead of their mean, as ONNX defines it"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
