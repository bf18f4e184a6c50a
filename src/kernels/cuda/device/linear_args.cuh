// What the linear kernels of sm_90, which compute conv too, are given beside their tensor maps. Read by their host side
// too, so: plain types only.
#pragma once

struct LinearArgs {
  const void *bias = nullptr, *residual = nullptr;
  // linear_norm: moments of the rows of x and of the residual, and what scales the normalised residual.
  const void *x_moments = nullptr, *residual_moments = nullptr, *gamma = nullptr;
  void *y = nullptr, *y_moments = nullptr;
  int rows = 0;
  float epsilon = 0;
  bool backwards = false;  // from the last rows to the first
};

// Where the windows of a convolution stand: `height` x `width` of them in each image.
struct alignas(8) WindowGrid {
  int height = 0, width = 0;
  int step_h = 0, step_w = 0, first_h = 0, first_w = 0;  // of a window's first element, from the image's first pixel
};
struct ConvArgs : LinearArgs {
  WindowGrid windows;
};
