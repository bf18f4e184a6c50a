// The first convolution of a network: x are images as they come in, [N, C, H, W] of few channels and of any float type;
// y [N, P, Q, filters] has its channels last. So nothing rearranges or converts images in between.
//
// A block takes tiles of 8 x 16 windows, one warp two rows of them: the part of the image under a tile is brought to
// shared memory, where a window's elements are a constant way from its first. K runs over channels, rows and columns of
// the window, the columns in pairs: a pair is what one register of mma's first operand holds. Patches begin at whole
// vectors of the image; where that puts windows at odd columns their pairs begin one column ahead of them.
//
//   ELEMENT, X            f16 or bf16; the type of x
//   CHANNELS, KERNEL_H … DILATION_W, BEFORE_W (padding), FILTERS
//   PANELS                of 8 filters, that a block computes: 4 or 8
//   ACTIVATION, ACTIVATE_SUM, HAS_BIAS, HAS_RESIDUAL
// w holds second operands as threads read them, [blocks of filters][kSteps][PANELS / 2][32 lanes][8] (conv_image.cc).
#include "activation.cuh"
#include "conv_image_args.cuh"
#include "matrix.cuh"
#include "pdl.cuh"
#include "row.cuh"

using T = ELEMENT;

namespace {

constexpr int kThreads = 128, kRows = 8, kColumns = 16;  // of windows in a tile
constexpr int kVector = 4;                               // neighbours of a line of the image that are read at once
// Of a pair's elements in one word of shared memory.
constexpr bool kWords = STEP_W % 2 == 0 && DILATION_W == 1;
constexpr int kSkip = (kVector - BEFORE_W % kVector) % kVector;  // columns of a patch ahead of its first window
constexpr int kLead = kWords ? kSkip % 2 : 0;                    // of a window's first pair
constexpr int kPairsOfRow = (kLead + KERNEL_W + 1) / 2, kPairs = CHANNELS * KERNEL_H * kPairsOfRow;
constexpr int kSteps = (kPairs + 7) / 8;  // of 16 elements
constexpr int kPatchRows = (kRows - 1) * STEP_H + (KERNEL_H - 1) * DILATION_H + 1;
constexpr int kPatchVectors =  // of a row
    (kSkip + (kColumns - 1) * STEP_W + (2 * kPairsOfRow - kLead - 1) * DILATION_W + kVector) / kVector;
constexpr int kPatchColumns = kPatchVectors * kVector;
constexpr int kOfProduct = ACTIVATE_SUM ? kNone : ACTIVATION, kOfSum = ACTIVATE_SUM ? ACTIVATION : kNone;
constexpr int kOwn = 2 * PANELS;  // neighbouring filters that a thread has results of

struct Pair {
  int offset;     // in the patch, from its first element of the window's row and column
  uint32_t mask;  // of those of its elements that exist
};
TENON_DEVICE Pair pair_at(int pair) {
  const int line = pair / kPairsOfRow, s = (pair - line * kPairsOfRow) * 2 - kLead, c = line / KERNEL_H,
            r = line - c * KERNEL_H;
  if (pair >= kPairs) return {0, 0};
  return {(c * kPatchRows + r * DILATION_H) * kPatchColumns + kSkip + s * DILATION_W,
          (s >= 0 ? 0xffffu : 0u) | (s + 1 < KERNEL_W ? 0xffff0000u : 0u)};
}

TENON_DEVICE uint32_t load_pair(const T* patch, int first, const Pair& pair) {
  const T* at = patch + first + pair.offset;
  if (kWords) return *reinterpret_cast<const uint32_t*>(at) & pair.mask;
  return (at[0].bits | static_cast<uint32_t>(at[DILATION_W].bits) << 16) & pair.mask;
}

// Neighbours of a line of the image as they lie in memory.
struct alignas(kVector * sizeof(X)) Pixels {
  X v[kVector];
};

// The part of image n whose first pixel is (row, column); zeros outside of the image. Column is a multiple of kVector.
// kWhole: so is the image's width, so that of neighbours all are inside, or none.
template <bool kWhole>
TENON_DEVICE void load_patch(const ConvImageArgs& args, T* patch, int n, int row, int column) {
  constexpr int kVectors = CHANNELS * kPatchRows * kPatchVectors, kAtOnce = 5;  // on their way
  const X* image = static_cast<const X*>(args.x) + static_cast<int64_t>(n) * CHANNELS * args.height * args.width;
#pragma unroll 1
  for (int first = threadIdx.x; first < kVectors; first += kAtOnce * kThreads) {
    Pixels pixels[kAtOnce] = {};
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int i = first + k * kThreads, line = i / kPatchVectors, w = column + (i - line * kPatchVectors) * kVector;
      const int c = line / kPatchRows, h = row + line - c * kPatchRows;
      const X* from = image + (c * args.height + h) * args.width + w;
      const bool inside = i < kVectors && h >= 0 && h < args.height;
      if (kWhole) {
        if (inside && w >= 0 && w < args.width) pixels[k] = *reinterpret_cast<const Pixels*>(from);
      } else {
#pragma unroll
        for (int e = 0; e < kVector; ++e)
          if (inside && w + e >= 0 && w + e < args.width) pixels[k].v[e] = from[e];
      }
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const X(&v)[kVector] = pixels[k].v;
      if (first + k * kThreads >= kVectors) continue;
      reinterpret_cast<uint2*>(patch)[first + k * kThreads] = {pack<T>(to_float(v[0]), to_float(v[1])),
                                                               pack<T>(to_float(v[2]), to_float(v[3]))};
    }
  }
}

