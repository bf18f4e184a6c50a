// Reading padding masks: what count_tokens and pack_tokens, and the kernels that follow them, agree on.
#pragma once

#include "ops/support.h"

namespace tenon::ops {

// A padding mask [batch, seq] with the positions that stay as rows even where it hides them.
struct TokenMask {
  int64_t batch = 0, seq = 0;
  std::vector<uint8_t> visible;     // [batch * seq], 1 where the mask is 1
  std::vector<int64_t> kept;        // keep_positions as given, in [0, seq)
  std::vector<int64_t> kept_sorted;  // the same, ascending, each once

  bool is_visible(int64_t b, int64_t s) const { return visible[static_cast<size_t>(b * seq + s)] != 0; }
  // Rows of sequence b: its visible positions and its kept ones.
  int64_t rows(int64_t b) const;
};

// `mask` is of any dtype. Errors: bad-input for a value other than 0 and 1, named by row and column, and for a kept position
// beyond the sequence.
Result<TokenMask> read_token_mask(const TensorArg& mask, std::span<const int64_t> keep_positions);

}  // namespace tenon::ops
