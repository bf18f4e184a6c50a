// Factors of products by mma.sync in registers, of 16 bits or of f32, and what follows for the sums of a warp's part of a
// tile.
//
// f32 is multiplied as tf32 (one term), or as the sums of two tf32 numbers: three products then keep all but the last
// bits of f32, if the sums of chunks are added outside of the tensor cores, which cut instead of rounding (Ootomo and
// Yokota, "Recovering single precision accuracy from Tensor Cores", 2022).
#pragma once

#include "activation.cuh"
#include "matrix.cuh"
#include "row.cuh"

// Four registers of factors, ready to be multiplied: 16-bit elements in pairs, or f32 in kTerms terms of tf32.
template <class T, int kTerms>
struct Factors {
  static constexpr bool kSumsByChunk = false;
  uint32_t bits[4];

  TENON_DEVICE void load(uint32_t address) { load_matrices(bits, address); }
  // b's registers are `first` and the next.
  TENON_DEVICE static void multiply(float (&sums)[4], const Factors& a, const Factors& b, int first) {
    multiply_16x8x16<T>(sums, a.bits, b.bits[first], b.bits[first + 1]);
  }
};
template <int kTerms>
struct Factors<f32, kTerms> {
  static constexpr bool kSumsByChunk = kTerms > 1;
  uint32_t bits[kTerms][4];

  TENON_DEVICE void load(uint32_t address) {
    load_matrices(bits[0], address);
    split();
  }
  // bits[0] are f32.
  TENON_DEVICE void split() {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float rest = __uint_as_float(bits[0][i]);
#pragma unroll
      for (int t = 0; t < kTerms; ++t) {
        bits[t][i] = round_to_tf32(__float_as_uint(rest));
        rest -= __uint_as_float(bits[t][i]);
      }
    }
  }
  // The small products first; that of the two smallest is below the last bits.
  TENON_DEVICE static void multiply(float (&sums)[4], const Factors& a, const Factors& b, int first) {
#pragma unroll
    for (int t = kTerms - 1; t > 0; --t) {
      multiply_16x8x8_tf32(sums, a.bits[t], b.bits[0][first], b.bits[0][first + 1]);
      multiply_16x8x8_tf32(sums, a.bits[0], b.bits[t][first], b.bits[t][first + 1]);
    }
    multiply_16x8x8_tf32(sums, a.bits[0], b.bits[0][first], b.bits[0][first + 1]);
  }
};

template <int kM, int kN>
TENON_DEVICE void add(float (&sums)[kM][kN][4], const float (&part)[kM][kN][4]) {
#pragma unroll
  for (int i = 0; i < kM; ++i)
#pragma unroll
    for (int j = 0; j < kN; ++j)
#pragma unroll
      for (int q = 0; q < 4; ++q) sums[i][j][q] += part[i][j][q];
}

// Adds products of `chunks` chunks of K, which go through a ring of kStages stages in shared memory: fetch(chunk, stage)
// begins the asynchronous copies of one, multiply(stage, sums) adds its products when they are there for all threads.
template <class TileFactors, int kStages, int kM, int kN, class Fetch, class Multiply>
TENON_DEVICE void add_chunks(int chunks, float (&sums)[kM][kN][4], Fetch fetch, Multiply multiply) {
  const auto begin = [&](int chunk) {
    if (chunk < chunks) fetch(chunk, chunk % kStages);
    copy_async_commit();  // also when empty: the waits count groups
  };
  for (int i = 0; i < kStages - 1; ++i) begin(i);
#pragma unroll 1
  for (int k = 0; k < chunks; ++k) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // chunk k is there for all; all are done with chunk k - 1, whose stage is filled next
    begin(k + kStages - 1);
    if constexpr (TileFactors::kSumsByChunk) {
      float part[kM][kN][4] = {};
      multiply(k % kStages, part);
      add(sums, part);
    } else {
      multiply(k % kStages, sums);
    }
  }
}

// Two neighbours of a row. Of 16 bits: at an even place; of 32: the second may lie behind the last column.
template <class T>
struct Pair {
  TENON_DEVICE static float2 load(const T* from, bool) { return unpack<T>(*reinterpret_cast<const uint32_t*>(from)); }
  TENON_DEVICE static void store(T* to, float2 v, bool) { *reinterpret_cast<uint32_t*>(to) = pack<T>(v.x, v.y); }
};
template <>
struct Pair<f32> {
  TENON_DEVICE static float2 load(const f32* from, bool both) { return {from[0], both ? from[1] : 0.f}; }
  TENON_DEVICE static void store(f32* to, float2 v, bool both) {
    to[0] = v.x;
    if (both) to[1] = v.y;
  }
};

// As exactly as results of type T need it.
template <class T, int kActivation>
TENON_DEVICE float activated(float x) {
  return sizeof(T) == 4 ? activate_exactly<kActivation>(x) : activate<kActivation>(x);
}
