// y = program(x0, x1, …) over inputs that broadcast to y. A thread computes VECTOR neighbours.
//
//   INPUTS    X(0,f16,0) X(1,f32,32) …: the inputs with their element types; of the second, blocks of 32 columns change
//             places with the next
//   RESULT    element type of y
//   PROGRAM   statements over x0, x1 … that end in a return: "const float t0=fn::add(x0,x1);return t0;"
//   VECTOR    elements
#include "activation.cuh"
#include "divide.cuh"
#include "pdl.cuh"
#include "scalar.cuh"

#define X(i, T, half) const Held<T> x##i,
TENON_DEVICE Held<RESULT> compute(INPUTS int) { PROGRAM }
#undef X

constexpr int kInputs = 0
#define X(i, T, half) +1
    INPUTS
#undef X
    ;

// kN neighbours as they lie in memory, moved in pieces of at most 16 bytes.
template <class T, int kN>
struct alignas(sizeof(T) * kN < 16 ? sizeof(T) * kN : 16) Piece {
  Stored<T> v[kN];
};
template <class T, int kN>
constexpr int kPieces = sizeof(T) * kN <= 16 ? 1 : static_cast<int>(sizeof(T)) * kN / 16;

template <class T, int kN>
TENON_DEVICE void read(const T* x, int step, Held<T> (&out)[kN]) {
  constexpr int n = kN / kPieces<T, kN>;
  if (step == 1) {
#pragma unroll
    for (int p = 0; p < kPieces<T, kN>; ++p) {
      const Piece<T, n> piece = reinterpret_cast<const Piece<T, n>*>(x)[p];
#pragma unroll
      for (int j = 0; j < n; ++j) out[p * n + j] = piece.v[j].held();
    }
  } else if (step == 0) {
    const Held<T> same = reinterpret_cast<const Stored<T>*>(x)->held();
#pragma unroll
    for (int j = 0; j < kN; ++j) out[j] = same;
  } else {
#pragma unroll
    for (int j = 0; j < kN; ++j)
      out[j] = reinterpret_cast<const Stored<T>*>(x)[static_cast<long long>(j) * step].held();
  }
}

template <class T, int kN>
TENON_DEVICE void write(T* y, const Held<T> (&v)[kN]) {
  constexpr int n = kN / kPieces<T, kN>;
#pragma unroll
  for (int p = 0; p < kPieces<T, kN>; ++p) {
    Piece<T, n> piece;
#pragma unroll
    for (int j = 0; j < n; ++j) piece.v[j] = Stored<T>::of(v[p * n + j]);
    reinterpret_cast<Piece<T, n>*>(y)[p] = piece;
  }
}

// How far from its own place the column stands that is read for `column`.
template <int kHalf>
TENON_DEVICE int shift(unsigned column) {
  constexpr unsigned kBlock = kHalf > 0 ? kHalf : 1;
  return column / kBlock % 2 == 0 ? kHalf : -kHalf;
}

// Elements first … first + kN - 1 of y, neighbours along its last axis.
template <int kN>
TENON_DEVICE void run(const PointwiseArgs& args, unsigned first) {
  int offsets[kInputs] = {};
  unsigned rest = first, column = 0;
  for (int axis = args.rank - 1; axis >= 0; --axis) {
    const unsigned outer = axis > 0 ? quotient(rest, args.sizes[axis]) : 0,
                   place = rest - outer * args.sizes[axis].value;
    rest = outer;
    if (axis == args.rank - 1) column = place;
#pragma unroll
    for (int i = 0; i < kInputs; ++i) offsets[i] += static_cast<int>(place) * args.strides[i][axis];
  }
#define X(i, T, half)                                                                                \
  Held<T> x##i[kN];                                                                                  \
  read<T, kN>(static_cast<const T*>(args.x[i]) + offsets[i] + (half == 0 ? 0 : shift<half>(column)), \
              kN == 1 ? 0 : args.strides[i][args.rank - 1], x##i);
  INPUTS
#undef X
  Held<RESULT> y[kN];
#pragma unroll
  for (int j = 0; j < kN; ++j) {
#define X(i, T, half) x##i[j],
    y[j] = compute(INPUTS 0);
#undef X
  }
  write<RESULT, kN>(static_cast<RESULT*>(args.y) + first, y);
}

extern "C" __global__ void pointwise(const __grid_constant__ PointwiseArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
  if (!args.vectors) {
    if (thread < args.count) run<1>(args, thread);
    return;
  }
  const unsigned first = thread * VECTOR;
  if (first + VECTOR <= args.count) {
    run<VECTOR>(args, first);
  } else {
    for (unsigned i = first; i < args.count; ++i) run<1>(args, i);  // the end of a last axis that is the only one
  }
}
