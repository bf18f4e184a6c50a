// y = the sum of rows of tables, by ids, then a LayerNorm: a group of lanes holds a row in registers.
//
//   ELEMENT                f16, bf16 or f32
//   WIDTH, VECTOR, LANES   elements of a row, of a vector; lanes per row
//   TABLES                 how many
//   NORM                   0: none, 1: gamma and beta, 2: they are weights, read before the kernels ahead have ended
#include "pdl.cuh"
#include "row.cuh"
#include "row_args.cuh"

using T = ELEMENT;
using R = Row<T, WIDTH, VECTOR, LANES>;

// Ids were checked on the host, but rows behind the data hold anything.
TENON_DEVICE int id_at(const EmbeddingArgs::Table& table, int offset) {
  const long long id =
      table.wide ? static_cast<const long long*>(table.ids)[offset] : static_cast<const int*>(table.ids)[offset];
  return static_cast<int>(min(max(id, 0ll), table.count - 1ll));
}

extern "C" __global__ void embedding(const __grid_constant__ EmbeddingArgs args) {
  allow_next_kernel();
  PackedRow<R> gamma, beta, part[TABLES];
  if (NORM == 2) {
    gamma.load(static_cast<const T*>(args.gamma));
    beta.load(static_cast<const T*>(args.beta));
  }
  wait_for_previous_kernels();
  if (NORM == 1) {
    gamma.load(static_cast<const T*>(args.gamma));
    beta.load(static_cast<const T*>(args.beta));
  }
  const int row = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  const bool exists = row < args.rows;  // lanes of the others still take part in the warp's reductions
  int offsets[TABLES] = {}, rest = exists ? row : args.rows - 1;
  for (int axis = args.rank - 1; axis >= 0; --axis) {
    const int place = axis > 0 ? rest % args.sizes[axis] : rest;
    if (axis > 0) rest /= args.sizes[axis];
#pragma unroll
    for (int i = 0; i < TABLES; ++i) offsets[i] += place * args.tables[i].strides[axis];
  }
#pragma unroll
  for (int i = 0; i < TABLES; ++i) {
    part[i].load(static_cast<const T*>(args.tables[i].rows) +
                 static_cast<long long>(id_at(args.tables[i], offsets[i])) * WIDTH);
  }
  R s;
  s.clear();
#pragma unroll
  for (int i = 0; i < TABLES; ++i) part[i].add_to(s);
  if (NORM) {
    normalize<false>(s, args.epsilon);
    gamma.scale(s);
    beta.add_to(s);
  }
  if (exists) store_row(static_cast<T*>(args.y) + static_cast<long long>(row) * WIDTH, s);
}
