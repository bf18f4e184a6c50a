#include <cmath>
#include <limits>

#include "ops/checks.h"
#include "ops/matrix_product.h"
#include "ops/wide.h"

namespace tenon::ops {
namespace {

enum Input { kQ, kK, kV, kQOffsets, kKBegin, kKEnd, kQPositions, kKPositions, kBias };

struct Heads {
  int64_t q = 1, kv = 1, dim = 1;
  explicit Heads(const Attrs& attrs)
      : q(attrs.integer("heads")), kv(attrs.integer("kv_heads") == 0 ? q : attrs.integer("kv_heads")), dim(attrs.integer("head_dim")) {}
};

// ---- Inference -------------------------------------------------------------------------------------------------------

Status check_heads(InferContext& c) {
  const Heads heads(c.attrs);
  constexpr int64_t kMost = int64_t{1} << 24;
  if (heads.q < 1 || heads.q > kMost || heads.dim < 1 || heads.dim > kMost || heads.kv < 1 || heads.q % heads.kv != 0) {
    return error(ErrorCode::kBadModel, "{} heads over {} key and value heads of {} columns", heads.q, heads.kv, heads.dim);
  }
  const std::vector<int64_t>& columns = c.attrs.integers("columns");
  if (columns.size() != 3) return error(ErrorCode::kBadModel, "attribute 'columns' must have three entries");
  for (int i = kQ; i <= kV; ++i) {
    const int64_t first = columns[static_cast<size_t>(i)], width = (i == kQ ? heads.q : heads.kv) * heads.dim;
    const Dim& given = c.shape(i).back();
    if (first >= 0 && first <= kMost * kMost && (!given.is_const() || first + width <= given.value())) continue;
    return error(ErrorCode::kBadModel, "input {} is {} wide, but its heads take columns {} to {}", i, given.to_string(), first,
                 first + width);
  }
  return {};
}

Status check_packing(InferContext& c) {
  TENON_TRY(require_rank(c, kKBegin, 1));
  const Dim batch = c.shape(kKBegin)[0];
  TENON_TRY(require_type(c, kQOffsets, DType::kI32, {batch + 1}));
  TENON_TRY(require_type(c, kKBegin, DType::kI32, {batch}));
  TENON_TRY(require_type(c, kKEnd, DType::kI32, {batch}));
  const bool by_position = c.has(kBias) || c.attrs.integer("causal") != 0 || c.attrs.integer("window") > 0;
  for (const int i : {kQPositions, kKPositions}) {
    if (c.has(i)) TENON_TRY(require_type(c, i, DType::kI32, {c.shape(i == kQPositions ? kQ : kK)[0]}));
    if (by_position && !c.has(i)) return error(ErrorCode::kBadModel, "bias, causal and window need positions where rows are packed");
  }
  return {};
}

Status check_bias(InferContext& c, bool packed) {
  if (c.dtype(kBias) != DType::kF32) TENON_TRY(require_dtype(c, kBias, c.dtype(kQ)));
  TENON_TRY(require_rank(c, kBias, 4));
  const Dim batch = packed ? c.shape(kKBegin)[0] : c.shape(kQ)[0];
  Shape scores{batch, Dim(Heads(c.attrs).q)};
  if (!packed) scores.insert(scores.end(), {c.shape(kQ)[1], c.shape(kK)[1]});
  for (size_t axis = 0; axis < scores.size(); ++axis) {
    const Dim& given = c.shape(kBias)[axis];
    if (given == Dim(1)) continue;
    if (Status s = c.same(scores[axis], given).status(); !s.ok()) return s.with_context(fmt::format("bias, axis {}", axis));
  }
  return {};
}

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, kQ, DTypes::kFloat));
  const bool packed = c.has(kQOffsets);
  for (const int i : {kKBegin, kKEnd}) {
    if (c.has(i) != packed) return error(ErrorCode::kBadModel, "q_offsets, k_begin and k_end come together");
  }
  if (!packed && (c.has(kQPositions) || c.has(kKPositions))) {
    return error(ErrorCode::kBadModel, "positions are given, but rows are not packed");
  }
  const int rank = packed ? 2 : 3;
  for (int i = kQ; i <= kV; ++i) {
    TENON_TRY(require_dtype(c, i, c.dtype(kQ)));
    TENON_TRY(require_rank(c, i, rank));
  }
  for (int axis = 0; axis < rank - 1; ++axis) {
    const auto a = static_cast<size_t>(axis);
    if (!packed && axis == 0) TENON_TRY(c.same(c.shape(kQ)[a], c.shape(kK)[a]).status());
    TENON_TRY(c.same(c.shape(kK)[a], c.shape(kV)[a]).status());
  }
  TENON_TRY(check_heads(c));
  if (packed) TENON_TRY(check_packing(c));
  if (c.has(kBias)) TENON_TRY(check_bias(c, packed));
  Shape y = c.shape(kQ);
  const Heads heads(c.attrs);
  y.back() = Dim(heads.q * heads.dim);
  return c.output(c.dtype(kQ), std::move(y));
}

