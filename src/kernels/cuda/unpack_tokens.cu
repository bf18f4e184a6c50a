// unpack_tokens: rows of tokens to their positions in [batch, seq, …], zeros where there is no row.
//
//   X, Y   element types of x and y, of unpack_floats
#include "divide.cuh"
#include "pdl.cuh"
#include "scalar.cuh"
#include "units.cuh"

// The row among begin .. end whose `gather` is `cell`, -1 where there is none; gather ascends there.
TENON_DEVICE int find_row(const int* gather, int begin, int end, int cell, int guess) {
  if (guess < end && gather[guess] == cell) return guess;
  while (begin < end) {
    const int middle = begin + (end - begin) / 2, found = gather[middle];
    if (found == cell) return middle;
    if (found < cell)
      begin = middle + 1;
    else
      end = middle;
  }
  return -1;
}

// Where unit i of y comes from.
TENON_DEVICE long long source_of(const UnpackArgs& args, unsigned i) {
  const unsigned cell = quotient(i, args.width), column = i - cell * args.width.value,
                 sequence = quotient(cell, args.seq);
  const int place = static_cast<int>(cell - sequence * args.seq.value);
  const int begin = max(args.key_begin[sequence], 0), end = min(args.row_offsets[sequence + 1], args.rows);
  const int row =
      find_row(args.gather, begin, end, static_cast<int>(cell), begin + place);  // right where there is no hole
  return row < 0 ? kNowhere : row * args.x_width + args.column + column;
}

extern "C" __global__ void unpack_tokens(const __grid_constant__ UnpackArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < args.count) copy_unit(args.unit, args.x, source_of(args, i), args.y, i);
}

// Floats that become others; units are elements.
extern "C" __global__ void unpack_floats(const __grid_constant__ UnpackArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= args.count) return;
  const long long from = source_of(args, i);
  const float v = from == kNowhere ? 0.f : static_cast<const Stored<X>*>(args.x)[from].held();
  static_cast<Stored<Y>*>(args.y)[i] = Stored<Y>::of(v);
}
