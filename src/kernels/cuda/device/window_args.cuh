// What windows.cu is given. Read by its host side too, so: plain types only.
#pragma once

#include "grid_args.cuh"

// Images [N, height, width, channels] -> [N, out_height, out_width, out_channels]. Fewer than 2^31 elements in each.
struct WindowArgs {
  const void *x = nullptr, *w = nullptr, *bias = nullptr, *residual = nullptr;
  void* y = nullptr;
  int height = 0, width = 0, channels = 0, out_width = 0, out_channels = 0;
  int before_h = 0, before_w = 0, after_h = 0, after_w = 0;  // padding
  Divisor vectors = {}, groups = {}, out_height = {};  // of out_channels; of PIXELS windows
  unsigned count = 0;                                        // threads
};
