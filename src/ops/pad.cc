#include "ops/support.h"

namespace tenon::ops {
namespace {

enum class Mode { kConstant, kReflect, kEdge, kWrap };

std::optional<Mode> parse_mode(const std::string& text) {
  if (text == "constant") return Mode::kConstant;
  if (text == "reflect") return Mode::kReflect;
  if (text == "edge") return Mode::kEdge;
  if (text == "wrap") return Mode::kWrap;
  return std::nullopt;
}

// The index in x that index i of y reads along an axis of n elements; -1: the pad value.
int64_t source(Mode mode, int64_t i, int64_t before, int64_t n) {
  const int64_t at = i - before;
  if (at >= 0 && at < n) return at;
  if (mode == Mode::kConstant) return -1;
  if (mode == Mode::kWrap) return ((at % n) + n) % n;
  if (mode == Mode::kEdge || n == 1) return at < 0 ? 0 : n - 1;
  const int64_t period = 2 * (n - 1), phase = ((at % period) + period) % period;
  return phase < n ? phase : period - phase;
}

Status infer(InferContext& c) {
  const Shape &before = c.attrs.shape("before"), &after = c.attrs.shape("after");
  Shape shape = c.shape(0);
  if (before.size() != shape.size() || after.size() != shape.size()) {
    return error(ErrorCode::kBadModel, "{} and {} pads for rank {}", before.size(), after.size(), shape.size());
  }
  if (!parse_mode(c.attrs.text("mode"))) return error(ErrorCode::kBadModel, "unknown padding mode \"{}\"", c.attrs.text("mode"));
  for (size_t i = 0; i < shape.size(); ++i) shape[i] = before[i] + shape[i] + after[i];
  TENON_TRY(check_sizes(shape));
  return c.output(c.dtype(0), std::move(shape));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const std::span<const int64_t> before = args.size("before");
  const Mode mode = *parse_mode(attrs.text("mode"));
  if (y.numel() == 0) return {};
  if (mode != Mode::kConstant && x.numel() == 0) return error(ErrorCode::kBadInput, "nothing to repeat in a tensor of shape {}", shape_text(x.shape));
  // Per axis, the offset in x of each index of y, or -1.
  std::vector<std::vector<int64_t>> offsets;
  const std::vector<int64_t> strides = strides_of(x.shape);
  for (size_t axis = 0; axis < y.shape.size(); ++axis) {
    std::vector<int64_t>& table = offsets.emplace_back();
    for (int64_t i = 0; i < y.shape[axis]; ++i) {
      const int64_t at = source(mode, i, before[axis], x.shape[axis]);
      table.push_back(at < 0 ? -1 : at * strides[axis]);
    }
  }
  return visit_dtype(y.dtype, [&]<class T>() -> Status {
    const T value = is_narrow_float(y.dtype) ? static_cast<T>(encode_narrow(y.dtype, attrs.number("value")))
                                             : convert<T>(attrs.number("value"));
    T* out = y.as<T>();
    const int64_t n = y.numel();
    for (int64_t flat = 0; flat < n; ++flat) {
      int64_t at = 0, rest = flat;
      for (size_t axis = offsets.size(); axis-- > 0 && at >= 0; rest /= y.shape[axis]) {
        const int64_t step = offsets[axis][static_cast<size_t>(rest % y.shape[axis])];
        at = step < 0 ? -1 : at + step;
      }
      out[flat] = at < 0 ? value : x.as<T>()[at];
    }
    return {};
  });
}

}  // namespace

OpDef define_pad() {
  return {.summary = "y = x with before[i] and after[i] more elements along each axis i; negative counts crop",
          .inputs = {{"x"}},
          .attrs = {{"before", Shape{}, true, "one entry per axis"},
                    {"after", Shape{}, true, "one entry per axis"},
                    {"mode", std::string("constant"), false, "constant, reflect (without the edge), edge or wrap"},
                    {"value", 0.0, false, "what constant padding is filled with"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
