#include "kernels/cpu/window_rows.h"

#include <algorithm>

namespace tenon::kernels::cpu {

WindowRows::WindowRows(const ops::Window& geometry, const float* x, int64_t channels, int64_t* offsets)
    : g_(geometry), x_(x), channels_(channels), offsets_(offsets) {
  g_.for_each_tap([&](const std::array<int64_t, 3>& k, int64_t tap) {
    int64_t at = 0;
    for (size_t i = 0; i < 3; ++i) at = at * g_.in[i] + k[i] * g_.dilation[i];
    offsets[tap] = at * channels_;
  });
}

WindowRows::Pixel WindowRows::pixel(int64_t number) const {
  Pixel p;
  for (size_t i = 3; i-- > 0; number /= g_.out[i]) {
    p.at[i] = number % g_.out[i];
    p.origin[i] = g_.at(i, p.at[i], 0);
  }
  p.image = number * g_.in_size() * channels_;
  return p;
}

void WindowRows::advance(Pixel& p) const {
  for (size_t i = 3; i-- > 0;) {
    p.origin[i] += g_.stride[i];
    if (++p.at[i] < g_.out[i]) return;
    p.at[i] = 0;
    p.origin[i] = g_.at(i, 0, 0);
  }
  p.image += g_.in_size() * channels_;
}

int64_t WindowRows::first_element(const Pixel& p) const {
  return p.image + ((p.origin[0] * g_.in[1] + p.origin[1]) * g_.in[2] + p.origin[2]) * channels_;
}

bool WindowRows::is_whole(const Pixel& p) const {
  bool whole = true;
  for (size_t i = 0; i < 3; ++i)
    whole = whole && p.origin[i] >= 0 && p.origin[i] + (g_.kernel[i] - 1) * g_.dilation[i] < g_.in[i];
  return whole;
}

void WindowRows::find(const Pixel& p, const float* outside, const float** rows, int64_t step) const {
  const auto& o = p.origin;
  const int64_t first = first_element(p);
  if (is_whole(p)) {
    const int64_t taps = g_.kernel_size();
    for (int64_t tap = 0; tap < taps; ++tap) rows[tap * step] = x_ + first + offsets_[tap];
    return;
  }
  g_.for_each_tap([&](const std::array<int64_t, 3>& k, int64_t tap) {
    bool inside = true;
    for (size_t i = 0; i < 3; ++i) {
      const int64_t at = o[i] + k[i] * g_.dilation[i];
      inside = inside && at >= 0 && at < g_.in[i];
    }
    rows[tap * step] = inside ? x_ + first + offsets_[tap] : outside;
  });
}

WindowRows::Count WindowRows::count(const Pixel& p) const {
  Count n;
  for (size_t i = 0; i < 3; ++i) {
    int64_t inside = 0, padded = 0;
    for (int64_t k = 0; k < g_.kernel[i]; ++k) {
      const int64_t at = p.origin[i] + k * g_.dilation[i];
      inside += at >= 0 && at < g_.in[i];
      padded += at < g_.in[i] + g_.after[i];  // never before the padding
    }
    n.inside *= inside;
    n.padded *= padded;
  }
  return n;
}

void WindowRows::find_pieces(const Pixel& p, const float* zeros, float* pad, const float** rows, int64_t step) const {
  const int64_t width = g_.kernel[2], begin = p.origin[2];
  if (is_whole(p)) {
    const float* first = x_ + first_element(p);
    const int64_t pieces = g_.kernel[0] * g_.kernel[1];
    for (int64_t i = 0; i < pieces; ++i) rows[i * step] = first + offsets_[i * width];
    return;
  }
  const int64_t from = std::max<int64_t>(begin, 0), to = std::min(begin + width, g_.in[2]);
  int64_t piece = 0;
  for (int64_t a = 0; a < g_.kernel[0]; ++a) {
    for (int64_t b = 0; b < g_.kernel[1]; ++b, ++piece) {
      const int64_t plane = p.origin[0] + a * g_.dilation[0], line = p.origin[1] + b * g_.dilation[1];
      const bool inside = plane >= 0 && plane < g_.in[0] && line >= 0 && line < g_.in[1] && from < to;
      const int64_t first = p.image + (plane * g_.in[1] + line) * g_.in[2] * channels_;
      if (!inside) {
        rows[piece * step] = zeros;
      } else if (to - from == width) {
        rows[piece * step] = x_ + first + begin * channels_;
      } else {
        float* copy = pad + piece * width * channels_;
        std::fill_n(copy, width * channels_, 0.0f);
        std::copy_n(x_ + first + from * channels_, (to - from) * channels_, copy + (from - begin) * channels_);
        rows[piece * step] = copy;
      }
    }
  }
}

}  // namespace tenon::kernels::cpu
