// Reductions over any set of axes: y[kept] = reduce of x[kept, reduced].
#include <cmath>
#include <limits>

#include "ops/support.h"

namespace tenon::ops {
namespace {

Status check_axes(const std::vector<int64_t>& axes, int rank) {
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] < 0 || axes[i] >= rank) return error(ErrorCode::kBadModel, "axis {} is out of range for rank {}", axes[i], rank);
    if (i > 0 && axes[i] <= axes[i - 1]) return error(ErrorCode::kBadModel, "axes {} are not sorted", shape_text(axes));
  }
  return {};
}

bool reduces(const std::vector<int64_t>& axes, size_t axis) { return std::ranges::binary_search(axes, static_cast<int64_t>(axis)); }

// The offset in y of each element of x, as strides over x's axes: 0 along those reduced.
std::vector<int64_t> result_strides(std::span<const int64_t> x, const std::vector<int64_t>& axes) {
  std::vector<int64_t> strides(x.size(), 0);
  int64_t step = 1;
  for (size_t i = x.size(); i-- > 0;) {
    if (reduces(axes, i)) continue;
    strides[i] = step;
    step *= x[i];
  }
  return strides;
}

using KnownFold = Dim (*)(const Dim&, const Dim&);

std::optional<KnownDims> fold_known(const InferContext& c, const std::vector<int64_t>& axes, const Shape& shape, std::optional<Dim> start,
                                    KnownFold fold) {
  const KnownDims* x = c.known(0);
  std::optional<KnownDims> known = x ? make_known(c.dtype(0), shape) : std::nullopt;
  if (!known || (!start && x->values.empty())) return std::nullopt;
  std::vector<std::optional<Dim>> sums(known->values.size(), start);
  const std::vector<int64_t> strides = result_strides(x->shape, axes);
  const Dim* from = x->values.data();
  for_each_row<1>(x->shape, {strides}, [&](const auto& at, const auto& step, int64_t n) {
    for (int64_t i = 0; i < n; ++i, ++from) {
      std::optional<Dim>& sum = sums[static_cast<size_t>(at[0] + i * step[0])];
      sum = sum ? fold(*sum, *from) : *from;
    }
  });
  for (size_t i = 0; i < sums.size(); ++i) known->values[i] = *std::move(sums[i]);
  return known;
}

// Each reduction: its start, how a term enters it, and how the result comes out. Acc is double for floats and a 64-bit integer
// for integers, unsigned where sums may wrap.
struct Sum {
  template <class T>
  using Acc = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;
  template <class A>
  static A start() { return A{0}; }
  template <class A>
  static A add(A sum, A x) { return sum + x; }
  template <class A>
  static A finish(A sum, int64_t) { return sum; }
  static std::optional<KnownDims> known(const InferContext& c, const std::vector<int64_t>& axes, const Shape& shape) {
    return fold_known(c, axes, shape, Dim(0), [](const Dim& a, const Dim& b) { return a + b; });
  }
};
struct Mean {
  template <class T>
  using Acc = std::conditional_t<std::is_integral_v<T>, int64_t, double>;
  template <class A>
  static A start() { return A{0}; }
  template <class A>
  static A add(A sum, A x) {
    if constexpr (std::is_integral_v<A>) {
      return static_cast<A>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(x));
    } else {
      return sum + x;
    }
  }
  template <class A>
  static A finish(A sum, int64_t n) {
    if constexpr (std::is_integral_v<A>) {
      return n == 0 ? A{0} : sum / n;
    } else {
      return sum / static_cast<A>(n);
    }
  }
  static std::optional<KnownDims> known(const InferContext&, const std::vector<int64_t>&, const Shape&) { return std::nullopt; }
};
struct Prod : Sum {
  template <class A>
  static A start() { return A{1}; }
  template <class A>
  static A add(A product, A x) { return product * x; }
  static std::optional<KnownDims> known(const InferContext& c, const std::vector<int64_t>& axes, const Shape& shape) {
    return fold_known(c, axes, shape, Dim(1), [](const Dim& a, const Dim& b) { return a * b; });
  }
};
struct L2 : Sum {
  template <class T>
  using Acc = double;
  template <class A>
  static A add(A sum, A x) { return sum + x * x; }
  template <class A>
  static A finish(A sum, int64_t) { return std::sqrt(sum); }
  static std::optional<KnownDims> known(const InferContext&, const std::vector<int64_t>&, const Shape&) { return std::nullopt; }
};
struct Max : Sum {
  template <class T>
  using Acc = std::conditional_t<std::is_integral_v<T>, T, double>;
  template <class A>
  static A start() { return std::numeric_limits<A>::has_infinity ? -std::numeric_limits<A>::infinity() : std::numeric_limits<A>::lowest(); }
  template <class A>
  static A add(A best, A x) { return x > best || x != x ? x : best; }  // NaN stays: nothing is greater
  static std::optional<KnownDims> known(const InferContext& c, const std::vector<int64_t>& axes, const Shape& shape) {
    return fold_known(c, axes, shape, std::nullopt, Dim::max);
  }
};
struct Min : Max {
  template <class A>
  static A start() { return std::numeric_limits<A>::has_infinity ? std::numeric_limits<A>::infinity() : std::numeric_limits<A>::max(); }
  template <class A>
  static A add(A best, A x) { return x < best || x != x ? x : best; }
  static std::optional<KnownDims> known(const InferContext& c, const std::vector<int64_t>& axes, const Shape& shape) {
    return fold_known(c, axes, shape, std::nullopt, Dim::min);
  }
};

