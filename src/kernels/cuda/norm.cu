// y = normalised (x + residual), times gamma, plus beta: a group of lanes holds a row in registers.
//
//   ELEMENT                f16, bf16 or f32
//   WIDTH, VECTOR, LANES   elements of a row, of a vector; lanes per row
//   RMS                    1: without the mean
//   GAMMA, BETA            0: absent, 1: present, 2: a weight, read before the kernels ahead have ended
//   RESIDUAL               0 or 1
#include "pdl.cuh"
#include "row.cuh"
#include "row_args.cuh"

using T = ELEMENT;
using R = Row<T, WIDTH, VECTOR, LANES>;

extern "C" __global__ void norm_rows(const NormArgs args) {
  allow_next_kernel();
  PackedRow<R> gamma, beta, x, residual;
  if (GAMMA == 2) gamma.load(static_cast<const T*>(args.gamma));
  if (BETA == 2) beta.load(static_cast<const T*>(args.beta));
  wait_for_previous_kernels();
  if (GAMMA == 1) gamma.load(static_cast<const T*>(args.gamma));
  if (BETA == 1) beta.load(static_cast<const T*>(args.beta));

  const int row = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  const bool exists = row < args.rows;  // lanes of the others still take part in the warp's reductions
  const long long at = static_cast<long long>(exists ? row : args.rows - 1) * WIDTH;
  x.load(static_cast<const T*>(args.x) + at);
  if (RESIDUAL) residual.load(static_cast<const T*>(args.residual) + at);
  R s;
  s.clear();
  x.add_to(s);
  if (RESIDUAL) residual.add_to(s);
  normalize<RMS>(s, args.epsilon);
  if (GAMMA) gamma.scale(s);
  if (BETA) beta.add_to(s);
  if (exists) store_row(static_cast<T*>(args.y) + at, s);
}
