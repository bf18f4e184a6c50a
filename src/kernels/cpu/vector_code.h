// The vector code of one instruction set as a table of functions over plain memory. It is written once (*-inl.h, in
// Highway) and compiled once per instruction set (vector_code_<isa>.cc); everything that plans, splits and checks is
// ordinary C++ on this side of the table.
//
// Matrices are f32 where nothing else is said. "Packed" operands of a product are laid out for streaming:
//   A tile   [K][width]     width rows side by side, `width` >= the tile's rows
//   B panels [N/16][K][16]  16 columns side by side, missing columns zero
// Narrow factors come in groups of four bytes along K, two bf16 or 16-bit integers or four 8-bit ones:
//   A        [rows][groups]
//   B panels [N/16][groups][16], groups a multiple of kGroupStep, missing ones zero
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/isa.h"
#include "ops/activation.h"
#include "ops/quantize.h"

namespace tenon::kernels::cpu {

inline constexpr int kPanel = 16;      // columns of a packed panel, for every instruction set
inline constexpr int kGroupStep = 16;  // groups of one tile of AMX: 64 bytes of a row

using ops::Activation;

// Memory that is needed soon, to be brought into the second-level cache: so many bytes of each of so many panels.
// Tiles spread them over their steps, because fetches in a burst take the line buffers that the loads of b need.
struct Prefetch {
  const char* from = nullptr;
  int64_t bytes = 0;   // of a panel
  int panels = 0;      // 0 to 4
  int64_t stride = 0;  // bytes from one panel to the next
};

// So many bytes of each row of a tile, to be brought near before its sums are there.
struct RowsAhead {
  const std::byte* from = nullptr;  // null: nothing
  int64_t stride = 0;               // bytes from one row to the next
  int64_t bytes = 0;
};

inline constexpr int kPackWidth = 8;  // rows of packed A side by side, whatever a tile uses of them

// C[r, j] = (accumulate ? C[r, j] : 0) + sum_k A[k, r] * B[k, j], summed in the order of k with fused multiply-adds:
// the result of an element depends neither on the tile's shape nor on the element's place in it.
struct GemmTile {
  const float* a = nullptr;
  int64_t a_stride = 0;  // from one k to the next
  const float* b = nullptr;
  int64_t b_panel_stride = 0;
  float* c = nullptr;
  int64_t c_stride = 0;  // from one row to the next
  int64_t k = 0;
  int rows = 0;    // 1 … tile_rows
  int panels = 0;  // 1 … tile_panels; all panels * 16 columns of C are written
  bool accumulate = false;
  Prefetch prefetch = {};
};

// The same where the rows of A stand apart, in pieces of so many elements along k: element k of row r's piece p is
// rows[p * kGatherRows + r][k].
inline constexpr int kGatherRows = 8;
// What is done with the sums on the way: y = clamp(sums + bias) + residual, or clamp(sums + bias + residual).
struct Finish {
  bool present = false;
  const float* bias = nullptr;
  const float* residual = nullptr;
  int64_t residual_stride = 0;
  bool clamp_sum = false;
  float low = 0, high = 0;  // NaN stays NaN

