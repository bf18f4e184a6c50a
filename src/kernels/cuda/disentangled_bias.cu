// What the scores of attention gain by the places of query and key (DeBERTa): for every pair of rows that meet
// y[b, h, i, j] = scale (q_i . q_table[q_index[i, j]] + k_j . k_table[k_index[i, j]]), for any GPU from sm_80 on.
//
// A block takes 64 queries of one head of one sequence, and every k_parts-th block of 64 keys. The rows of a table that
// such a square picks lie near each other: 127 neighbours where they follow the distance. So the products of the 64
// rows with 128 neighbours of the table (in f32 64) go through shared memory, where each thread picks its own; once
// more while some are left.
//
// Macros: ELEMENT, HEAD_DIM (a multiple of 16 bytes), TERMS (factors.cuh).
#include "disentangled_bias_args.cuh"
#include "factors.cuh"
#include "mbarrier.cuh"
#include "pdl.cuh"

using T = ELEMENT;
using Args = DisentangledBiasArgs;

namespace {

constexpr int kThreads = 256, kTile = 64;
constexpr int kWindow = sizeof(T) == 4 ? 64 : 128;  // rows of a table at once: there is room for so many
constexpr int kRowBytes = (HEAD_DIM * sizeof(T) + 31) / 32 * 32, kUnits = kRowBytes / 16;  // filled up with zeros
constexpr int kPitch = kRowBytes + (kUnits % 2 == 0 ? 16 : 0);  // an odd number of 16 bytes: eight rows meet all banks
constexpr int kProductPitch = kWindow + 4;                      // floats
constexpr int kWarps = kThreads / 32, kRowsOfWarp = kTile / kWarps, kColumns = kTile / 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// Shared memory; the launcher asks for as much (disentangled_bias.cc).
struct Shared {
  alignas(16) unsigned char q[kTile * kPitch], k[kTile * kPitch], tables[2][kWindow * kPitch];
  float products[kTile][kProductPitch];
  int q_positions[kTile], k_positions[kTile];
  int4 ranges[kWarps];
};

// Rows [first, end), at most `count`, of one head; zeros behind them.
TENON_DEVICE void copy_rows(unsigned char* to, const void* from, int64_t stride, int first, int end, int count) {
  const uint32_t address = shared_address(to);
  for (int i = static_cast<int>(threadIdx.x); i < count * kUnits; i += kThreads) {
    const int row = i / kUnits, unit = i % kUnits;
    const bool valid = first + row < end;
    const bool inside = kRowBytes == HEAD_DIM * sizeof(T) || unit * 16 < HEAD_DIM * static_cast<int>(sizeof(T));
    const T* source = static_cast<const T*>(from) + (valid ? first + row : 0) * stride;
    copy_async(address + row * kPitch + unit * 16, source + unit * (16 / sizeof(T)), valid && inside);
  }
}

// Of the tile's rows; -1 for those behind `end`, and for what is no place.
TENON_DEVICE void read_positions(int (&to)[kTile], const int* positions, int first, int begin, int end, int length) {
  const int row = first + static_cast<int>(threadIdx.x);
  if (threadIdx.x >= kTile) return;
  const int position = row >= end ? -1 : positions != nullptr ? positions[row] : row - begin;
  to[threadIdx.x] = position < length ? position : -1;
}

// The places of this thread's elements of the square: rows warp * 8 .., columns lane and lane + 32.
template <class Each>
TENON_DEVICE void for_each_element(Each each) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i)
#pragma unroll
    for (int j = 0; j < kColumns; ++j) each(i, j, warp * kRowsOfWarp + i, lane + j * 32);
}

using Picks = int[kRowsOfWarp][kColumns];

