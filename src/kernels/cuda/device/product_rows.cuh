// The rows x of a product x Wᵀ as the kernels of sm_90 load them, 64 columns at a time: those of a matrix, or, compiled
// with WINDOWS=1, the pixels that the windows of a convolution see.
//
// Row r of x is then window r, images after images; its columns are the window's elements, each with its channels,
// filled up with zeros to whole chunks of 64, as W's are.
//
//   KERNEL_W                  elements of a window, along the width
//   CHANNELS                  of the images
//   DILATION_H, DILATION_W    of the window
#pragma once

#include "linear_args.cuh"
#include "tma.cuh"

#ifndef WINDOWS
#define WINDOWS 0
#endif

#if WINDOWS
using ProductArgs = ConvArgs;

class ProductRows {
 public:
  TENON_DEVICE ProductRows(const ProductArgs& args, int row) {
    const WindowGrid& g = args.windows;
    const int line = row / g.width;
    n_ = line / g.height;
    h_ = (line - n_ * g.height) * g.step_h + g.first_h;
    w_ = (row - line * g.width) * g.step_w + g.first_w;
  }
  TENON_DEVICE void load(uint32_t to, const TensorMap& x, int chunk, uint32_t barrier) const {
    constexpr int kChunksOfElement = (CHANNELS + 63) / 64;
    const int element = chunk / kChunksOfElement, r = element / KERNEL_W, s = element - r * KERNEL_W;
    load_pixels(to, x, (chunk - element * kChunksOfElement) * 64, w_, h_, n_, s * DILATION_W, r * DILATION_H, barrier);
  }

 private:
  int n_, h_, w_;
};
#else
using ProductArgs = LinearArgs;

class ProductRows {
 public:
  TENON_DEVICE ProductRows(const ProductArgs&, int row) : row_(row) {}
  TENON_DEVICE void load(uint32_t to, const TensorMap& x, int chunk, uint32_t barrier) const {
    load_box(to, x, chunk * 64, row_, barrier);
  }

 private:
  int row_;
};
#endif
