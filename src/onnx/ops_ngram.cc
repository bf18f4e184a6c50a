// TfIdfVectorizer: how often each n-gram of a pool occurs, by comparing all windows with all n-grams.
#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

// The n-grams of one length.
struct Grams {
  int64_t length = 0;
  int64_t first = 0;                         // ordinal of the first one
  std::vector<std::vector<int64_t>> tokens;  // [place][gram]
};

Result<std::vector<Grams>> grams_of(Call& c, int64_t shortest, int64_t longest) {
  const std::vector<int64_t> pool = c.integers("pool_int64s"), begins = c.integers("ngram_counts");
  if (pool.empty()) return error(ErrorCode::kUnsupported, "a pool of strings");
  std::vector<Grams> all;
  int64_t ordinal = 0;
  for (size_t n = 1; n <= begins.size(); ++n) {
    const int64_t begin = begins[n - 1], end = n < begins.size() ? begins[n] : static_cast<int64_t>(pool.size()),
                  length = static_cast<int64_t>(n);
    if (begin < 0 || begin > end || end > static_cast<int64_t>(pool.size()) || (end - begin) % length != 0) {
      return error(ErrorCode::kBadModel, "the {}-grams stand from {} to {} in a pool of {}", n, begin, end,
                   pool.size());
    }
    Grams grams{length, ordinal, std::vector<std::vector<int64_t>>(n)};
    ordinal += (end - begin) / length;
    for (int64_t i = begin; i < end; ++i)
      grams.tokens[static_cast<size_t>((i - begin) % length)].push_back(pool[static_cast<size_t>(i)]);
    if (length >= shortest && length <= longest && begin < end) all.push_back(std::move(grams));
  }
  return all;
}

// [rows, grams]: how many windows of x [rows, columns], whose elements stand `distance` apart, are each gram. Null: no
// window.
Result<Value*> count(Call& c, Value* x, const Grams& grams, int64_t distance) {
  const Dim windows = x->shape()[1] - Dim((grams.length - 1) * distance);
  if ((-windows).at_least(0)) return nullptr;
  if (!windows.at_least(0))
    return error(ErrorCode::kUnsupported, "{}-grams of {} tokens", grams.length, x->shape()[1].to_string());
  Value* all = nullptr;
  for (int64_t place = 0; place < grams.length; ++place) {
    TENON_ASSIGN(auto* token, c.slice(x, 1, Dim(place * distance), Dim(place * distance) + windows));
    TENON_ASSIGN(token, c.reshape(token, {x->shape()[0], windows, Dim(1)}));
    Value* wanted = c.literal(Tensor::ints(grams.tokens[static_cast<size_t>(place)]));
    TENON_ASSIGN(auto* equal, c.emit(Op::k_equal, {token, wanted}));
    if (all != nullptr) {
      TENON_ASSIGN(equal, c.emit(Op::k_and, {all, equal}));
    }
    all = equal;
  }
  TENON_ASSIGN(all, c.cast(all, DType::kF32));
  return c.emit(Op::k_reduce_sum, {all}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", 0}});
}

}  // namespace

Status import_tf_idf(Call& c) {
  Value* x = c.input(0);
  const bool flat = x->rank() == 1;
  if (!is_integer(x->dtype()) || x->rank() < 1 || x->rank() > 2)
    return error(ErrorCode::kUnsupported, "an input {}", x->type().to_string());
  TENON_ASSIGN(x, c.cast(x, DType::kI64));
  if (flat) {
    TENON_ASSIGN(x, c.reshape(x, {Dim(1), x->shape()[0]}));
  }
  const std::string mode = c.text("mode", "TF");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF") return error(ErrorCode::kBadModel, "mode '{}'", mode);
  const std::vector<int64_t> columns = c.integers("ngram_indexes");
  const std::vector<float> weights = c.numbers("weights");
  int64_t width = 0;
  for (const int64_t column : columns) {
    if (column < 0 || column >= (int64_t{1} << 20)) return error(ErrorCode::kBadModel, "the column {}", column);
    width = std::max(width, column + 1);
  }
  const int64_t skips = c.integer("max_skip_count", 0);
  if (skips < 0 || skips > 1024) return error(ErrorCode::kBadModel, "{} skips", skips);
  TENON_ASSIGN(const auto lengths, grams_of(c, c.integer("min_gram_length", 1), c.integer("max_gram_length", 1)));
  TENON_ASSIGN(auto* y, c.expand(c.scalar(DType::kF32, 0), {x->shape()[0], Dim(width)}));
  for (const Grams& grams : lengths) {
    Value* counts = nullptr;
    for (int64_t distance = 1; distance <= (grams.length == 1 ? 1 : skips + 1); ++distance) {
      TENON_ASSIGN(auto* some, count(c, x, grams, distance));
      if (some != nullptr && counts != nullptr) {
        TENON_ASSIGN(some, c.emit(Op::k_add, {counts, some}));
      }
      if (some != nullptr) counts = some;
    }
    if (counts == nullptr) continue;
    if (mode == "IDF") {
      TENON_ASSIGN(counts, c.with(Op::k_min, counts, 1));
    }
    // To its column goes each gram, with its weight.
    const auto number = static_cast<int64_t>(grams.tokens[0].size());
    if (number * width > (int64_t{1} << 24))
      return error(ErrorCode::kUnsupported, "{} n-grams in {} columns", number, width);
    std::vector<float> place(static_cast<size_t>(number * width), 0.0f);
    for (int64_t g = 0; g < number; ++g) {
      const auto ordinal = static_cast<size_t>(grams.first + g);
      if (ordinal >= columns.size()) return error(ErrorCode::kBadModel, "{} columns for more n-grams", columns.size());
      place[static_cast<size_t>(g * width + columns[ordinal])] =
          mode == "TF" || ordinal >= weights.size() ? 1 : weights[ordinal];
    }
    TENON_ASSIGN(counts, c.emit(Op::k_matmul, {counts, c.literal(Tensor::from(DType::kF32, {number, width}, place))}));
    TENON_ASSIGN(y, c.emit(Op::k_add, {y, counts}));
  }
  if (!flat) return c.yield(y);
  return c.yield(c.reshape(y, {Dim(width)}));
}

}  // namespace tenon::onnx
