// y = a b in batches on every GPU with tensor cores for 16 bits and tf32 (sm_80), and linear as far as its own kernels
// leave it: a [..., M, K], b [..., K, N] as they lie in memory, of sizes that are known when run, whatever they are.
//
// A block computes one tile of one product. Chunks of 128 bytes of a's rows, and the rows of b that belong to them, go
// through a ring of stages in shared memory, filled by asynchronous copies two chunks ahead: 16 bytes at once where rows
// begin at multiples of that, else 4; pairs of 16 bits that stand at odd places are copied one by one.
//
// Macros: ELEMENT, TERMS (factors.cuh), ACTIVATION, HAS_BIAS, HAS_RESIDUAL.
#include "divide.cuh"
#include "factors.cuh"
#include "pdl.cuh"
#include "registers.cuh"
#include "tma.cuh"

using T = ELEMENT;

namespace {

constexpr int kTile = 64, kWarpsM = 2, kWarpsN = 2, kThreads = 32 * kWarpsM * kWarpsN, kStages = 3;
constexpr int kChunk = 128 / sizeof(T);                          // of K
constexpr int kWarpM = kTile / kWarpsM, kWarpN = kTile / kWarpsN;  // a warp's part of the tile
constexpr int kMBlocks = kWarpM / 16, kNBlocks = kWarpN / 8;
constexpr bool kWide = sizeof(T) == 4;
// Rows of b: 128 bytes swizzled, or 64 floats 72 apart, so that four rows of eight neighbours meet all banks.
constexpr int kBPitch = kWide ? 72 * 4 : 128;
constexpr uint32_t kABytes = kTile * 128, kStageBytes = kABytes + kChunk * kBPitch;
static_assert(kStages * kStageBytes + 1024 <= MatmulArgs::kSharedBytes);

using TileFactors = Factors<T, TERMS>;
using Accumulators = float[kMBlocks][kNBlocks][4];

TENON_DEVICE uint32_t a_offset(int row, int byte) { return swizzle_128b(row, byte); }
TENON_DEVICE uint32_t b_offset(int row, int byte) {
  return kWide ? row * kBPitch + byte : swizzle_128b(row, byte);
}

// kBytes of shared memory, zeros when `valid` is false.
template <int kBytes>
TENON_DEVICE void copy_unit(uint32_t to, const T* from, bool valid) {
  if constexpr (kBytes == 16) {
    copy_async(to, from, valid);
  } else if constexpr (kBytes == 4) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(valid ? 4 : 0) : "memory");
  } else {
    const uint16_t bits = valid ? *reinterpret_cast<const uint16_t*>(from) : uint16_t{0};
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(to), "h"(bits) : "memory");
  }
}

// kRows rows of kRowBytes, of which `rows` and `columns` (elements) exist; they lie `stride` elements apart.
template <int kRows, int kRowBytes, int kUnit, class Offset>
TENON_DEVICE void copy_units(uint32_t to, const T* from, int64_t stride, int rows, int columns, Offset offset) {
  constexpr int kUnits = kRowBytes / kUnit, kElements = kUnit / sizeof(T);
#pragma unroll 4
  for (int i = thread_here(); i < kRows * kUnits; i += kThreads) {
    const int row = i / kUnits, unit = i % kUnits;
    const bool valid = row < rows && unit * kElements < columns;
    copy_unit<kUnit>(to + offset(row, unit * kUnit), valid ? from + row * stride + unit * kElements : from, valid);
  }
}

template <int kRows, int kRowBytes, class Offset>
TENON_DEVICE void copy_tile(int unit, uint32_t to, const T* from, int64_t stride, int rows, int columns, Offset offset) {
  if (unit == 16)
    copy_units<kRows, kRowBytes, 16>(to, from, stride, rows, columns, offset);
  else if (kWide || unit == 4)
    copy_units<kRows, kRowBytes, 4>(to, from, stride, rows, columns, offset);
  else
    copy_units<kRows, kRowBytes, sizeof(T)>(to, from, stride, rows, columns, offset);
}

// b's factors of two blocks of eight columns, from column `n` on, each in two halves of the k that 32 bytes of a hold.
template <class F>
TENON_DEVICE void load_b(F& b, uint32_t stage, int k, int n) {
  const int lane = threadIdx.x % 32;
  if constexpr (kWide) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t address = stage + b_offset(k + i % 2 * 4 + lane % 4, (n + i / 2 * 8 + lane / 4) * 4);
      asm volatile("ld.shared.b32 %0, [%1];" : "=r"(b.bits[0][i]) : "r"(address) : "memory");
    }
    b.split();
  } else {
    load_matrices_transposed(b.bits, stage + b_offset(k + lane / 8 % 2 * 8 + lane % 8, (n + lane / 16 * 8) * 2));
  }
}