// The rows of the table that this thread's elements pick; -1 where no rows meet. Loads without branches go out
// together.
TENON_DEVICE void read_picks(const Shared& s, const Args::Side& side, int k_len, Picks& picks) {
  if (side.table == nullptr) return;
  for_each_element([&](int r, int c, int i, int j) {
    const int q = s.q_positions[i], k = s.k_positions[j];
    const int row = side.index[static_cast<int64_t>(max(q, 0)) * k_len + max(k, 0)];
    picks[r][c] = q < 0 || k < 0 ? -1 : row;
  });
}

// The first and the last row of each table that a thread of the block picks.
struct Ranges {
  int2 q, k;
};
TENON_DEVICE void widen(int2& range, int2 other) { range = {min(range.x, other.x), max(range.y, other.y)}; }
TENON_DEVICE int2 range_of(const Picks& picks, const Args::Side& side) {
  int2 range{side.table_rows, -1};
  if (side.table == nullptr) return range;
  for_each_element([&](int r, int c, int, int) {
    const int row = picks[r][c];
    if (row >= 0) widen(range, {row, row});
  });
  return range;
}
TENON_DEVICE Ranges ranges_of_block(Shared& s, Ranges ranges, const Args& args) {
  const auto exchanged = [](int2 v, int step) {
    return int2{__shfl_xor_sync(kAllLanes, v.x, step), __shfl_xor_sync(kAllLanes, v.y, step)};
  };
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    widen(ranges.q, exchanged(ranges.q, step));
    widen(ranges.k, exchanged(ranges.k, step));
  }
  if (threadIdx.x % 32 == 0) s.ranges[threadIdx.x / 32] = {ranges.q.x, ranges.q.y, ranges.k.x, ranges.k.y};
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const int4 of_warp = s.ranges[w];
    widen(ranges.q, {of_warp.x, of_warp.y});
    widen(ranges.k, {of_warp.z, of_warp.w});
  }
  ranges.q.y = min(ranges.q.y, args.q.table_rows - 1);
  ranges.k.y = min(ranges.k.y, args.k.table_rows - 1);
  return ranges;
}

// Products of the tile's rows with those of the window: a warp has 16 rows and half of the window.
TENON_DEVICE void multiply(Shared& s, const unsigned char* rows, const unsigned char* table) {
  using TileFactors = Factors<T, TERMS>;
  constexpr int kColumnsOfWarp = kWindow * kTile / 16 / kWarps;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x % 32);
  const int row = warp % (kTile / 16) * 16, column = warp / (kTile / 16) * kColumnsOfWarp;
  const uint32_t a_rows = shared_address(rows) + (row + lane % 16) * kPitch + lane / 16 * 16;
  const uint32_t b_rows = shared_address(table) + (column + lane / 16 * 8 + lane % 8) * kPitch + lane / 8 % 2 * 16;
  float sums[kColumnsOfWarp / 8][4] = {};
#pragma unroll
  for (int k = 0; k < kRowBytes; k += 32) {
    TileFactors a;
    a.load(a_rows + k);
#pragma unroll
    for (int n = 0; n < kColumnsOfWarp / 8; n += 2) {
      TileFactors b;
      b.load(b_rows + n * 8 * kPitch + k);
      TileFactors::multiply(sums[n], a, b, 0);
      TileFactors::multiply(sums[n + 1], a, b, 2);
    }
  }
#pragma unroll
  for (int n = 0; n < kColumnsOfWarp / 8; ++n) {
    float* to = &s.products[row + lane / 4][column + n * 8 + lane % 4 * 2];
    *reinterpret_cast<float2*>(to) = {sums[n][0], sums[n][1]};
    *reinterpret_cast<float2*>(to + 8 * kProductPitch) = {sums[n][2], sums[n][3]};
  }
}

using Square = float[kRowsOfWarp][kColumns];

// Begins to copy the window of a table that begins at row `first`.
TENON_DEVICE void copy_window(unsigned char* to, const Args& args, const Args::Side& side, int head, int first) {
  copy_rows(to, static_cast<const T*>(side.table) + head * HEAD_DIM, static_cast<int64_t>(args.heads) * HEAD_DIM, first,
            side.table_rows, kWindow);
}

