// What slides a window over images whose channels come last, with plain arithmetic: depthwise and grouped conv, those
// of odd widths, and pooling. A thread computes VECTOR neighbouring channels of PIXELS neighbouring windows.
//
//   ELEMENT               f16, bf16 or f32
//   VECTOR                results of a thread in each window: 16 bytes, or 1
//   PIXELS                windows of a thread
//   KIND                  kFilter, kMost or kMean
//   KERNEL_H … DILATION_W of the window
//   COUNT_PADDING         of kMean: padding counts as zeros
//   of kFilter: GROUP_CHANNELS, GROUP_FILTERS, ACTIVATION, ACTIVATE_SUM, HAS_BIAS, HAS_RESIDUAL; w is
//   [KERNEL_H][KERNEL_W][GROUP_CHANNELS][filters]
#include "activation.cuh"
#include "divide.cuh"
#include "pdl.cuh"
#include "row.cuh"
#include "window_args.cuh"

using T = ELEMENT;
using V = Vector<T, VECTOR>;

namespace {

enum Kind { kFilter, kMost, kMean };

#ifndef GROUP_CHANNELS
#define GROUP_CHANNELS 1
#define GROUP_FILTERS 1
#define ACTIVATION 0
#define ACTIVATE_SUM 0
#define HAS_BIAS 0
#define HAS_RESIDUAL 0
#endif
#ifndef COUNT_PADDING
#define COUNT_PADDING 0
#endif

constexpr int kOfProduct = ACTIVATE_SUM ? kNone : ACTIVATION, kOfSum = ACTIVATE_SUM ? ACTIVATION : kNone;
// A result channel reads one channel of x, the same one.
constexpr bool kOneToOne = GROUP_CHANNELS == 1 && GROUP_FILTERS == 1;
// Channels of x that a grouped filter reads at once.
constexpr int kWhole = 16 / sizeof(T), kRead = GROUP_CHANNELS % kWhole == 0 ? kWhole : 1;

constexpr int kDown = KERNEL_H * KERNEL_W * PIXELS <= 12 ? KERNEL_H : 1, kAcross = KERNEL_W <= 8 ? KERNEL_W : 1;

using Sums = float[PIXELS][VECTOR];

template <class W>
TENON_DEVICE void load(const T* from, float (&out)[sizeof(W) / sizeof(T)]) {
  reinterpret_cast<const W*>(from)->unpack(out);
}

template <int kActivation>
TENON_DEVICE float activate_as(float x) {
  return sizeof(T) == 2 ? activate<kActivation>(x) : activate_exactly<kActivation>(x);
}

// One element of PIXELS windows; `x` points at the image's line, at the thread's channels of the first pixel.
TENON_DEVICE void take_element(const WindowArgs& args, const T* x, const T* w, int first_column, Sums& sums) {
  float factors[VECTOR];
  if (KIND == kFilter && kOneToOne) load<V>(w, factors);
#pragma unroll
  for (int j = 0; j < PIXELS; ++j) {
    const int column = first_column + j * STEP_W;
    if (column < 0 || column >= args.width) continue;
    const T* pixel = x + column * args.channels;
    if (kOneToOne) {
      float v[VECTOR];
      load<V>(pixel, v);
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) {
        if (KIND == kFilter) sums[j][i] += factors[i] * v[i];
        if (KIND == kMean) sums[j][i] += v[i];
      }
    } else {
#pragma unroll 1
      for (int c = 0; c < GROUP_CHANNELS; c += kRead) {
        float v[kRead];
        load<Vector<T, kRead>>(pixel + c, v);
#pragma unroll
        for (int k = 0; k < kRead; ++k) {
          load<V>(w + (c + k) * args.out_channels, factors);
#pragma unroll
          for (int i = 0; i < VECTOR; ++i) sums[j][i] += factors[i] * v[k];
        }
      }
    }
  }
}

// A vector by words; one element of 16 bits is the low half of its own.
union Packed {
  uint32_t words[(sizeof(V) + 3) / 4];
  V vector;
};