// One chunk of this warp's part.
TENON_DEVICE void multiply_chunk(uint32_t a_stage, uint32_t b_stage, int warp_row, int warp_column, Accumulators& sums) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < 128; k += 32) {  // bytes of a's rows
    TileFactors a[kMBlocks];
#pragma unroll
    for (int i = 0; i < kMBlocks; ++i) a[i].load(a_stage + a_offset(warp_row + i * 16 + lane % 16, k + lane / 16 * 16));
#pragma unroll
    for (int j = 0; j < kNBlocks; j += 2) {
      TileFactors b;
      load_b(b, b_stage, k / static_cast<int>(sizeof(T)), warp_column + j * 8);
#pragma unroll
      for (int i = 0; i < kMBlocks; ++i) {
        TileFactors::multiply(sums[i][j], a[i], b, 0);
        TileFactors::multiply(sums[i][j + 1], a[i], b, 2);
      }
    }
  }
}

// A pair at `at` of y, of which the second may not exist.
TENON_DEVICE void finish_pair(const MatmulArgs& args, T* y, int64_t at, int column, float2 v, bool both) {
  const auto each = [](const void* from, int64_t i, bool exists) {
    return exists ? to_float(static_cast<const T*>(from)[i]) : 0.f;
  };
  if (HAS_BIAS) v = {v.x + each(args.bias, column, true), v.y + each(args.bias, column + 1, both)};
  v = {activated<T, ACTIVATION>(v.x), activated<T, ACTIVATION>(v.y)};
  if (HAS_RESIDUAL) v = {v.x + each(args.residual, at, true), v.y + each(args.residual, at + 1, both)};
  if (args.pairs) {
    Pair<T>::store(y + at, v, both);
  } else {
    y[at] = from_float<T>(v.x);
    if (both) y[at + 1] = from_float<T>(v.y);
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 4) matmul(const __grid_constant__ MatmulArgs args) {
  extern __shared__ unsigned char memory[];
  const uint32_t stages = (shared_address(memory) + 1023) & ~1023u;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row_tiles = (args.m + kTile - 1) / kTile, column_tiles = (args.n + kTile - 1) / kTile;
  const int tile = blockIdx.x % (row_tiles * column_tiles), batch = blockIdx.x / (row_tiles * column_tiles);
  const int row = tile / column_tiles * kTile, column = tile % column_tiles * kTile;
  const int warp_row = warp / kWarpsN * kWarpM, warp_column = warp % kWarpsN * kWarpN;
  const T *a = static_cast<const T*>(args.a) + static_cast<int64_t>(row) * args.k,
          *b = static_cast<const T*>(args.b) + column;
  unsigned rest = batch;
  for (int axis = args.rank - 1; axis >= 0; --axis) {
    const unsigned outer = quotient(rest, args.sizes[axis]), i = rest - outer * args.sizes[axis].value;
    a += i * args.a_strides[axis];
    b += i * args.b_strides[axis];
    rest = outer;
  }
  const int chunks = (args.k + kChunk - 1) / kChunk;
  allow_next_kernel();
  wait_for_previous_kernels();
  Accumulators sums = {};
  add_chunks<TileFactors, kStages>(
      chunks, sums,
      [&](int chunk, int stage) {
        const int k = chunk * kChunk;
        const uint32_t to = stages + stage * kStageBytes;
        copy_tile<kTile, 128>(args.a_unit, to, a + k, args.k, args.m - row, args.k - k, a_offset);
        copy_tile<kChunk, kTile * sizeof(T)>(args.b_unit, to + kABytes, b + static_cast<int64_t>(k) * args.n, args.n,
                                             args.k - k, args.n - column, b_offset);
      },
      [&](int stage, Accumulators& part) {
        const uint32_t from = stages + stage * kStageBytes;
        multiply_chunk(from, from + kABytes, warp_row, warp_column, part);
      });
  T* y = static_cast<T*>(args.y) + static_cast<int64_t>(batch) * args.m * args.n;
#pragma unroll
  for (int i = 0; i < kMBlocks; ++i) {
    const int r = row + warp_row + i * 16 + lane / 4;
#pragma unroll
    for (int j = 0; j < kNBlocks; ++j) {
      const int c = column + warp_column + j * 8 + lane % 4 * 2;
      if (c >= args.n) continue;
      const int64_t at = static_cast<int64_t>(r) * args.n + c;
      const bool both = c + 1 < args.n;
      if (r < args.m) finish_pair(args, y, at, c, {sums[i][j][0], sums[i][j][1]}, both);
      if (r + 8 < args.m) finish_pair(args, y, at + 8ll * args.n, c, {sums[i][j][2], sums[i][j][3]}, both);
    }
  }
}