// Adds to the square what it picks of the window that begins at row `first`, which is there.
template <bool kByKey>
TENON_DEVICE void add_window(Shared& s, const Picks& picks, int first, Square& square) {
  multiply(s, kByKey ? s.k : s.q, s.tables[kByKey]);
  __syncthreads();
  for_each_element([&](int r, int c, int i, int j) {
    const int at = picks[r][c] - first;
    if (picks[r][c] >= 0 && at >= 0 && at < kWindow) square[r][c] += s.products[kByKey ? j : i][at];
  });
  __syncthreads();
}

// The sums of a square whose rows are there, or on their way.
TENON_DEVICE void add_square(Shared& s, const Args& args, int head, Square& square) {
  Picks of_q, of_k;
  read_picks(s, args.q, args.k_len, of_q);
  read_picks(s, args.k, args.k_len, of_k);
  const Ranges ranges = ranges_of_block(s, {range_of(of_q, args.q), range_of(of_k, args.k)}, args);
#pragma unroll 1
  for (int skipped = 0;; skipped += kWindow) {
    const int q = ranges.q.x + skipped, k = ranges.k.x + skipped;
    if (q > ranges.q.y && k > ranges.k.y) break;
    if (q <= ranges.q.y) copy_window(s.tables[0], args, args.q, head, q);
    if (k <= ranges.k.y) copy_window(s.tables[1], args, args.k, head, k);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    if (q <= ranges.q.y) add_window<false>(s, of_q, q, square);
    if (k <= ranges.k.y) add_window<true>(s, of_k, k, square);
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 2 : 1)
    disentangled_bias(const __grid_constant__ Args args) {
  extern __shared__ __align__(16) unsigned char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  allow_next_kernel();
  wait_for_previous_kernels();
  int rest = static_cast<int>(blockIdx.x);
  const auto take = [&](int count) {
    const int i = rest % count;
    rest /= count;
    return i;
  };
  const int part = take(args.k_parts), tile = take(args.q_tiles), head = take(args.heads), sequence = rest;
  const bool packed = args.q_offsets != nullptr;
  const int q_begin = packed ? args.q_offsets[sequence] : sequence * args.q_len;
  const int q_end = packed ? args.q_offsets[sequence + 1] : q_begin + args.q_len;
  const int k_begin = packed ? args.k_begin[sequence] : sequence * args.k_len;
  const int k_end = packed ? args.k_end[sequence] : k_begin + args.k_len;
  T* y = static_cast<T*>(args.y) + (static_cast<int64_t>(sequence) * args.heads + head) * args.q_len * args.k_len;
  for (int q = q_begin + tile * kTile; q < q_end; q += args.q_tiles * kTile) {
    copy_rows(s.q, static_cast<const T*>(args.q.rows) + head * HEAD_DIM, args.q.stride, q, q_end, kTile);
    read_positions(s.q_positions, args.q.positions, q, q_begin, q_end, args.q_len);
    for (int k = k_begin + part * kTile; k < k_end; k += args.k_parts * kTile) {
      copy_rows(s.k, static_cast<const T*>(args.k.rows) + head * HEAD_DIM, args.k.stride, k, k_end, kTile);
      read_positions(s.k_positions, args.k.positions, k, k_begin, k_end, args.k_len);
      copy_async_commit();
      __syncthreads();
      Square square = {};
      add_square(s, args, head, square);
      for_each_element([&](int r, int c, int i, int j) {
        const int to_q = s.q_positions[i], to_k = s.k_positions[j];
        if (to_q >= 0 && to_k >= 0)
          y[static_cast<int64_t>(to_q) * args.k_len + to_k] = from_float<T>(square[r][c] * args.scale);
      });
      __syncthreads();  // the square has been read
    }
  }
}
