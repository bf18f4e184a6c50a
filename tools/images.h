// Pictures as a model's input: decoded, resized, cropped, normalised, as the libraries that models are trained with do
// it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace tenon::tools {

struct Image {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]: red, green, blue
};

// Larger pictures are refused: a small file can claim any size.
inline constexpr int64_t kMostPixels = int64_t{1} << 27;

// A JPEG or PNG file, told apart by their first bytes. Grey becomes three equal channels, transparency is dropped, an
// orientation that a camera noted is not applied. Errors: unsupported (another format; CMYK), bad-input (damaged,
// truncated, too large).
Result<Image> decode_image(std::span<const uint8_t> file);
// The same; errors name the file. Errors: also not-found, io.
Result<Image> read_image(const std::string& path);

enum class Interpolation { kBilinear, kBicubic };

// Separable and antialiased (the filter widens where the image shrinks), rounded to 8 bits after each of the two
// passes: PIL's Image.resize, to one step of the 255. Sizes are at least 1.
Image resize_image(const Image& image, int64_t width, int64_t height, Interpolation interpolation);

struct Preparation {
  int64_t short_side = 0;  // the shorter side after resizing, before the centre is cut out; 0: 8/7 of the input's
  bool stretch = false;    // resize to the input's size without cutting
  Interpolation interpolation = Interpolation::kBilinear;
  // Of ImageNet, for pixels in [0, 1].
  std::array<double, 3> mean{0.485, 0.456, 0.406}, deviation{0.229, 0.224, 0.225};
};

// (pixel / 255 - mean) / deviation of the resized and cropped image into `out`: [3, height, width], or
// [height, width, 3] with channels_last. What the crop has beyond the image is black.
void prepare_image(const Image& image, const Preparation& how, int64_t width, int64_t height, bool channels_last,
                   float* out);

}  // namespace tenon::tools
