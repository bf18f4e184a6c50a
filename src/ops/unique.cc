#include <cstring>
#include <map>
#include <numeric>

#include "ops/support.h"

namespace tenon::ops {
namespace {

// The axis, or none: all of x as one row.
std::optional<int64_t> axis_of(const Attrs& attrs, int rank) {
  const std::vector<int64_t>& axis = attrs.integers("axis");
  if (axis.empty()) return std::nullopt;
  return axis[0] < 0 ? axis[0] + rank : axis[0];
}

Status infer(InferContext& c) {
  if (is_narrow(c.dtype(0))) return error(ErrorCode::kUnsupported, "{} is not compared", dtype_name(c.dtype(0)));
  const std::vector<int64_t>& given = c.attrs.integers("axis");
  if (given.size() > 1) return error(ErrorCode::kBadModel, "{} axes", given.size());
  if (!given.empty()) TENON_TRY(c.axis(given[0], c.rank(0)).status());
  const auto axis = axis_of(c.attrs, c.rank(0));
  const Dim n = axis ? c.shape(0)[static_cast<size_t>(*axis)] : ir::numel(c.shape(0));
  TENON_TRY(c.output(c.dtype(0), axis ? c.shape(0) : Shape{n}));
  for (int i = 0; i < 3; ++i) TENON_TRY(c.output(DType::kI64, {n}));
  return c.output(DType::kI64, {});
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output(0);
  const auto axis = axis_of(attrs, x.rank());
  const int at = static_cast<int>(axis.value_or(0));
  const int64_t outer = axis ? product(x.shape, 0, at) : 1, n = axis ? x.dim(at) : x.numel(),
                inner = axis ? product(x.shape, at + 1, x.rank()) : 1;
  return visit_dtype(x.dtype, [&]<class T>() -> Status {
    using Stored = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;
    const auto element = [&](int64_t o, int64_t j, int64_t i) { return x.as<Stored>()[(o * n + j) * inner + i]; };
    const auto compare = [&](int64_t a, int64_t b) {
      for (int64_t o = 0; o < outer; ++o) {
        for (int64_t i = 0; i < inner; ++i) {
          const auto u = convert<Compute<Stored>>(element(o, a, i)), v = convert<Compute<Stored>>(element(o, b, i));
          if (u != v) return u < v || (v != v && u == u) ? -1 : 1;  // NaN last
        }
      }
      return 0;
    };
    std::vector<int64_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return compare(a, b) < 0; });
    // Groups of equals, named by their first member; sorted by value, or by where they first occur.
    struct Group {
      int64_t first = 0;
      std::vector<int64_t> members;
    };
    std::vector<Group> groups;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i == 0 || compare(order[i - 1], order[i]) != 0) groups.push_back({order[i], {}});
      groups.back().members.push_back(order[i]);
    }
    if (attrs.integer("sorted") == 0) std::ranges::sort(groups, {}, &Group::first);
    int64_t *indices = args.output(1).as<int64_t>(), *inverse = args.output(2).as<int64_t>(),
            *counts = args.output(3).as<int64_t>();
    std::fill_n(indices, n, int64_t{0});
    std::fill_n(counts, n, int64_t{0});
    if (y.numel() > 0) std::memset(y.data, 0, static_cast<size_t>(y.numel()) * sizeof(Stored));
    for (size_t g = 0; g < groups.size(); ++g) {
      const auto to = static_cast<int64_t>(g);
      indices[g] = groups[g].first;
      counts[g] = static_cast<int64_t>(groups[g].members.size());
      for (const int64_t member : groups[g].members) inverse[member] = to;
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < inner; ++i) y.as<Stored>()[(o * n + to) * inner + i] = element(o, groups[g].first, i);
    }
    *args.output(4).as<int64_t>() = static_cast<int64_t>(groups.size());
    return {};
  });
}

}  // namespace

OpDef define_unique() {
  return {.summary =
              "the different elements of x (or its different slices along an axis), the index of each in x, the index "
              "in y of each "
              "element of x, how often each occurs, and how many there are; what stands behind `count` is 0",
          .inputs = {{"x"}},
          .outputs = {"y", "indices", "inverse", "counts", "count"},
          .attrs = {{"axis", std::vector<int64_t>{}, false, "one, or empty: all elements"},
                    {"sorted", int64_t{1}, false, "0: in the order in which they occur"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
