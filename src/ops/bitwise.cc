// Integers as strings of bits: logic and shifts with numpy broadcasting.
#include "ops/elementwise.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_same_dtype(c));
  TENON_TRY(check_dtype(c, 0, DTypes::kInteger));
  TENON_ASSIGN(Shape shape, c.broadcast(c.shape(0), c.shape(1)));
  return c.output(c.dtype(0), std::move(shape));
}

struct BitAnd {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a & b);
  }
};
struct BitOr {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a | b);
  }
};
struct BitXor {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a ^ b);
  }
};
// Shifts by as many bits as the type has, or more, leave nothing.
struct ShiftLeft {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<uint64_t>(b) < 8 * sizeof(T) ? static_cast<T>(static_cast<uint64_t>(a) << b) : T{0};
  }
};
struct ShiftRight {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<uint64_t>(b) < 8 * sizeof(T) ? static_cast<T>(a >> b) : T{0};
  }
};

template <class F>
Status reference(const Attrs&, const RunArgs& args) {
  TENON_TRY(check_broadcast(args));
  return visit_number(args.output().dtype, [&]<class T>() -> Status {
    if constexpr (std::is_integral_v<T>) zip<T, T>(args, F());
    return {};
  });
}

template <class F>
OpDef bitwise(std::string_view summary, bool commutative) {
  return {.summary = summary,
          .inputs = {{"a"}, {"b"}},
          .locality = Locality::kElementwise,
          .commutative = commutative,
          .infer = infer,
          .flops = flops_per_output,
          .reference = reference<F>};
}

Status infer_not(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kInteger));
  return c.output(c.dtype(0), c.shape(0));
}

Status reference_not(const Attrs&, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  visit_width(y.dtype, [&]<class T>() {
    std::transform(x.as<T>(), x.as<T>() + y.numel(), y.as<T>(), [](T v) { return static_cast<T>(~v); });
  });
  return {};
}

}  // namespace

OpDef define_bit_and() { return bitwise<BitAnd>("y = a & b, bit by bit, on integers", true); }
OpDef define_bit_or() { return bitwise<BitOr>("y = a | b, bit by bit, on integers", true); }
OpDef define_bit_xor() { return bitwise<BitXor>("y = a ^ b, bit by bit, on integers", true); }
OpDef define_shift_left() { return bitwise<ShiftLeft>("y = a << b, on integers", false); }
OpDef define_shift_right() { return bitwise<ShiftRight>("y = a >> b, on integers", false); }

OpDef define_bit_not() {
  return {.summary = "y = ~x, bit by bit, on integers",
          .inputs = {{"x"}},
          .locality = Locality::kElementwise,
          .infer = infer_not,
          .reference = reference_not};
}

}  // namespace tenon::ops