using Sums = float[2][PANELS][4];

TENON_DEVICE void multiply(const T* patch, const uint4* w, const Pair (&pairs)[kSteps][2], Sums& sums) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  // Of this lane's first window.
  const int first = warp * 2 * STEP_H * kPatchColumns + lane / 4 * STEP_W;
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
    uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        a[i][2 * half] = load_pair(patch, first + i * STEP_H * kPatchColumns, pairs[k][half]);
        a[i][2 * half + 1] = load_pair(patch, first + i * STEP_H * kPatchColumns + 8 * STEP_W, pairs[k][half]);
      }
    }
#pragma unroll
    for (int p = 0; p < PANELS / 2; ++p) {
      const uint4 b = w[(k * (PANELS / 2) + p) * 32 + lane];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        multiply_16x8x16<T>(sums[i][2 * p], a[i], b.x, b.y);
        multiply_16x8x16<T>(sums[i][2 * p + 1], a[i], b.z, b.w);
      }
    }
  }
}

// The thread has the filters from `filter` on in eights, 32 apart: those of a quad lie side by side.
constexpr int kNextEight = 32;

// The results of one window: `half` of the sums of row i.
TENON_DEVICE void store_window(const ConvImageArgs& args, const Sums& sums, int i, int half, int64_t window,
                               int filter) {
  const int64_t at = window * FILTERS;
  T* y = static_cast<T*>(args.y) + at;
  const T* residual = static_cast<const T*>(args.residual) + at;
#pragma unroll
  for (int v = 0; v < kOwn / 8; ++v) {
    float out[8], more[8] = {};
    const int first = filter + v * kNextEight;
    const bool whole = FILTERS % 8 == 0 && first < FILTERS;
    if (HAS_RESIDUAL && whole) unpack8<T>(*reinterpret_cast<const uint4*>(residual + first), more);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      if (HAS_RESIDUAL && !whole && first + e < FILTERS) more[e] = to_float(residual[first + e]);
      const float product = activate<kOfProduct>(sums[i][v * 4 + e / 2][half * 2 + e % 2]);
      out[e] = activate<kOfSum>(HAS_RESIDUAL ? product + more[e] : product);
    }
    if (whole) {
      *reinterpret_cast<uint4*>(y + first) = pack8<T>(out);
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (first + e < FILTERS) y[first + e] = from_float<T>(out[e]);
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, kSteps <= 16 ? 4 : 3)
    conv_image(const __grid_constant__ ConvImageArgs args) {
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int kWeights = kSteps * (PANELS / 2) * 32;  // in vectors
  uint4* w = reinterpret_cast<uint4*>(memory);
  float* bias = reinterpret_cast<float*>(w + kWeights);
  T* patch = reinterpret_cast<T*>(bias + PANELS * 8);
  allow_next_kernel();
  for (int i = threadIdx.x; i < kWeights; i += kThreads)
    w[i] = static_cast<const uint4*>(args.w)[blockIdx.y * kWeights + i];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Pair pairs[kSteps][2];
#pragma unroll
  for (int k = 0; k < kSteps; ++k)
#pragma unroll
    for (int half = 0; half < 2; ++half) pairs[k][half] = pair_at(k * 8 + half * 4 + lane % 4);
  const int first_filter = blockIdx.y * PANELS * 8;
  if (threadIdx.x < PANELS * 8) {
    const int filter = first_filter + threadIdx.x;
    bias[threadIdx.x] = HAS_BIAS && filter < FILTERS ? to_float(static_cast<const T*>(args.bias)[filter]) : 0.f;
  }
  const int own = lane % 4 * 8;  // its first filter
  wait_for_previous_kernels();

  const int across = (args.out_width + kColumns - 1) / kColumns, down = (args.out_height + kRows - 1) / kRows;
  for (int tile = blockIdx.x; tile < args.images * down * across; tile += gridDim.x) {
    const int line = tile / across, column = (tile - line * across) * kColumns, n = line / down,
              row = (line - n * down) * kRows;
    __syncthreads();  // all have read the last patch
    const int top = row * STEP_H - args.before_h, left = column * STEP_W - BEFORE_W - kSkip;
    if (args.width % kVector == 0) {
      load_patch<true>(args, patch, n, top, left);
    } else {
      load_patch<false>(args, patch, n, top, left);
    }
    __syncthreads();
    Sums sums;
#pragma unroll
    for (int i = 0; i < 2 * PANELS * 4; ++i) {
      const int v = i / 4 % PANELS * 2 + i % 2;  // of its filters
      sums[i / (PANELS * 4)][i / 4 % PANELS][i % 4] = bias[own + v / 8 * kNextEight + v % 8];
    }
    multiply(patch, w, pairs, sums);
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int p = row + warp * 2 + i, q = column + lane / 4 + half * 8;
        if (p >= args.out_height || q >= args.out_width) continue;
        store_window(args, sums, i, half, (static_cast<int64_t>(n) * args.out_height + p) * args.out_width + q,
                     first_filter + own);
      }
  }
}