// ---- Reference -------------------------------------------------------------------------------------------------------

// Rows of q and of k, v that attend to each other; rows are counted through the batch in dense form, too.
struct Sequence {
  int64_t q_begin = 0, q_end = 0, k_begin = 0, k_end = 0;
};

Result<std::vector<Sequence>> sequences_of(const RunArgs& args) {
  const TensorArg q = args.input(kQ), k = args.input(kK);
  std::vector<Sequence> sequences;
  if (!args.input(kQOffsets)) {
    for (int64_t b = 0; b < q.dim(0); ++b) {
      sequences.push_back({b * q.dim(1), (b + 1) * q.dim(1), b * k.dim(1), (b + 1) * k.dim(1)});
    }
    return sequences;
  }
  const int32_t* offsets = args.input(kQOffsets).as<const int32_t>();
  const int32_t* begin = args.input(kKBegin).as<const int32_t>();
  const int32_t* end = args.input(kKEnd).as<const int32_t>();
  for (int64_t b = 0; b < args.input(kKBegin).dim(0); ++b) {
    const Sequence s{offsets[b], offsets[b + 1], begin[b], end[b]};
    if (s.q_begin < 0 || s.q_begin > s.q_end || s.q_end > q.dim(0) || s.k_begin < 0 || s.k_begin > s.k_end || s.k_end > k.dim(0)) {
      return error(ErrorCode::kBadInput, "sequence {}: query rows {} to {} of {}, key rows {} to {} of {}", b, s.q_begin, s.q_end,
                   q.dim(0), s.k_begin, s.k_end, k.dim(0));
    }
    sequences.push_back(s);
  }
  return sequences;
}

// Which keys a query sees, and the bias between them.
template <class A>
class Visibility {
 public:
  Visibility(const Attrs& attrs, const RunArgs& args, const A* bias)
      : args_(args), bias_(bias), causal_(attrs.integer("causal") != 0), window_(attrs.integer("window")) {
    if (bias != nullptr) strides_ = broadcast_strides(args.input(kBias).shape, args.input(kBias).shape);
  }

  // Every bias that the sequence will read is there. Errors: bad-input.
  Status check(int64_t b, const Sequence& s, int64_t heads) const {
    if (bias_ == nullptr) return {};
    const TensorArg bias = args_.input(kBias);
    if ((bias.dim(0) != 1 && b >= bias.dim(0)) || (bias.dim(1) != 1 && heads > bias.dim(1))) {
      return error(ErrorCode::kBadInput, "the bias {} is too small for sequence {} and {} heads", shape_text(bias.shape), b, heads);
    }
    TENON_TRY(check_positions(kQPositions, s.q_begin, s.q_end, bias.dim(2)));
    return check_positions(kKPositions, s.k_begin, s.k_end, bias.dim(3));
  }

  // The score of query and key rows of sequence b, biased; -inf where the key is hidden.
  A apply(A score, int64_t b, const Sequence& s, int64_t head, int64_t q_row, int64_t k_row) const {
    const int64_t q = position(kQPositions, q_row, s.q_begin), k = position(kKPositions, k_row, s.k_begin);
    if ((causal_ && k > q) || (window_ > 0 && std::abs(k - q) > window_)) return -std::numeric_limits<A>::infinity();
    if (bias_ == nullptr) return score;
    return score + bias_[b * strides_[0] + head * strides_[1] + q * strides_[2] + k * strides_[3]];
  }

