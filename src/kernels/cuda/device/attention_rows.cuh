// The arithmetic of attention for the rows of a warpgroup (wgmma, sm_90a): scores, softmax block by block of keys,
// weighted values. Queries and probabilities stay in registers; keys and values lie in shared memory as TMA writes them.
#pragma once

#include "softmax.cuh"
#include "wgmma_registers.cuh"

// 64 query rows of heads of kDim columns, against blocks of kKeys keys; this thread's are `lane / 4` and 8 further of its warp's 16.
//
// Probabilities are measured against a reference that lags behind the greatest score: it is raised only by scores that
// exceed it by a factor of 2^8, which neither overflows nor loses precision. So a block's probabilities need no greatest
// score: whether one of them is that large is seen from them.
template <class T, int kDim, int kKeys>
struct AttentionRows {
  static constexpr int kRowBytes = kDim % 64 == 0 ? 128 : 64;  // of a panel of keys or values
  static constexpr int kPanelBytes = kKeys * kRowBytes;
  using Operand = WgmmaRows<kRowBytes>;  // a block's keys or values
  static constexpr float kMost = 256;  // a probability, before a reference rises

  uint32_t q[kDim / 16][4];
  float y[kDim / 2];
  float reference[2], sum[2];
  float unit;  // scores times this are in units of log 2

  TENON_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) y[i] = 0;
    sum[0] = sum[1] = 0;
  }

  // Begins the product with a block of keys.
  TENON_DEVICE void multiply_keys(float (&scores)[kKeys / 2], const Operand& keys) {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      const int bytes = k * 32 / kRowBytes * kPanelBytes + k * 32 % kRowBytes;
      WgmmaRegisters<T, kKeys, false>::multiply(scores, q[k], (keys + bytes).descriptor(), k > 0);
    }
    wgmma_commit();
  }

  // Begins to add the values of a block, weighted with its probabilities.
  TENON_DEVICE void add_values(const uint32_t (&p)[kKeys / 16][4], const Operand& values) {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      WgmmaRegisters<T, kDim, true>::multiply(y, p[k], (values + k * 16 * kRowBytes).descriptor(), true);
    }
    wgmma_commit();
  }

  // A block's probabilities and their sums.
  struct Block {
    float p[kKeys / 2];
    float sum[2];
  };

  // Of the first block of keys that a sequence's rows meet.
  TENON_DEVICE void absorb_first(const float (&scores)[kKeys / 2], Block& block) {
    own_greatest(scores, reference);
    share_greatest(reference, 1);
    share_greatest(reference, 2);
    measure(scores, block);
    sum[0] = sum[1] = 0;
    absorb(block);
  }

  // Of a further block, against the references as they are. Whether one of this thread's probabilities is so large that
  // a reference must rise before the block is absorbed.
  TENON_DEVICE bool measure(const float (&scores)[kKeys / 2], Block& block) const {
    const float references[2] = {reference[0] * unit, reference[1] * unit};
    float sums[4] = {};
    uint32_t greatest = 0;  // positive numbers are ordered as their bits
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) {
      block.p[i] = exp2_approx(fmaf(scores[i], unit, -references[i / 2 % 2]));
      sums[i / 2 % 4] += block.p[i];
      greatest = max(greatest, __float_as_uint(block.p[i]));
    }
    block.sum[0] = sums[0] + sums[2];
    block.sum[1] = sums[1] + sums[3];
    return greatest > __float_as_uint(kMost);
  }
  // The values of the blocks before must be added. Rows that stay below keep their reference, and every bit.
  TENON_DEVICE void raise(const float (&scores)[kKeys / 2], Block& block) {
    float greatest[2];
    own_greatest(scores, greatest);
    share_greatest(greatest, 1);
    share_greatest(greatest, 2);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (exp2_approx(fmaf(greatest[half], unit, -(reference[half] * unit))) > kMost) raise(half, greatest[half]);
    }
    measure(scores, block);
  }
  TENON_DEVICE void absorb(const Block& block) {
    sum[0] += block.sum[0];
    sum[1] += block.sum[1];
  }

  // As fragments for add_values.
  TENON_DEVICE static void round(const Block& block, uint32_t (&fragments)[kKeys / 16][4]) {
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) fragments[i / 4][i % 4] = pack<T>(block.p[2 * i], block.p[2 * i + 1]);
  }

  // The rows' results, rounded, for matrix stores: 16 columns in each entry.
  TENON_DEVICE void results(uint32_t (&m)[kDim / 16][4]) const {
    const float factor[2] = {normalizer(0), normalizer(1)};
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = 8 * k + i / 2 * 4 + i % 2 * 2;
        m[k][i] = pack<T>(y[at] * factor[i % 2], y[at + 1] * factor[i % 2]);
      }
    }
  }

 private:
  // 0 without a key, so that such rows become zeros.
  TENON_DEVICE float normalizer(int half) const {
    const float total = quad_sum(sum[half]);
    return total == 0.0f ? 0.0f : reciprocal_approx(total);
  }
  TENON_DEVICE static void own_greatest(const float (&scores)[kKeys / 2], float (&greatest)[2]) {
    float parts[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) parts[i] = fmaxf(scores[2 * i], scores[2 * i + 1]);
#pragma unroll
    for (int i = 4; i < kKeys / 4; ++i) parts[i % 4] = fmaxf(parts[i % 4], fmaxf(scores[2 * i], scores[2 * i + 1]));
    greatest[0] = fmaxf(parts[0], parts[2]);
    greatest[1] = fmaxf(parts[1], parts[3]);
  }
  // With the lane `step` away. After steps 1 and 2 the quad agrees.
  TENON_DEVICE static void share_greatest(float (&greatest)[2], int step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      greatest[half] = fmaxf(greatest[half], __shfl_xor_sync(0xffffffffu, greatest[half], step));
    }
  }

  TENON_DEVICE void raise(int half, float greatest) {
    const float factor = exp2_approx((reference[half] - greatest) * unit);
    reference[half] = greatest;
    sum[half] *= factor;
#pragma unroll
    for (int i = 2 * half; i < kDim / 2; i += 4) {
      y[i] *= factor;
      y[i + 1] *= factor;
    }
  }
};
