// What `linear_norm` keeps of a row beside the row itself.
#pragma once

#include <cstdint>

namespace tenon::ops {

// Columns that one pair of moments (mean, sum of squared differences from it) describes.
inline constexpr int64_t kMomentsPanel = 64;

}  // namespace tenon::ops
