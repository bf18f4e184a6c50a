// The rows of channels that windows read, over images [batch, spatial…, channels].
#pragma once

#include <array>

#include "kernels/cpu/cpu_kernel.h"
#include "ops/window.h"

namespace tenon::kernels::cpu {

// Finds pixel by pixel where the taps of its window stand. Pixels of y are counted over all images; taps in the order
// of ops::Window::for_each_tap.
class WindowRows {
 public:
  // A pixel of y: where it is, its image's first element, and where its window begins, which may be outside.
  struct Pixel {
    std::array<int64_t, 3> at{}, origin{};
    int64_t image = 0;
  };
  Pixel pixel(int64_t number) const;
  // To the next one.
  void advance(Pixel& pixel) const;

  // `offsets`: room for geometry.kernel_size() elements.
  WindowRows(const ops::Window& geometry, const float* x, int64_t channels, int64_t* offsets);

  const float* first() const { return x_; }  // of the first image

  // The taps of a pixel go to rows[0], rows[step] …; those outside of the image are `outside`.
  void find(const Pixel& pixel, const float* outside, const float** rows, int64_t step) const;
  // How many taps of a pixel lie in the image, and how many in the image or its padding.
  struct Count {
    int64_t inside = 1, padded = 1;
  };
  Count count(const Pixel& pixel) const;

  // The same where the taps of the last axis, not dilated, are read as one piece: one row for each tap of the others.
  // Pieces that are not wholly in the image are copied with zeros to pad[0], pad[1] …, each piece at its own place.
  void find_pieces(const Pixel& pixel, const float* zeros, float* pad, const float** rows, int64_t step) const;

 private:
  int64_t first_element(const Pixel&) const;  // where the window begins
  bool is_whole(const Pixel&) const;          // all of its taps are in the image

  const ops::Window& g_;
  const float* x_;
  int64_t channels_;
  const int64_t* offsets_;  // of taps from the window's origin, in elements
};

}  // namespace tenon::kernels::cpu
