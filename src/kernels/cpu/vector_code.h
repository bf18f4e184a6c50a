// The vector code of one instruction set as a table of functions over plain memory. It is written once (*-inl.h, in
// Highway) and compiled once per instruction set (vector_code_<isa>.cc); everything that plans, splits and checks is
// ordinary C++ on this side of the table.
//
// All matrices are f32. "Packed" operands of a product are laid out for streaming:
//   A tile   [K][width]     width rows side by side, `width` >= the tile's rows
//   B panels [N/16][K][16]  16 columns side by side, missing columns zero
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

namespace tenon::kernels::cpu {

inline constexpr int kPanel = 16;  // columns of a packed panel, for every instruction set

enum class Activation : int32_t { kNone, kRelu, kGelu, kGeluTanh, kGeluSigmoid, kTanh, kSigmoid, kSilu };

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
  // Memory that is needed soon: every k brings the line at `prefetch` + k * `prefetch_step` bytes into the second-level
  // cache. Spread thinly, because fetches in a burst take the line buffers that the loads of b need. Null: none.
  const char* prefetch = nullptr;
  int64_t prefetch_step = 0;
};

// c = activation(c + bias) + residual over [rows, columns]. `bias` and `residual` may be null.
struct Epilogue {
  const float* bias = nullptr;
  const float* residual = nullptr;
  int64_t residual_stride = 0;
  Activation activation = Activation::kNone;
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

  void (*gemm)(const GemmTile&);
  void (*epilogue)(float* c, int64_t c_stride, int rows, int64_t columns, const Epilogue&);
  // out[k * width + r] = x[r * stride + k]; the last row stands for those in [rows, width). width is 8 or 16.
  void (*transpose_rows)(const float* x, int64_t stride, int rows, int64_t k, int width, float* out);

  void (*softmax_block)(const SoftmaxBlock&);
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
};

const VectorCode& vector_code_scalar();
const VectorCode& vector_code_avx2();
const VectorCode& vector_code_avx512();

// The table of an instruction set that is available.
const VectorCode& vector_code(Isa isa);

}  // namespace tenon::kernels::cpu