  explicit operator bool() const { return present; }
  // Of the tile that begins at (row, column).
  Finish at(int64_t row, int64_t column) const {
    Finish f = *this;
    if (bias != nullptr) f.bias = bias + column;
    if (residual != nullptr) f.residual = residual + row * residual_stride + column;
    return f;
  }
};
inline constexpr int kGatherStep = 32;
struct TileShape {
  int rows = 0, panels = 0;
};
struct GatherTile {
  const float* const* rows = nullptr;
  int64_t pieces = 0;
  int64_t first = 0, length = 0;  // of every piece these elements are summed; more than one piece: all of it
  const float* b = nullptr;       // beginning with the first of them
  int64_t b_panel_stride = 0;
  float* c = nullptr;
  int64_t c_stride = 0;
  int rows_used = 0;  // 1 … rows of the shape
  int panels = 0;     // 1 … panels of the shape; all panels * 16 columns of C are written
  bool accumulate = false;
  Finish finish = {};
  Prefetch prefetch = {}, next_rows = {};
};

// Windows over images whose channels are rows, of kWindowPixels pixels side by side:
// y[i, c] = sum over taps of rows[tap * kWindowPixels + i][c] * factor, where the factor is filter[tap, c] (kFilter) or
// scale[i] (kSum); or their maximum, NaN where one is NaN (kMax).
inline constexpr int kWindowPixels = 4;
enum class WindowOp { kMax, kSum, kFilter };
struct WindowTile {
  const float* const* rows = nullptr;  // all kWindowPixels of them may be read
  int64_t taps = 0;                    // at least 1
  const float* filter = nullptr;
  const float* scale = nullptr;
  int64_t channels = 0;
  float* y = nullptr;
  int64_t y_stride = 0;
  int pixels = 0;  // that are written
};

// The transforms of kernels/cpu/winograd.h for tiles of so many outputs squared, of channels side by side.
// A tile has (outputs + 2)^2 points.
struct WinogradCode {
  int outputs = 0;
  // out[point * stride + c] of the pixels rows[point][c]; channels are filled up to a whole vector.
  void (*input)(const float* const* rows, int64_t channels, float* out, int64_t stride);
  // out[pixel * out_stride + c] of sums[point * stride + c]; channels is a multiple of 16.
  void (*output)(const float* sums, int64_t stride, int64_t channels, float* out, int64_t out_stride);
};

// C[r, j] = sum over groups of A[r, group] . B[group, j], in s32 for integers (exact), in f32 for bf16 (in an order
// that depends on neither r nor j).
struct DotTile {
  const std::byte* a = nullptr;
  int64_t a_stride = 0;  // bytes from one row to the next
  const std::byte* b = nullptr;
  int64_t b_panel_stride = 0;  // bytes
  void* c = nullptr;           // 4 bytes an element
  int64_t c_stride = 0;        // elements from one row to the next
  int64_t groups = 0;          // a multiple of kGroupStep
  int rows = 0;                // 1 … DotCode::rows
  int panels = 0;              // 1 … DotCode::panels
  Prefetch prefetch = {};
  Prefetch next_rows = {};  // rows of A; tiles of AMX alone take so many at once that it pays
  RowsAhead residual = {};  // what the epilogue reads
  RowsAhead y = {};         // and what it writes
};

// Products of narrow factors of one kind.
struct DotCode {
  void (*tile)(const DotTile&) = nullptr;  // null: the instruction set has none
  int rows = 0, panels = 0;                // most of a tile
  bool wide = false;                       // 8-bit factors are handed over as 16-bit ones
  // Called by a thread before its first and after its last tile; null: nothing to do.
  void (*begin)() = nullptr;
  void (*end)() = nullptr;
};

// What the sums of 8-bit products mean (ops/quantize.h). All null: the sums are f32 as they are.
struct Dequantize {
  const ops::RowScale* rows = nullptr;
  const float* column_steps = nullptr;
  const int32_t* column_sums = nullptr;  // of the weights
};

// y = activation(sums + bias) + residual, or activation(sums + bias + residual), over [rows, columns]. `bias` and
// `residual` may be null; y may be sums.
struct Epilogue {
  const void* bias = nullptr;
  const void* residual = nullptr;
  int64_t residual_stride = 0;  // elements
  Activation activation = Activation::kNone;
  bool activate_sum = false;  // the activation comes after the residual
  bool bf16 = false;          // y, bias and residual are bf16, else f32
  Dequantize dequantize = {};

  int64_t element() const { return bf16 ? 2 : 4; }  // bytes
  // Of the block of y that begins at (row, column).
  Epilogue at(int64_t row, int64_t column) const {
    const auto moved = [&](const void* p, int64_t by) {
      return p == nullptr ? nullptr : static_cast<const std::byte*>(p) + by * element();
    };
    Epilogue e = *this;
    e.bias = moved(bias, column);
    e.residual = moved(residual, row * residual_stride + column);
    if (dequantize.rows != nullptr)
      e.dequantize = {dequantize.rows + row, dequantize.column_steps + column, dequantize.column_sums + column};
    return e;
  }
};

// One block of keys for 16 * n queries: S^T [keys][width] of raw scores becomes P^T of weights, and the running
// statistics of each query move on. Lanes are independent.
struct SoftmaxBlock {
  float* scores = nullptr;
  int64_t keys = 0;
  int64_t width = 0;            // queries, a multiple of 16
  float scale = 0;              // applied to the scores
  float* maximum = nullptr;     // [width], so far; -inf before the first block
  float* sum = nullptr;         // [width], so far; 0 before the first block
  float* correction = nullptr;  // [width] out: what earlier weights must be multiplied by
};

// The same for queries in rows, where weights go on to a product of bf16: rows [rows][keys] of raw scores become
// weights in bf16, zeros from `keys` to `padded`. Sums are of the weights before they are rounded.
struct SoftmaxRows {
  const float* scores = nullptr;
  int64_t score_stride = 0;
  int64_t rows = 0, keys = 0;
  float scale = 0;
  float* maximum = nullptr;     // [rows], as above
  float* sum = nullptr;         // [rows]
  float* correction = nullptr;  // [rows]
  uint16_t* weights = nullptr;
  int64_t weight_stride = 0;
  int64_t padded = 0;  // a multiple of 16
};

// y[j] = (accumulate ? y[j] : 0) + factor * x[j * step + index[j] - first]
struct PickedRow {
  const float* x = nullptr;
  int64_t step = 0;
  const int32_t* index = nullptr;
  int32_t first = 0;
  int64_t count = 0;
  float factor = 0;
  bool accumulate = false;
  float* y = nullptr;
};

// y = (x + residual) normalised over a row of `columns`; null gamma, beta or residual: absent. y may be x or residual.
struct NormRow {
  const float* x = nullptr;
  const float* residual = nullptr;
  const float* gamma = nullptr;
  const float* beta = nullptr;
  float* y = nullptr;
  int64_t columns = 0;
  float epsilon = 0;
};

// Elementwise functions over blocks; operands that do not vary are filled out by the caller.
enum class Function : int32_t {
  kNeg,
  kAbs,
  kSign,
  kExp,
  kSqrt,
  kRsqrt,
  kReciprocal,
  kErf,
  kTanh,
  kSigmoid,
  kRelu,
  kGelu,
  kGeluTanh,
  kGeluSigmoid,
  kSilu,
  kFloor,
  kCeil,
  kRound,
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMin,
  kMax,
  kLeakyRelu /* slope is the second operand */,
  // 1.0 or 0.0
  kNot,
  kIsNan,
  kEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kAnd,
  kOr,
  kXor,
  kWhere,
};

enum class Reduction : int32_t { kSum, kMax, kMin, kSumSquares };

struct VectorCode {
  Isa isa = Isa::kScalar;
  int tile_rows = 0;    // most rows of a GemmTile
  int tile_panels = 0;  // most panels of a GemmTile

