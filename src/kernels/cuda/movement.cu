// Kernels that only move elements, of any type: a thread copies one unit of 1 to 16 bytes.
#include "divide.cuh"
#include "pdl.cuh"

TENON_DEVICE unsigned thread_index() { return blockIdx.x * blockDim.x + threadIdx.x; }

constexpr long long kNowhere = 0x7fffffffffffffff;

template <class U>
TENON_DEVICE void copy_as(const void* x, long long from, void* y, long long to) {
  static_cast<U*>(y)[to] = from == kNowhere ? U{} : static_cast<const U*>(x)[from];
}

// Zeros from nowhere.
TENON_DEVICE void copy_unit(int unit, const void* x, long long from, void* y, long long to) {
  switch (unit) {
    case 16:
      return copy_as<uint4>(x, from, y, to);
    case 8:
      return copy_as<uint2>(x, from, y, to);
    case 4:
      return copy_as<uint32_t>(x, from, y, to);
    case 2:
      return copy_as<uint16_t>(x, from, y, to);
    default:
      return copy_as<uint8_t>(x, from, y, to);
  }
}

// From one strided view to another.
extern "C" __global__ void copy_view(const __grid_constant__ CopyArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  unsigned rest = thread_index();
  if (rest >= args.count) return;
  long long from = 0, to = 0;
  for (int axis = args.rank - 1; axis >= 0; --axis) {
    const unsigned outer = axis > 0 ? quotient(rest, args.sizes[axis]) : 0,
                   place = rest - outer * args.sizes[axis].value;
    rest = outer;
    from += place * args.x_strides[axis];
    to += place * args.y_strides[axis];
  }
  copy_unit(args.unit, args.x, from, args.y, to);
}

// Indices count from the end where they are negative. They were checked on the host or computed within bounds, but rows
// behind the data hold anything.
extern "C" __global__ void gather(const __grid_constant__ GatherArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const unsigned i = thread_index();
  if (i >= args.count) return;
  const unsigned row = quotient(i, args.width), column = i - row * args.width.value, matrix = quotient(row, args.group);
  const long long tuple = args.shared_indices ? row - matrix * args.group.value : row;
  long long from = matrix * args.matrix_stride + column;
  for (int d = 0; d < args.depth; ++d) {
    const long long at = tuple * args.depth + d, size = args.sizes[d];
    const long long index =
        args.wide ? static_cast<const long long*>(args.indices)[at] : static_cast<const int*>(args.indices)[at];
    from += min(max(index < 0 ? index + size : index, 0ll), size - 1) * args.strides[d];
  }
  copy_unit(args.unit, args.x, from, args.y, i);
}

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

extern "C" __global__ void unpack_tokens(const __grid_constant__ UnpackArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const unsigned i = thread_index();
  if (i >= args.count) return;
  const unsigned cell = quotient(i, args.width), column = i - cell * args.width.value,
                 sequence = quotient(cell, args.seq);
  const int place = static_cast<int>(cell - sequence * args.seq.value);
  const int begin = max(args.key_begin[sequence], 0), end = min(args.row_offsets[sequence + 1], args.rows);
  const int row =
      find_row(args.gather, begin, end, static_cast<int>(cell), begin + place);  // right where there is no hole
  copy_unit(args.unit, args.x, row < 0 ? kNowhere : static_cast<long long>(row) * args.width.value + column, args.y, i);
}
