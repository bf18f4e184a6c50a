#include "ops/quantize.h"

namespace tenon::ops {
namespace {

constexpr int64_t kQuadStep = 8;  // elements of two quads
constexpr int kMostOfQuad = 128;

// body(indices, count) for each quad of k elements, without those that lie beyond.
template <class Body>
void for_quads(int64_t k, Body&& body) {
  for (int64_t first = 0; first < k; first += kQuadStep) {
    for (const int64_t half : {0, 2}) {
      int64_t at[4];
      int count = 0;
      for (const int64_t i : {0, 1, 4, 5})
        if (first + half + i < k) at[count++] = first + half + i;
      body(at, count);
    }
  }
}

// What is to become the largest r, or sum of r in a quad: NaN where w holds one.
float largest_of(const float* w, int64_t k, bool quads) {
  float largest = 0;
  const auto take = [&](float v) {
    if (!(v <= largest) && !std::isnan(largest)) largest = v;
  };
  if (!quads) {
    for (int64_t i = 0; i < k; ++i) take(std::abs(w[i]));
    return largest;
  }
  for_quads(k, [&](const int64_t* at, int count) {
    float positive = 0, negative = 0;
    for (int i = 0; i < count; ++i) (w[at[i]] < 0 ? negative : positive) += std::abs(w[at[i]]);
    take(positive);
    take(negative);
  });
  return largest;
}

// Rounding may add up to 2 to the r of one sign: those that it moved most go back.
void keep_within(const float* w, float inverse, int sign, const int64_t* at, int count, int8_t* r) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += std::max(0, sign * r[at[i]]);
  for (; sum > kMostOfQuad; --sum) {
    int64_t moved = at[0];
    float furthest = -1;
    for (int i = 0; i < count; ++i) {
      const auto added = static_cast<float>(sign) * (static_cast<float>(r[at[i]]) - w[at[i]] * inverse);
      if (sign * r[at[i]] <= 0 || added <= furthest) continue;
      furthest = added;
      moved = at[i];
    }
    r[moved] = static_cast<int8_t>(r[moved] - sign);
  }
}

// The largest step of which every w is a multiple, `most_steps` at most: that of weights that were rounded before. 0: none.
float step_of(const float* w, int64_t k, float largest, float most_steps) {
  constexpr float kNear = 1e-3f;
  float least = largest;
  for (int64_t i = 0; i < k; ++i)
    if (w[i] != 0) least = std::min(least, std::abs(w[i]));
  for (float parts = 1;; ++parts) {  // that the least one is made of
    const float most = std::nearbyint(parts * largest / least);
    if (!(most <= most_steps)) return 0;
    const float inverse = most / largest;
    const auto is_multiple = [&](float v) { return std::abs(v * inverse - std::nearbyint(v * inverse)) <= kNear; };
    if (std::all_of(w, w + k, is_multiple)) return largest / most;
  }
}

}  // namespace

float quantize_column(const float* w, int64_t k, bool quads, int8_t* r) {
  const float largest = largest_of(w, k, quads), most = quads ? kMostOfQuad : 127;
  const bool regular = largest >= FLT_MIN && largest <= FLT_MAX;
  float step = largest / most, inverse = regular ? most / largest : 0.0f;
  if (const float given = regular && !quads ? step_of(w, k, largest, 127) : 0; given > 0) {
    step = given;
    inverse = 1.0f / given;
  }
  for (int64_t i = 0; i < k; ++i)
    r[i] = static_cast<int8_t>(
        std::clamp(static_cast<int32_t>(std::nearbyint(inverse == 0 ? 0 : w[i] * inverse)), -127, 127));
  if (quads)
    for_quads(k, [&](const int64_t* at, int count) {
      for (const int sign : {1, -1}) keep_within(w, inverse, sign, at, count, r);
    });
  return step;
}

bool has_8_bits(const float* w, int64_t k) {
  const float largest = largest_of(w, k, false);
  return largest == 0 || (largest >= FLT_MIN && largest <= FLT_MAX && step_of(w, k, largest, 255) > 0);
}

}  // namespace tenon::ops
