#include "ops/token_mask.h"

#include <numeric>

namespace tenon::ops {
namespace {

Result<std::vector<uint8_t>> read_zeros_and_ones(const TensorArg& mask) {
  std::vector<uint8_t> visible(static_cast<size_t>(mask.numel()));
  // A bool is read as its byte: other bytes than 0 and 1 are the caller's mistake, too.
  const DType dtype = mask.dtype == DType::kBool ? DType::kU8 : mask.dtype;
  return visit_dtype(dtype, [&]<class T>() -> Result<std::vector<uint8_t>> {
    const T* values = mask.as<const T>();
    for (size_t i = 0; i < visible.size(); ++i) {
      const double v = convert<double>(values[i]);
      if (v != 0 && v != 1) {
        const auto flat = static_cast<int64_t>(i);
        return error(ErrorCode::kBadInput, "the attention mask is {} at row {}, column {}: it must be 0 or 1", v,
                     flat / mask.dim(1), flat % mask.dim(1));
      }
      visible[i] = v == 1 ? 1 : 0;
    }
    return std::move(visible);
  });
}

}  // namespace

int64_t TokenMask::rows(int64_t b) const {
  const auto first = visible.begin() + b * seq;
  int64_t count = std::accumulate(first, first + seq, int64_t{0});
  for (const int64_t s : kept_sorted) count += is_visible(b, s) ? 0 : 1;
  return count;
}

Result<TokenMask> read_token_mask(const TensorArg& mask, std::span<const int64_t> keep_positions) {
  TokenMask result;
  result.batch = mask.dim(0);
  result.seq = mask.dim(1);
  TENON_ASSIGN(result.visible, read_zeros_and_ones(mask));
  for (const int64_t p : keep_positions) {
    if (p < -result.seq || p >= result.seq) {
      return error(ErrorCode::kBadInput, "the model reads position {}, but sequences are {} long", p, result.seq);
    }
    result.kept.push_back(p < 0 ? p + result.seq : p);
  }
  result.kept_sorted = result.kept;
  std::sort(result.kept_sorted.begin(), result.kept_sorted.end());
  result.kept_sorted.erase(std::unique(result.kept_sorted.begin(), result.kept_sorted.end()), result.kept_sorted.end());
  return result;
}

}  // namespace tenon::ops
