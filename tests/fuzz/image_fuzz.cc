// Any bytes as a picture of `tenon run --image`: refused, or pixels that can be resized and made an input.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "tools/images.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tenon::tools;
  const auto image = decode_image({data, size});
  if (!image.ok()) return 0;
  if (image->pixels.size() != static_cast<size_t>(image->width * image->height * 3)) std::abort();
  if (image->width * image->height > 1 << 18) return 0;  // the rest would only take long
  std::vector<float> input(3 * 7 * 5);
  for (const bool stretch : {false, true}) {
    prepare_image(*image, {.stretch = stretch, .interpolation = Interpolation::kBicubic}, 7, 5, stretch, input.data());
    if (!std::ranges::all_of(input, [](float v) { return v > -4 && v < 4; })) std::abort();
  }
  return 0;
}
