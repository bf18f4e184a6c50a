// What conv_image.cu is given. Read by its host side too, so: plain types only.
#pragma once

struct ConvImageArgs {
  const void *x = nullptr, *w = nullptr, *bias = nullptr, *residual = nullptr;
  void* y = nullptr;
  int images = 0, height = 0, width = 0, out_height = 0, out_width = 0;
  int before_h = 0;  // padding
};
