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
  // `offsets`: room for geometry.kernel_size() elements.
  WindowRows(const ops::Window& geometry, const float* x, int64_t channels, int64_t* offsets);

  // The taps of `pixel` go to rows[0], rows[step] …; those outside of the image are `outside`.
  void find(int64_t pixel, const float* outside, const float** rows, int64_t step) const;
  // How many taps of `pixel` lie in the image, and how many in the image or its padding.
  struct Count {
    int64_t inside = 1, padded = 1;
  };
  Count count(int64_t pixel) const;

  // The same where the taps of the last axis, not dilated, are read as one piece: one row for each tap of the others.
  // Pieces that are not wholly in the image are copied with zeros to pad[0], pad[1] …, each piece at its own place.
  void find_pieces(int64_t pixel, const float* zeros, float* pad, const float** rows, int64_t step) const;

 private:
  struct Place {
    int64_t image = 0;                // of x, its first element
    std::array<int64_t, 3> origin{};  // of the window; may lie outside
  };
  Place place(int64_t pixel) const;

  const ops::Window& g_;
  const float* x_;
  int64_t channels_;
  const int64_t* offsets_;  // of taps from the window's origin, in elements
};

}  // namespace tenon::kernels::cpu
