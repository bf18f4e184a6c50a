// Y = epilogue(X W) for a packed W, split over threads and caches.
//
// A row's result depends on that row and W alone: neither the other rows, nor the thread count, nor the blocking change
// the order in which its products are summed. Instruction sets with fused multiply-add agree bit for bit before the
// epilogue.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"
#include "kernels/cpu/blocking.h"
#include "kernels/cpu/narrow_weights.h"
#include "kernels/cpu/vector_code.h"

namespace tenon::kernels::cpu {

struct Gemm {
  const float* x = nullptr;  // [rows, k]
  int64_t x_stride = 0;
  const void* w = nullptr;  // panels of [k, columns]
  bool w_is_bf16 = false;   // in groups, as pack_narrow makes them; widened as they are read
  float* y = nullptr;       // [rows, columns]; shares no memory with x or the residual
  int64_t y_stride = 0;
  int64_t rows = 0, k = 0, columns = 0;
  Epilogue epilogue;
  Blocking blocking = {};
};

// Floats of the packed form of a [k, columns] matrix.
constexpr int64_t packed_size(int64_t k, int64_t columns) { return (columns + kPanel - 1) / kPanel * kPanel * k; }
// Packs panels [begin_panel, end_panel) of w [k, columns], whose element (i, j) stands at w[i * row_stride + j *
// column_stride].
void pack_panels(const float* w, int64_t row_stride, int64_t column_stride, int64_t k, int64_t columns, float* packed,
                 int64_t begin_panel, int64_t end_panel);

// Bytes of scratch that `gemm` needs.
size_t gemm_workspace(const VectorCode& code, int64_t rows, int64_t k, int threads, bool w_is_bf16 = false,
                      const Blocking& blocking = {});
void gemm(const VectorCode& code, const Gemm& g, void* workspace, ThreadPool* pool);

// The blockings that are worth timing for weights of k rows; none does what another does.
std::vector<Blocking> gemm_blockings(int64_t k);
// Estimated seconds of a product on so many threads, to rank blockings by.
double gemm_cost(const VectorCode& code, int64_t rows, int64_t k, int64_t columns, int threads,
                 const Blocking& blocking);

}  // namespace tenon::kernels::cpu