 private:
  int64_t position(Input input, int64_t row, int64_t first) const {
    const TensorArg positions = args_.input(input);
    return positions ? positions.as<const int32_t>()[row] : row - first;
  }
  Status check_positions(Input input, int64_t begin, int64_t end, int64_t limit) const {
    for (int64_t row = begin; limit != 1 && row < end; ++row) {
      const int64_t p = position(input, row, begin);
      if (p < 0 || p >= limit) return error(ErrorCode::kBadInput, "row {} is at position {}, but the bias has {}", row, p, limit);
    }
    return {};
  }

  const RunArgs& args_;
  const A* bias_;
  std::vector<int64_t> strides_;
  bool causal_;
  int64_t window_;
};

// In place. A row without a finite maximum (no keys, or none visible) becomes zeros; NaN stays NaN.
template <class A>
void softmax_row(A* row, int64_t n) {
  A max = -std::numeric_limits<A>::infinity();
  for (int64_t j = 0; j < n; ++j) max = std::max(max, row[j]);
  const double shift = std::isinf(max) && max < 0 ? 0.0 : static_cast<double>(max);
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) {
    const double e = std::exp(static_cast<double>(row[j]) - shift);
    row[j] = static_cast<A>(e);
    sum += e;
  }
  for (int64_t j = 0; j < n; ++j) row[j] = sum == 0 ? A{0} : static_cast<A>(row[j] / sum);
}

// One head of one sequence at a time, in A.
template <class T>
class HeadLoop {
 public:
  using A = Compute<T>;

  HeadLoop(const Attrs& attrs, const RunArgs& args, const Visibility<A>& visibility)
      : args_(args), heads_(attrs), columns_(attrs.integers("columns")), scale_(attrs.number("scale")), visibility_(visibility) {}

  void run(int64_t b, const Sequence& s, int64_t head) {
    const int64_t keys = s.k_end - s.k_begin, kv_head = head / (heads_.q / heads_.kv);
    k_.resize(static_cast<size_t>(heads_.dim * keys));  // transposed: [dim, keys]
    v_.resize(static_cast<size_t>(keys * heads_.dim));
    for (int64_t j = 0; j < keys; ++j) {
      const T* k = element(kK, s.k_begin + j, kv_head);
      const T* v = element(kV, s.k_begin + j, kv_head);
      for (int64_t d = 0; d < heads_.dim; ++d) {
        k_[static_cast<size_t>(d * keys + j)] = convert<A>(k[d]);
        v_[static_cast<size_t>(j * heads_.dim + d)] = convert<A>(v[d]);
      }
    }
    for (int64_t i = s.q_begin; i < s.q_end; i += kBlock) query_block(b, s, head, i, std::min(kBlock, s.q_end - i), keys);
  }

 private:
  static constexpr int64_t kBlock = 64;  // query rows whose scores are held at once

  const T* element(Input input, int64_t row, int64_t head) const {
    const TensorArg x = args_.input(input);
    return x.as<const T>() + row * x.dim(-1) + columns_[input] + head * heads_.dim;
  }

  void query_block(int64_t b, const Sequence& s, int64_t head, int64_t first, int64_t count, int64_t keys) {
    q_.resize(static_cast<size_t>(count * heads_.dim));
    y_.resize(q_.size());
    scores_.resize(static_cast<size_t>(count * keys));
    for (int64_t i = 0; i < count; ++i) {
      const T* q = element(kQ, first + i, head);
      for (int64_t d = 0; d < heads_.dim; ++d) q_[static_cast<size_t>(i * heads_.dim + d)] = convert<A>(q[d]);
    }
    matrix_product(count, keys, heads_.dim, q_.data(), heads_.dim, k_.data(), keys, scores_.data(), keys);
    for (int64_t i = 0; i < count; ++i) {
      A* row = scores_.data() + i * keys;
      for (int64_t j = 0; j < keys; ++j) {
        row[j] = visibility_.apply(row[j] * static_cast<A>(scale_), b, s, head, first + i, s.k_begin + j);
      }
      softmax_row(row, keys);
    }
    matrix_product(count, heads_.dim, keys, scores_.data(), keys, v_.data(), heads_.dim, y_.data(), heads_.dim);
    for (int64_t i = 0; i < count; ++i) {
      T* y = args_.output().template as<T>() + (first + i) * heads_.q * heads_.dim + head * heads_.dim;
      for (int64_t d = 0; d < heads_.dim; ++d) y[d] = convert<T>(y_[static_cast<size_t>(i * heads_.dim + d)]);
    }
  }

