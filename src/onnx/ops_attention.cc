// Attention and rotary embeddings of opset 23 and later, written out in primitive ops; the passes fuse them again.
#include <cmath>
#include <limits>

#include "onnx/ops.h"
#include "onnx/tensors.h"

namespace tenon::onnx {
namespace {

constexpr double kMasked = -std::numeric_limits<double>::infinity();

}  // namespace

Result<Value*> split_heads(Call& c, Value* x, int64_t heads) {
  if (x->rank() == 4) return x;
  if (x->rank() != 3) return error(ErrorCode::kBadModel, "an input of rank {}, expected 3 or 4", x->rank());
  if (heads < 1) return error(ErrorCode::kBadModel, "inputs of rank 3 need q_num_heads and kv_num_heads");
  const auto width = x->shape()[2].exact_div(Dim(heads));
  if (!width)
    return error(ErrorCode::kBadModel, "{} columns do not divide into {} heads", x->shape()[2].to_string(), heads);
  TENON_ASSIGN(x, c.reshape(x, {x->shape()[0], x->shape()[1], Dim(heads), *width}));
  return c.transpose(x, {0, 2, 1, 3});
}

namespace {

Result<Value*> merge_heads(Call& c, Value* x) {
  TENON_ASSIGN(x, c.transpose(x, {0, 2, 1, 3}));
  const Shape& s = x->shape();
  return c.reshape(x, {s[0], s[1], s[2] * s[3]});
}

// Each key head serves `group` query heads: [b, h, t, d] -> [b, h * group, t, d].
Result<Value*> repeat_heads(Call& c, Value* x, const Dim& group) {
  if (group == Dim(1)) return x;
  const Shape s = x->shape();
  TENON_ASSIGN(x, c.reshape(x, {s[0], s[1], Dim(1), s[2], s[3]}));
  TENON_ASSIGN(x, c.expand(x, {s[0], s[1], group, s[2], s[3]}));
  return c.reshape(x, {s[0], s[1] * group, s[2], s[3]});
}

Result<Value*> iota(Call& c, const Dim& start, const Dim& size, Shape shape) {
  TENON_ASSIGN(auto* y,
               c.emit(Op::k_iota, {}, {{"start", Shape{start}}, {"size", Shape{size}}, {"dtype", DType::kI64}}));
  return c.reshape(y, std::move(shape));
}

// Adds 0 where `keep` holds and -inf elsewhere.
Result<Value*> mask_scores(Call& c, Value* scores, Value* keep) {
  const DType dtype = scores->dtype();
  TENON_ASSIGN(auto* bias, c.emit(Op::k_where, {keep, c.scalar(dtype, 0), c.scalar(dtype, kMasked)}));
  return c.emit(Op::k_add, {scores, bias});
}

// A mask may cover fewer keys than there are: the rest is hidden.
Result<Value*> pad_mask(Call& c, Value* mask, const Dim& keys) {
  if (mask->rank() == 0 || mask->shape().back() == keys || mask->shape().back() == Dim(1)) return mask;
  if (!mask->shape().back().is_const() || !keys.is_const()) return mask;
  Shape before(mask->shape().size(), Dim(0)), after = before;
  after.back() = keys - mask->shape().back();
  const double hidden = mask->dtype() == DType::kBool ? 0 : kMasked;
  return c.emit(Op::k_pad, {mask}, {{"before", before}, {"after", after}, {"value", hidden}});
}

// Hides keys behind each query. Queries follow `past` keys, or end where the keys of their batch entry end (`lengths`).
Result<Value*> mask_causal(Call& c, Value* scores, const Dim& past, Value* lengths) {
  const Dim queries = scores->shape()[2], keys = scores->shape()[3];
  TENON_ASSIGN(auto* key, iota(c, Dim(0), keys, {Dim(1), keys}));
  TENON_ASSIGN(auto* query, iota(c, lengths == nullptr ? past : -queries, queries, {queries, Dim(1)}));
  if (lengths != nullptr) {
    TENON_ASSIGN(query, c.emit(Op::k_add, {query, lengths}));
  }
  TENON_ASSIGN(auto* keep, c.emit(Op::k_less_equal, {key, query}));
  return mask_scores(c, scores, keep);
}

// Scores with everything that is added to them before the softmax. `stage` gets what output 3 asks for.
Result<Value*> masked_scores(Call& c, Value* scores, const Dim& past, Value** stage) {
  const int64_t mode = c.integer("qk_matmul_output_mode", 0);
  if (mode == 0) *stage = scores;
  if (const double softcap = c.number("softcap", 0); softcap != 0) {
    TENON_ASSIGN(scores, c.emit(Op::k_div, {scores, c.scalar(scores->dtype(), softcap)}));
    TENON_ASSIGN(scores, c.emit(Op::k_tanh, {scores}));
    TENON_ASSIGN(scores, c.emit(Op::k_mul, {scores, c.scalar(scores->dtype(), softcap)}));
  }
  if (mode == 1) *stage = scores;
  const Dim keys = scores->shape()[3];
  if (Value* mask = c.input(3); mask != nullptr) {
    TENON_ASSIGN(mask, pad_mask(c, mask, keys));
    if (mask->dtype() == DType::kBool) {
      TENON_ASSIGN(scores, mask_scores(c, scores, mask));
    } else {
      TENON_ASSIGN(mask, c.cast(mask, scores->dtype()));
      TENON_ASSIGN(scores, c.emit(Op::k_add, {scores, mask}));
    }
  }
  Value* lengths = c.input(6);
  if (lengths != nullptr) {
    TENON_ASSIGN(lengths, c.cast(lengths, DType::kI64));
    TENON_ASSIGN(lengths, c.reshape(lengths, {lengths->shape()[0], Dim(1), Dim(1), Dim(1)}));
    TENON_ASSIGN(auto* key, iota(c, Dim(0), keys, {Dim(1), Dim(1), Dim(1), keys}));
    TENON_ASSIGN(auto* keep, c.emit(Op::k_less, {key, lengths}));
    TENON_ASSIGN(scores, mask_scores(c, scores, keep));
  }
  if (c.integer("is_causal", 0) != 0) {
    TENON_ASSIGN(scores, mask_causal(c, scores, past, lengths));
  }
  if (mode == 2) *stage = scores;
  return scores;
}

// Softmax over the keys, in the precision that the model asks for; a query without keys attends to nothing.
Result<Value*> attention_weights(Call& c, Value* scores) {
  const DType dtype = scores->dtype();
  if (c.has("softmax_precision")) {
    TENON_ASSIGN(const DType precision, dtype_of(static_cast<int32_t>(c.integer("softmax_precision", 1))));
    TENON_ASSIGN(scores, c.cast(scores, precision));
  }
  TENON_ASSIGN(auto* weights, c.emit(Op::k_softmax, {scores}, {{"axis", -1}}));
  if (c.input(3) != nullptr || c.input(6) != nullptr) {
    TENON_ASSIGN(auto* empty, c.emit(Op::k_is_nan, {weights}));
    TENON_ASSIGN(weights, c.emit(Op::k_where, {empty, c.scalar(weights->dtype(), 0), weights}));
  }
  return c.cast(weights, dtype);
}

// [batch, rows, heads, d]-wise rotation needs cos and sin as [batch, 1, rows, d / 2].
Result<Value*> rotation_table(Call& c, Value* table, Value* positions) {
  if (positions != nullptr) {
    TENON_ASSIGN(table, c.emit(Op::k_gather, {table, positions}, {{"axis", 0}}));
  }
  if (table->rank() != 3)
    return error(ErrorCode::kBadModel, "cosines and sines of rank {}, expected 3 (or 2 and position ids)",
                 table->rank());
  const Shape& s = table->shape();
  return c.reshape(table, {s[0], Dim(1), s[1], s[2]});
}

struct Halves {
  Value* first = nullptr;
  Value* second = nullptr;
};

// The pairs that rotate together: the halves of the last axis, or even and odd columns.
Result<Halves> split_pairs(Call& c, Value* x, const Dim& half, bool interleaved) {
  Halves h;
  if (!interleaved) {
    TENON_ASSIGN(h.first, c.slice(x, 3, Dim(0), half));
    TENON_ASSIGN(h.second, c.slice(x, 3, half, half * Dim(2)));
    return h;
  }
  Shape s = x->shape();
  s.back() = half;
  s.push_back(Dim(2));
  TENON_ASSIGN(auto* pairs, c.reshape(x, s));
  s.pop_back();
  TENON_ASSIGN(auto* even, c.slice(pairs, 4, Dim(0), Dim(1)));
  TENON_ASSIGN(auto* odd, c.slice(pairs, 4, Dim(1), Dim(2)));
  TENON_ASSIGN(h.first, c.reshape(even, s));
  TENON_ASSIGN(h.second, c.reshape(odd, s));
  return h;
}

Result<Value*> join_pairs(Call& c, const Halves& h, bool interleaved) {
  if (!interleaved) return c.emit(Op::k_concat, {h.first, h.second}, {{"axis", 3}});
  Shape s = h.first->shape();
  const Dim width = s.back() * Dim(2);
  s.push_back(Dim(1));
  TENON_ASSIGN(auto* even, c.reshape(h.first, s));
  TENON_ASSIGN(auto* odd, c.reshape(h.second, s));
  TENON_ASSIGN(auto* pairs, c.emit(Op::k_concat, {even, odd}, {{"axis", 4}}));
  s.pop_back();
  s.back() = width;
  return c.reshape(pairs, s);
}

// a x + sign b y
Result<Value*> combine(Call& c, Op op, Value* a, Value* x, Value* b, Value* y) {
  TENON_ASSIGN(auto* left, c.emit(Op::k_mul, {a, x}));
  TENON_ASSIGN(auto* right, c.emit(Op::k_mul, {b, y}));
  return c.emit(op, {left, right});
}

}  // namespace

// Y = softmax(scale Q K' + mask) V per head; past keys and values stand before the present ones.
Status import_attention(Call& c) {
  for (const char* window : {"left_window_size", "right_window_size"})
    if (c.integer(window, -1) >= 0) return error(ErrorCode::kUnsupported, "{} is set", window);
  Value *q = c.input(0), *k = c.input(1), *v = c.input(2);
  const bool merged = q->rank() == 3;
  const int64_t heads = c.integer("q_num_heads", 0), kv_heads = c.integer("kv_num_heads", 0);
  TENON_ASSIGN(q, split_heads(c, q, heads));
  TENON_ASSIGN(k, split_heads(c, k, kv_heads));
  TENON_ASSIGN(v, split_heads(c, v, kv_heads));
  Dim past(0);
  if (Value* past_key = c.input(4), *past_value = c.input(5); past_key != nullptr && past_value != nullptr) {
    if (past_key->rank() != 4) return error(ErrorCode::kBadModel, "past keys of rank {}, expected 4", past_key->rank());
    past = past_key->shape()[2];
    TENON_ASSIGN(k, c.emit(Op::k_concat, {past_key, k}, {{"axis", 2}}));
    TENON_ASSIGN(v, c.emit(Op::k_concat, {past_value, v}, {{"axis", 2}}));
  }
  TENON_TRY(c.yield(k, 1));
  TENON_TRY(c.yield(v, 2));
  const auto group = q->shape()[1].exact_div(k->shape()[1]);
  if (!group)
    return error(ErrorCode::kBadModel, "{} query heads do not share {} key heads evenly", q->shape()[1].to_string(),
                 k->shape()[1].to_string());
  TENON_ASSIGN(k, repeat_heads(c, k, *group));
  TENON_ASSIGN(v, repeat_heads(c, v, *group));

  const Dim& width = q->shape()[3];
  if (!c.has("scale") && !width.is_const())
    return error(ErrorCode::kUnsupported, "the head size {} is not constant", width.to_string());
  const double scale = c.number("scale", width.is_const() ? 1.0 / std::sqrt(static_cast<double>(width.value())) : 1.0);
  TENON_ASSIGN(auto* keys, c.transpose(k, {0, 1, 3, 2}));
  TENON_ASSIGN(auto* scores, c.emit(Op::k_matmul, {q, keys}));
  TENON_ASSIGN(scores, c.emit(Op::k_mul, {scores, c.scalar(scores->dtype(), scale)}));
  Value* stage = nullptr;
  TENON_ASSIGN(scores, masked_scores(c, scores, past, &stage));
  TENON_ASSIGN(auto* weights, attention_weights(c, scores));
  TENON_TRY(c.yield(stage == nullptr ? weights : stage, 3));
  TENON_ASSIGN(auto* y, c.emit(Op::k_matmul, {weights, v}));
  return c.yield(merged ? merge_heads(c, y) : Result<Value*>(y));
}

// Rotates pairs (x1, x2) of each head by the angles of their position: (x1 cos - x2 sin, x1 sin + x2 cos).
Status import_rotary_embedding(Call& c) {
  Value* x = c.input(0);
  const bool merged = x->rank() == 3;
  const bool interleaved = c.integer("interleaved", 0) != 0;
  TENON_ASSIGN(x, split_heads(c, x, c.integer("num_heads", 0)));
  TENON_ASSIGN(auto* cosines, rotation_table(c, c.input(1), c.input(3)));
  TENON_ASSIGN(auto* sines, rotation_table(c, c.input(2), c.input(3)));
  const Dim width = x->shape()[3];
  const int64_t rotated = c.integer("rotary_embedding_dim", 0);
  const Dim turning = rotated > 0 ? Dim(rotated) : width;
  const auto half = turning.exact_div(Dim(2));
  if (!half || !(width - turning).at_least(0))
    return error(ErrorCode::kBadModel, "{} of {} columns cannot rotate in pairs", turning.to_string(),
                 width.to_string());
  TENON_ASSIGN(cosines, c.slice(cosines, 3, Dim(0), *half));
  TENON_ASSIGN(sines, c.slice(sines, 3, Dim(0), *half));
  TENON_ASSIGN(auto* turn, c.slice(x, 3, Dim(0), turning));
  TENON_ASSIGN(const Halves in, split_pairs(c, turn, *half, interleaved));
  Value* y = nullptr;
  if (interleaved) {
    Halves out;
    TENON_ASSIGN(out.first, combine(c, Op::k_sub, cosines, in.first, sines, in.second));
    TENON_ASSIGN(out.second, combine(c, Op::k_add, sines, in.first, cosines, in.second));
    TENON_ASSIGN(y, join_pairs(c, out, true));
  } else {  // as models spell it that compute the rotation themselves: one form for the passes
    TENON_ASSIGN(auto* negative, c.emit(Op::k_neg, {in.second}));
    TENON_ASSIGN(auto* turned, join_pairs(c, {negative, in.first}, false));
    TENON_ASSIGN(cosines, join_pairs(c, {cosines, cosines}, false));
    TENON_ASSIGN(sines, join_pairs(c, {sines, sines}, false));
    TENON_ASSIGN(y, combine(c, Op::k_add, cosines, turn, sines, turned));
  }
  if (turning != width) {
    TENON_ASSIGN(auto* rest, c.slice(x, 3, turning, width));
    TENON_ASSIGN(y, c.emit(Op::k_concat, {y, rest}, {{"axis", 3}}));
  }
  return c.yield(merged ? merge_heads(c, y) : Result<Value*>(y));
}

}  // namespace tenon::onnx
