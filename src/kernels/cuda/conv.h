// What the CUDA kernels of `conv`, and of pooling, share: channels last, two spatial axes (of one, the first
// has size 1).
#pragma once

#include "kernels/cuda/cuda_kernel.h"
#include "ops/window.h"

namespace tenon::kernels::cuda {

// Of height and width.
struct Pair {
  int64_t h = 1, w = 1;
};

// A window with sizes that are known when compiling.
struct Window2d {
  Pair kernel, step, dilation, before = {0, 0}, after = {0, 0};

  bool is_pixel() const;  // one element that stands on every pixel, and on no other
  // Errors (unsupported): a third axis, padding that is not constant.
  static Result<Window2d> of(const Problem& problem);
};

// The sizes of images [N, H, W, C] or [N, W, C].
struct Images {
  int64_t count = 0, height = 1, width = 0, channels = 0;
  static Images of(const TensorArg& x);
  int64_t pixels() const { return count * height * width; }
};

// conv with constant weights and channels last, else why not.
Support supports_conv(const Problem& problem);

// The operands by place.
enum ConvInput { kConvX, kConvW, kConvBias, kConvResidual };

// ELEMENT, ACTIVATION, ACTIVATE_SUM, HAS_BIAS, HAS_RESIDUAL.
std::vector<std::string> conv_defines(const Problem& problem);

// The configs that call cuDNN (conv_cudnn.cc), where filters are packed as [filter][element][channel] with so many channels.
std::vector<Config> cudnn_configs(const Problem& problem, int64_t packed_channels);
bool is_cudnn(const Config& config);
// Errors: no-device where it cannot be opened, internal.
Result<std::unique_ptr<Launcher>> load_cudnn_conv(const Problem& problem, const Config& config, const Device& device);

}  // namespace tenon::kernels::cuda
