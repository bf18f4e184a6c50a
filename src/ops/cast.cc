#include "ops/support.h"

namespace tenon::ops {
namespace {

// A bool in memory may be any nonzero byte.
template <class T>
using Stored = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;

// The value of a known integer as another integer type; nothing where it might wrap.
std::optional<Dim> cast_known(const Dim& d, DType to) {
  if (to == DType::kBool) {
    if (d == Dim(0)) return Dim(0);
    if (d.is_const() || d.at_least(1) || (-d).at_least(1)) return Dim(1);
    return std::nullopt;
  }
  const bool wide = dtype_size(to) >= 4;
  if (!d.is_const()) return wide ? std::optional<Dim>(d) : std::nullopt;
  const bool fits = visit_dtype(to, [&]<class T>() { return convert<int64_t>(convert<T>(d.value())) == d.value(); });
  return fits && (d.value() >= 0 || to == DType::kI64 || to == DType::kI32 || to == DType::kI16 || to == DType::kI8)
             ? std::optional<Dim>(d)
             : std::nullopt;
}

std::optional<Rounding> parse_rounding(const std::string& text) {
  if (text == "nearest") return Rounding::kNearestEven;
  if (text == "up") return Rounding::kUp;
  if (text == "down") return Rounding::kDown;
  return std::nullopt;
}

Status infer(InferContext& c) {
  const DType to = c.attrs.dtype("to");
  if (!parse_rounding(c.attrs.text("rounding")))
    return error(ErrorCode::kBadModel, "unknown rounding \"{}\"", c.attrs.text("rounding"));
  std::optional<KnownDims> known = c.known(0) ? make_known(to, c.shape(0)) : std::nullopt;
  for (size_t i = 0; known && i < known->values.size(); ++i) {
    if (const auto d = cast_known(c.known(0)->values[i], to)) {
      known->values[i] = *d;
    } else {
      known.reset();
    }
  }
  return c.output(to, c.shape(0), std::move(known));
}

void cast(DType from_dtype, const void* x, DType to_dtype, void* y, int64_t n) {
  visit_dtype(from_dtype, [&]<class From>() {
    visit_dtype(to_dtype, [&]<class To>() {
      const auto* from = static_cast<const Stored<From>*>(x);
      auto* to = static_cast<To*>(y);
      for (int64_t i = 0; i < n; ++i) {
        if constexpr (std::is_same_v<From, bool>) {
          to[i] = convert<To>(static_cast<uint8_t>(from[i] != 0));
        } else {
          to[i] = convert<To>(from[i]);
        }
      }
    });
  });
}

// Narrow types go through blocks of doubles (exact for every narrow type and every integer that fits one) or, where
// both sides are integers and bits may be cut off, of int64.
void cast_narrow(const Attrs& attrs, const TensorArg& x, const TensorArg& y) {
  constexpr int64_t kBlock = 256;
  const bool saturate = attrs.integer("saturate") != 0;
  const Rounding rounding = *parse_rounding(attrs.text("rounding"));
  const bool integers =
      !is_float(x.dtype) && !is_narrow_float(x.dtype) && !is_narrow_float(y.dtype) && !is_float(y.dtype);
  std::array<double, kBlock> numbers;
  std::array<int64_t, kBlock> bits;
  const int64_t n = y.numel();
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t count = std::min(kBlock, n - begin);
    const auto* from = x.as<const std::byte>() + static_cast<size_t>(begin) * dtype_size(x.dtype);
    auto* to = y.as<std::byte>() + static_cast<size_t>(begin) * dtype_size(y.dtype);
    if (integers) {
      cast(x.dtype, from, DType::kI64, bits.data(), count);
    } else if (is_narrow_float(x.dtype)) {
      std::transform(from, from + count, numbers.begin(),
                     [&](std::byte b) { return decode_narrow(x.dtype, static_cast<uint8_t>(b)); });
    } else {
      cast(x.dtype, from, DType::kF64, numbers.data(), count);
    }
    if (is_narrow_float(y.dtype)) {
      std::transform(numbers.begin(), numbers.begin() + count, to,
                     [&](double v) { return std::byte{encode_narrow(y.dtype, v, saturate, rounding)}; });
    } else if (!is_narrow(y.dtype)) {
      integers ? cast(DType::kI64, bits.data(), y.dtype, to, count)
               : cast(DType::kF64, numbers.data(), y.dtype, to, count);
    } else {
      const NarrowRange range = narrow_range(y.dtype);
      const int64_t span = range.hi - range.lo + 1;  // a power of two
      for (int64_t i = 0; i < count; ++i) {
        const auto at = static_cast<size_t>(i);
        int64_t v = (integers ? bits[at] : convert<int64_t>(numbers[at])) & (span - 1);
        if (v > range.hi) v -= span;
        to[i] = static_cast<std::byte>(v);
      }
    }
  }
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  if (is_narrow(x.dtype) || is_narrow(y.dtype)) {
    cast_narrow(attrs, x, y);
  } else {
    cast(x.dtype, x.data, y.dtype, y.data, y.numel());
  }
  return {};
}

}  // namespace

OpDef define_cast() {
  return {.summary =
              "y = x as another type; floats truncate towards zero and clamp to integers, NaN gives 0, bool is x != 0; "
              "integers wrap, as does everything below 8 bits",
          .inputs = {{"x"}},
          .attrs = {{"to", DType::kF32, true},
                    {"saturate", int64_t{1}, false,
                     "to a narrow float: beyond its range the greatest value; 0: infinity or NaN"},
                    {"rounding", std::string("nearest"), false,
                     "to a narrow float: nearest (even), up (away from 0) or down"}},
          .locality = Locality::kElementwise,
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