template <class R>
Status infer(InferContext& c) {
  const std::vector<int64_t>& axes = c.attrs.integers("axes");
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  TENON_TRY(check_axes(axes, c.rank(0)));
  const bool keepdims = c.attrs.integer("keepdims") != 0;
  Shape shape;
  for (size_t i = 0; i < c.shape(0).size(); ++i) {
    if (!reduces(axes, i)) {
      shape.push_back(c.shape(0)[i]);
    } else if (keepdims) {
      shape.emplace_back(1);
    }
  }
  std::optional<KnownDims> known = R::known(c, axes, shape);
  return c.output(c.dtype(0), std::move(shape), std::move(known));
}

template <class R>
Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const std::vector<int64_t>& axes = attrs.integers("axes");
  const std::vector<int64_t> strides = result_strides(x.shape, axes);
  const int64_t results = y.numel(), count = results == 0 ? 0 : x.numel() / results;
  return visit_number(x.dtype, [&]<class T>() -> Status {
    using A = typename R::template Acc<T>;
    std::vector<A> sums(static_cast<size_t>(results), R::template start<A>());
    const T* from = x.as<T>();
    for_each_row<1>(x.shape, {strides}, [&](const auto& at, const auto& step, int64_t n) {
      for (int64_t i = 0; i < n; ++i, ++from) {
        A& sum = sums[static_cast<size_t>(at[0] + i * step[0])];
        sum = R::add(sum, convert<A>(*from));
      }
    });
    for (size_t i = 0; i < sums.size(); ++i) y.as<T>()[i] = convert<T>(R::finish(sums[i], count));
    return {};
  });
}

template <class R>
OpDef reduction(std::string_view summary) {
  return {.summary = summary,
          .inputs = {{"x"}},
          .attrs = {{"axes", std::vector<int64_t>{}, true, "sorted, not negative"},
                    {"keepdims", int64_t{1}, false, "1: reduced axes stay with size 1"}},
          .infer = infer<R>,
          .flops = flops_per_input,
          .reference = reference<R>};
}

}  // namespace

OpDef define_reduce_sum() { return reduction<Sum>("y = sum of x over axes"); }
OpDef define_reduce_mean() { return reduction<Mean>("y = mean of x over axes; integers truncate"); }
OpDef define_reduce_max() { return reduction<Max>("y = greatest of x over axes; NaN if any is"); }
OpDef define_reduce_min() { return reduction<Min>("y = least of x over axes; NaN if any is"); }
OpDef define_reduce_prod() { return reduction<Prod>("y = product of x over axes"); }
OpDef define_reduce_l2() { return reduction<L2>("y = sqrt(sum of x^2) over axes"); }

}  // namespace tenon::ops