  DotCode int8, bf16;
  DotCode int8_quads;  // int8 whose sums of four products fit 16 bits (ops/quantize.h)

  void (*gemm)(const GemmTile&);
  void (*gather)(const GatherTile&);
  TileShape gather_shapes[2];  // the most of a tile, one way or the other
  void (*window)(WindowOp, const WindowTile&);
  WinogradCode winograd[2];
  void (*epilogue)(const void* sums, int64_t sums_stride, void* y, int64_t y_stride, int rows, int64_t columns,
                   const Epilogue&);
  // out[k * width + r] = x[r * stride + k]; the last row stands for those in [rows, width). width is 8 or 16.
  void (*transpose_rows)(const float* x, int64_t stride, int rows, int64_t k, int width, float* out);

  // The least and the greatest of a row's elements and 0; both NaN where it holds NaN or infinity. x is bf16 or f32.
  void (*row_range)(const void* x, bool bf16, int64_t k, float* low, float* high);
  // One row of x [k], likewise, as 8-bit (`wide`: 16-bit) integers, zeros from k to size, a multiple of 16.
  void (*quantize_row)(const void* x, bool bf16, int64_t k, const ops::RowScale&, int64_t size, bool wide,
                       std::byte* out);
  // x [count] as bf16, rounded to nearest even, and bf16 as f32.
  void (*round)(const float* x, int64_t count, uint16_t* out);
  void (*widen)(const uint16_t* x, int64_t count, float* out);
  // round of results of arithmetic, times `factor`; what is too small for a normal number may become zero.
  void (*round_sums)(const float* x, int64_t count, float factor, uint16_t* out);
  // Groups of a panel with 8-bit elements as twice as many with 16-bit ones.
  void (*widen_int8)(const std::byte* panel, int64_t groups, std::byte* out);
  // Groups of a panel of bf16 as f32 [2 * groups][16].
  void (*widen_bf16)(const std::byte* panel, int64_t groups, float* out);

  // B panels of bf16 of x [rows][columns], columns a multiple of 16; rows are missing up to 2 * groups.
  void (*pack_pairs)(const uint16_t* x, int64_t stride, int64_t rows, int64_t columns, int64_t groups, std::byte* out);

  void (*softmax_block)(const SoftmaxBlock&);
  void (*softmax_rows)(const SoftmaxRows&);
  void (*pick)(const PickedRow&);
  // o[i] *= f (o is [columns])
  void (*scale)(float* o, int64_t columns, float factor);
  // o[i] += factor * x[i]
  void (*add_scaled)(float* o, const float* x, int64_t columns, float factor);

  void (*layer_norm)(const NormRow&);
  void (*rms_norm)(const NormRow&);
  void (*softmax)(const float* x, float* y, int64_t columns);
  float (*reduce)(Reduction, const float* x, int64_t columns);
  // y[i] = f(a[i], b[i], c[i]) for i in [0, count); y may be any of the operands.
  void (*apply)(Function, const float* a, const float* b, const float* c, float* y, int64_t count);

  // The ones of a mask; -1: it holds something else than 0 and 1.
  int64_t (*count_ones)(const int64_t* mask, int64_t count);
  // Whether all ids, i64 (`wide`) or i32, are at least 0 and below the limit.
  bool (*ids_within)(const void* ids, bool wide, int64_t count, int64_t limit);
  // How many rows, from the first, are numbered by steps of one.
  int64_t (*run_length)(const int32_t* rows, int64_t count);
  // first, first + 1, …
  void (*iota)(int32_t first, int64_t count, int32_t* y);
};

const VectorCode& vector_code_scalar();
const VectorCode& vector_code_avx2(bool vnni);
const VectorCode& vector_code_avx512(Isa isa);

// The table of an instruction set that is available.
const VectorCode& vector_code(Isa isa);

}  // namespace tenon::kernels::cpu