  const RunArgs& args_;
  const Heads heads_;
  const std::vector<int64_t>& columns_;
  const double scale_;
  const Visibility<A>& visibility_;
  std::vector<A> q_, k_, v_, y_, scores_;
};

Status reference(const Attrs& attrs, const RunArgs& args) {
  TENON_ASSIGN(const std::vector<Sequence> sequences, sequences_of(args));
  const Heads heads(attrs);
  const TensorArg y = args.output();
  std::memset(y.data, 0, static_cast<size_t>(y.numel()) * dtype_size(y.dtype));  // rows of no sequence stay zero
  return visit_float(y.dtype, [&]<class T>() -> Status {
    using A = Compute<T>;
    Tensor bias;
    if (args.input(kBias)) {
      TENON_ASSIGN(bias, widen<A>(args.input(kBias)));
    }
    const Visibility<A> visibility(attrs, args, args.input(kBias) ? bias.as<A>() : nullptr);
    for (size_t b = 0; b < sequences.size(); ++b) TENON_TRY(visibility.check(static_cast<int64_t>(b), sequences[b], heads.q));
    for_chunks(args.pool, static_cast<int64_t>(sequences.size()) * heads.q, [&](int64_t begin, int64_t end) {
      HeadLoop<T> loop(attrs, args, visibility);
      for (int64_t task = begin; task < end; ++task) {
        loop.run(task / heads.q, sequences[static_cast<size_t>(task / heads.q)], task % heads.q);
      }
    });
    return {};
  });
}

// Two products over all pairs of rows that meet; packed sequences are taken to be equally long.
double flops(const Attrs& attrs, std::span<const TensorArg> inputs, std::span<const TensorArg>) {
  const Heads heads(attrs);
  const TensorArg q = inputs[kQ], k = inputs[kK];
  const bool packed = q.rank() == 2;
  const auto batch = static_cast<double>(packed ? std::max<int64_t>(1, inputs[kKBegin].dim(0)) : 1);
  const double q_rows = static_cast<double>(packed ? q.dim(0) : q.dim(0) * q.dim(1)), keys = static_cast<double>(k.dim(-2)) / batch;
  return q_rows * keys * static_cast<double>(heads.q) * (4.0 * static_cast<double>(heads.dim) + 5.0);
}

}  // namespace

OpDef define_attention() {
  const Arity optional = Arity::kOptional;
  return {.summary = "y[row, h*D + d] = sum_j softmax_j(scale * q_row_h . k_j_h + bias) v_j_h; dense: q [batch, q_len, Wq], k, v [batch, "
                     "k_len, W] -> [batch, q_len, heads*D]; packed: q [q_rows, Wq], k, v [k_rows, W] -> [q_rows, heads*D], where "
                     "sequence b has query rows q_offsets[b] .. q_offsets[b + 1] and key rows k_begin[b] .. k_end[b]; bias broadcasts "
                     "to [batch, heads, q_len, k_len] and is indexed by original positions; no keys give zeros",
          .inputs = {{"q"}, {"k"}, {"v"}, {"q_offsets", optional}, {"k_begin", optional}, {"k_end", optional},
                     {"q_positions", optional}, {"k_positions", optional}, {"bias", optional}},
          .attrs = {{"heads", int64_t{0}, true, "query heads"},
                    {"kv_heads", int64_t{0}, false, "key and value heads, shared by heads / kv_heads query heads each; 0: heads"},
                    {"head_dim", int64_t{0}, true, "D: columns of one head"},
                    {"columns", std::vector<int64_t>{0, 0, 0}, false, "where head 0 begins in the rows of q, k and v"},
                    {"scale", 1.0, true, "factor of the scores"},
                    {"causal", int64_t{0}, false, "1: keys after the query are hidden"},
                    {"window", int64_t{0}, false, "w > 0: keys more than w positions away are hidden"}},
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