// The greatest elements of one window, packed as they are; `x` points at the thread's channels of the image.
TENON_DEVICE V most_of(const WindowArgs& args, const T* x, int top, int left) {
  float lowest[VECTOR];
#pragma unroll
  for (int i = 0; i < VECTOR; ++i) lowest[i] = -infinity();
  Packed most = {};
  most.vector = V::pack(lowest);
  const Packed none = most;
#pragma unroll(kDown)
  for (int r = 0; r < KERNEL_H; ++r) {
    const int row = top + r * DILATION_H;
#pragma unroll(kAcross)
    for (int s = 0; s < KERNEL_W; ++s) {
      const int column = left + s * DILATION_W;
      Packed v = none;
      if (row >= 0 && row < args.height && column >= 0 && column < args.width)
        v.vector = *reinterpret_cast<const V*>(x + (row * args.width + column) * args.channels);
#pragma unroll
      for (unsigned i = 0; i < sizeof(v.words) / 4; ++i) most.words[i] = greater<T>(most.words[i], v.words[i]);
    }
  }
  return most.vector;
}

// How many of a window's elements along an axis lie before `limit`.
TENON_DEVICE int elements_before(int limit, int first, int dilation, int elements) {
  return min(max((limit - first + dilation - 1) / dilation, 0), elements);
}
TENON_DEVICE int elements_counted(int size, int after, int first, int dilation, int elements) {
  if (COUNT_PADDING) return elements_before(size + after, first, dilation, elements);
  return elements_before(size, first, dilation, elements) - elements_before(0, first, dilation, elements);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(128) windows(const __grid_constant__ WindowArgs args) {
  allow_next_kernel();
  const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned group = quotient(thread, args.vectors), line = quotient(group, args.groups),
                 image = quotient(line, args.out_height);
  const int channel = static_cast<int>(thread - group * args.vectors.value) * VECTOR;
  const int first_pixel = static_cast<int>(group - line * args.groups.value) * PIXELS;
  const int top = static_cast<int>(line - image * args.out_height.value) * STEP_H - args.before_h,
            left = first_pixel * STEP_W - args.before_w;
  wait_for_previous_kernels();
  if (thread >= args.count) return;
  const int x_channel = kOneToOne ? channel : channel / GROUP_FILTERS * GROUP_CHANNELS;
  const T* x =
      static_cast<const T*>(args.x) + static_cast<int>(image) * args.height * args.width * args.channels + x_channel;
  if (KIND == kMost) {
    const int at = (static_cast<int>(line) * args.out_width + first_pixel) * args.out_channels + channel;
    reinterpret_cast<V*>(static_cast<T*>(args.y) + at)[0] = most_of(args, x, top, left);
    return;
  }
  const T* w = static_cast<const T*>(args.w) + channel;
  Sums sums;
#pragma unroll
  for (int j = 0; j < PIXELS; ++j)
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) sums[j][i] = 0.f;
#pragma unroll(kDown)
  for (int r = 0; r < KERNEL_H; ++r) {
    const int row = top + r * DILATION_H;
    if (row < 0 || row >= args.height) continue;
#pragma unroll(kAcross)
    for (int s = 0; s < KERNEL_W; ++s) {
      const T* factors = w + (r * KERNEL_W + s) * GROUP_CHANNELS * args.out_channels;
      take_element(args, x + row * args.width * args.channels, factors, left + s * DILATION_W, sums);
    }
  }
#pragma unroll
  for (int j = 0; j < PIXELS; ++j) {
    if (first_pixel + j >= args.out_width) break;
    const int at = (static_cast<int>(line) * args.out_width + first_pixel + j) * args.out_channels + channel;
    if (KIND == kMean) {
      const int n = elements_counted(args.height, args.after_h, top, DILATION_H, KERNEL_H) *
                    elements_counted(args.width, args.after_w, left + j * STEP_W, DILATION_W, KERNEL_W);
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) sums[j][i] = n == 0 ? 0.f : sums[j][i] / static_cast<float>(n);
    }
    if (KIND == kFilter) {
      float bias[VECTOR] = {}, residual[VECTOR] = {};
      if (HAS_BIAS) load<V>(static_cast<const T*>(args.bias) + channel, bias);
      if (HAS_RESIDUAL) load<V>(static_cast<const T*>(args.residual) + at, residual);
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) {
        sums[j][i] = activate_as<kOfSum>(activate_as<kOfProduct>(sums[j][i] + bias[i]) + residual[i]);
      }
    }
    reinterpret_cast<V*>(static_cast<T*>(args.y) + at)[0] = V::pack(sums[j]);
  }
}
