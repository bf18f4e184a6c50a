// Y = epilogue(X W) with factors of 8 or 16 bits: W stands packed (kernels/cpu/narrow_weights.h), X is rounded first
// where it is f32.
//
// As in kernels/cpu/gemm.h a row's result depends on that row and W alone. Sums of integers are exact; sums of bf16 are
// of one order for one instruction set.
#pragma once

#include "base/thread_pool.h"
#include "kernels/cpu/blocking.h"
#include "kernels/cpu/narrow_weights.h"

namespace tenon::kernels::cpu {

// Rows of X that do not stand in memory as they are.
class RowSource {
 public:
  virtual ~RowSource() = default;
  // Writes the k elements of a row, of X's type or rounded to 8 bits. Called by several threads.
  virtual void write(int64_t row, std::byte* out) const = 0;
};

struct NarrowGemm {
  Factors factors = Factors::kInt8;
  const void* x = nullptr;            // [rows, k]; bf16 where the epilogue is, else f32
  const RowSource* source = nullptr;  // in place of x
  ops::RowScale x_scale = {};         // of integers: of all rows; its step 0: of each by its range
  bool source_is_rounded = false;     // to that scale
  const std::byte* w = nullptr;       // packed_bytes(factors, k, columns)
  void* y = nullptr;  // [rows, columns], of the epilogue's type; shares no memory with x, and may be the residual
  int64_t rows = 0, k = 0, columns = 0;
  Epilogue epilogue;  // the scales are filled in
  Blocking blocking = {};
};

// Bytes of scratch that `narrow_gemm` needs.
size_t narrow_gemm_workspace(const VectorCode& code, Factors factors, bool x_is_bf16, int64_t rows, int64_t k,
                             int threads, bool has_source = false);
// For bf16 the instruction set must have products of bf16: else `gemm` reads the same weights.
void narrow_gemm(const VectorCode& code, const NarrowGemm& g, void* workspace, ThreadPool* pool);

// As gemm_blockings and gemm_cost (kernels/cpu/gemm.h). K is never cut.
std::vector<Blocking> narrow_gemm_blockings();
double narrow_gemm_cost(const VectorCode& code, Factors factors, int64_t rows, int64_t k, int64_t columns, int threads,
                        const Blocking& blocking);

}  // namespace tenon::kernels::cpu
