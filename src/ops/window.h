// What ops share that slide a window over the spatial axes of x [batch, channels, spatial…], or, with the attribute
// channels_last, [batch, spatial…, channels]: convolutions and pooling.
// Up to three spatial axes; reference loops see three always, leading ones of size 1.
#pragma once

#include <array>

#include "ops/support.h"

namespace tenon::ops {

inline constexpr int kMostSpatialAxes = 3;

// Attributes "strides", "dilations" (empty: ones) and "pads" (all begins, then all ends; empty: zeros).
inline std::vector<AttrDef> window_attrs() {
  return {{"strides", std::vector<int64_t>{}, false, "per spatial axis; empty: 1"},
          {"dilations", std::vector<int64_t>{}, false, "distance of a window's elements, per spatial axis; empty: 1"},
          {"pads", Shape{}, false, "before each spatial axis, then after each; empty: 0"}};
}

inline AttrDef channels_last_attr() {
  return {"channels_last", int64_t{0}, false, "1: all but the weights are [N, spatial…, C], not [N, C, spatial…]"};
}
inline bool channels_last(const Attrs& attrs) { return attrs.integer("channels_last") == 1; }
inline bool results_channels_last(const Attrs& attrs) { return attrs.integer("channels_last") != 0; }
// The axes of y's channels and of its first spatial axis.
inline size_t channel_axis(const Attrs& attrs, size_t rank) { return results_channels_last(attrs) ? rank - 1 : 1; }
inline size_t spatial_axis(const Attrs& attrs) { return results_channels_last(attrs) ? 1 : 2; }

// Where one channel of one image stands in memory: its element `flat` at offset + flat * step.
struct Plane {
  int64_t offset = 0, step = 1;

  // Of the plane that counts `plane` in order of image and channel; `size` elements each.
  static Plane of(bool channels_last, int64_t plane, int64_t channels, int64_t size) {
    if (!channels_last) return {plane * size, 1};
    return {plane / channels * channels * size + plane % channels, channels};
  }
};

inline int64_t window_step(const std::vector<int64_t>& attr, size_t axis) { return attr.empty() ? 1 : attr[axis]; }

// Errors: bad-model.
inline Status check_window(const InferContext& c, size_t axes) {
  if (axes < 1 || axes > kMostSpatialAxes) return error(ErrorCode::kUnsupported, "{} spatial axes", axes);
  for (const char* name : {"strides", "dilations"}) {
    const std::vector<int64_t>& steps = c.attrs.integers(name);
    constexpr int64_t kMost = int64_t{1} << 30;
    bool sound = steps.empty() || steps.size() == axes;
    for (const int64_t s : steps) sound = sound && s >= 1 && s <= kMost;
    if (!sound) return error(ErrorCode::kBadModel, "{} {} for {} spatial axes", name, shape_text(steps), axes);
  }
  const Shape& pads = c.attrs.shape("pads");
  if (!pads.empty() && pads.size() != 2 * axes)
    return error(ErrorCode::kBadModel, "{} pads for {} spatial axes", pads.size(), axes);
  constexpr int64_t kMostPad = int64_t{1} << 40;
  for (const Dim& pad : pads) {
    const bool negative = (-pad).at_least(1), absurd = pad.is_const() && pad.value() > kMostPad;
    if (negative || absurd) return error(ErrorCode::kBadModel, "a pad of {}", pad.to_string());
  }
  return {};
}

// How many windows of `kernel` elements fit along spatial axis `axis` of size `in`. With `ceil` also one that reaches
// beyond the end, if it begins before it.
inline Dim window_count(const Attrs& attrs, size_t axis, const Dim& in, const Dim& kernel, bool ceil = false) {
  const Shape& pads = attrs.shape("pads");
  const Dim before = pads.empty() ? Dim(0) : pads[axis], after = pads.empty() ? Dim(0) : pads[axis + pads.size() / 2];
  const Dim stride(window_step(attrs.integers("strides"), axis)),
      dilation(window_step(attrs.integers("dilations"), axis));
  const Dim rest = in + before + after - ((kernel - 1) * dilation + 1);
  if (!ceil) return Dim::floordiv(rest + stride, stride);
  return Dim::min(Dim::floordiv(rest + stride * 2 - 1, stride), Dim::floordiv(in + before + stride - 1, stride));
}

// The geometry of a run.
struct Window {
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1},
      before{0, 0, 0}, after{0, 0, 0};

  int64_t in_size() const { return in[0] * in[1] * in[2]; }
  int64_t out_size() const { return out[0] * out[1] * out[2]; }
  int64_t kernel_size() const { return kernel[0] * kernel[1] * kernel[2]; }

  // The spatial axes of x and y begin at `first`.
  static Window of(const Attrs& attrs, const RunArgs& args, std::span<const int64_t> x, std::span<const int64_t> y,
                   std::span<const int64_t> kernel_shape, size_t first = 2) {
    Window w;
    const size_t axes = x.size() - 2, lead = 3 - axes;
    const std::span<const int64_t> pads = args.size("pads");
    for (size_t i = 0; i < axes; ++i) {
      w.in[lead + i] = x[first + i];
      w.out[lead + i] = y[first + i];
      w.kernel[lead + i] = kernel_shape[i];
      w.stride[lead + i] = window_step(attrs.integers("strides"), i);
      w.dilation[lead + i] = window_step(attrs.integers("dilations"), i);
      w.before[lead + i] = pads.empty() ? 0 : pads[i];
      w.after[lead + i] = pads.empty() ? 0 : pads[axes + i];
    }
    return w;
  }

  // The first index along an axis that element k of window o reads; may lie in the padding.
  int64_t at(size_t axis, int64_t o, int64_t k) const { return o * stride[axis] - before[axis] + k * dilation[axis]; }

  // The windows [first, last) along an axis whose element k lies inside of x.
  std::pair<int64_t, int64_t> inside(size_t axis, int64_t k) const {
    const int64_t offset = k * dilation[axis] - before[axis];  // o * stride + offset in [0, in)
    const int64_t first = offset >= 0 ? 0 : (-offset + stride[axis] - 1) / stride[axis];
    const int64_t room = in[axis] - offset;
    const int64_t last = room <= 0 ? 0 : (room + stride[axis] - 1) / stride[axis];
    return {std::min(first, out[axis]), std::max(std::min(last, out[axis]), std::min(first, out[axis]))};
  }

  // Calls body(k, flat) for each element of the kernel, k its three indices.
  template <class Body>
  void for_each_tap(Body&& body) const {
    int64_t flat = 0;
    for (int64_t a = 0; a < kernel[0]; ++a)
      for (int64_t b = 0; b < kernel[1]; ++b)
        for (int64_t c = 0; c < kernel[2]; ++c) body(std::array<int64_t, 3>{a, b, c}, flat++);
  }
};

}  // namespace tenon::ops
