// Building a network call by call.
//
//   tenon::Network net;
//   tenon::Value ids = net.add_input("input_ids", tenon::DType::kI64, {"batch", "seq"});
//   tenon::Value x = net.embedding(ids, word_table);              // f32[batch,seq,768]
//   x = net.self_attention(x, weights, 12, net.padding_bias(mask));
//   net.mark_output(x, "last_hidden_state");
//
// Every call infers the shape of its result at once and throws tenon::Error (invalid-argument) that names the layer and
// the types at fault. Layers are emitted as plain operators; the compiler fuses them as it fuses an imported model's.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tenon/error.h"
#include "tenon/types.h"

namespace tenon {

namespace ir {
class Value;
}

// A tensor of a network under construction: a handle, valid as long as its Network. A default-made Value is absent,
// which is how optional arguments are left out; asked for its type, it throws.
class Value {
 public:
  Value() = default;
  explicit operator bool() const { return value_ != nullptr; }
  DType dtype() const;
  int rank() const;
  // The size of an axis (negative axes count from the end), or -1 where it is known only when the network runs.
  int64_t dim(int axis) const;
  std::string type() const;  // "f32[batch,seq,768]"

 private:
  friend class Network;
  friend struct NetworkAccess;
  explicit Value(ir::Value* value) : value_(value) {}
  ir::Value& get() const;
  ir::Value* value_ = nullptr;
};

// One axis of a network input: a size, -1 (any size), or a name. Axes of one name have one size in every run.
struct Axis {
  Axis(std::integral auto fixed) : size(static_cast<int64_t>(fixed)) {}  // NOLINT: implicit on purpose
  Axis(const char* symbol) : name(symbol) {}                             // NOLINT: implicit on purpose
  Axis(std::string symbol) : name(std::move(symbol)) {}                  // NOLINT: implicit on purpose
  int64_t size = -1;
  std::string name;
};

// A constant tensor, dense and row-major. The bytes are never copied: `owner` keeps them alive (a mapped file, a
// vector); without an owner the caller does, for as long as the network and the builds made from it. Without `data` a
// weight is only declared: the network has its shapes, and building it fails with the list of what is missing.
//
// The name is the key for refitting and for messages; the same weight given twice is stored once. Float weights of
// other types than f32 are widened to f32 when the network is built.
struct Weights {
  std::string name = {};
  DType dtype = DType::kF32;
  std::vector<int64_t> shape = {};
  const void* data = nullptr;
  std::shared_ptr<const void> owner = {};

  explicit operator bool() const { return data != nullptr || !shape.empty() || !name.empty(); }
  // f32 weights that own their values. values.size() must be the product of `shape`.
  static Weights from(std::string name, std::vector<int64_t> shape, std::vector<float> values);
};

// How the matrix of a linear layer is stored: [out, in] as PyTorch does, or [in, out] as TensorFlow and the formula x W
// do.
enum class LinearLayout { kOutIn, kInOut };

// gelu: x Φ(x) by erf; gelu_tanh: its tanh approximation; gelu_sigmoid: x σ(1.702 x); silu: x σ(x).
enum class Activation { kNone, kRelu, kGelu, kGeluTanh, kGeluSigmoid, kTanh, kSigmoid, kSilu };
enum class Unary { kNeg, kAbs, kExp, kLog, kSqrt, kReciprocal, kErf, kFloor, kNot };
enum class Elementwise { kAdd, kSub, kMul, kDiv, kPow, kMin, kMax, kEqual, kLess, kGreater, kAnd, kOr };
enum class Reduce { kSum, kMean, kMax, kMin, kProd };

// How rows of a sequence become one vector. first: the row at position 0 (CLS); mean, max: over the positions that the
// mask keeps; mean_sqrt: their sum over the square root of their count.
enum class Pooling { kFirst, kMean, kMax, kMeanSqrt };

struct LayerNormWeights {
  Weights gamma, beta;  // [hidden] each; beta is optional
};

// Matrices as `layout` says; biases [out], optional. Without `output` the heads' concatenation is the result.
struct AttentionWeights {
  Weights query, query_bias;
  Weights key, key_bias;
  Weights value, value_bias;
  Weights output = {}, output_bias = {};
  LinearLayout layout = LinearLayout::kOutIn;
};

struct FeedForwardWeights {
  Weights inner, inner_bias;  // hidden -> intermediate
  Weights outer, outer_bias;  // intermediate -> hidden
  LinearLayout layout = LinearLayout::kOutIn;
};

class Network {
 public:
  Network();
  ~Network();
  Network(Network&&) noexcept;
  Network& operator=(Network&&) noexcept;

  // The tensors that a caller of the engine gives and takes. Errors: a name given twice; a size of 0 or below -1.
  Value add_input(const std::string& name, DType dtype, const std::vector<Axis>& dims);
  void mark_output(Value value, const std::string& name);

  // What the layers that follow are called in messages, dumps and `tenon explain`: "encoder.layer.0".
  void set_scope(std::string scope);

  // ---- Constants
  // A weight as a value, for layers that are put together by hand.
  Value constant(const Weights& weights);
  // A rank-0 constant.
  Value scalar(double value, DType dtype = DType::kF32);
  // 0, 1, 2, … along axis `axis` of x: i64[size of that axis].
  Value positions(Value x, int axis);

  // ---- Layers of a Transformer
  // table[ids]; ids [...] of an integer type, table [rows, hidden] -> [..., hidden]. An id outside the table is an
  // error of the run.
  Value embedding(Value ids, const Weights& table);
  // x W + bias; x [..., in] -> [..., out]. W may be a table that embedding() uses too: tied weights are given twice,
  // stored once.
  Value linear(Value x, const Weights& weight, const Weights& bias = {}, LinearLayout layout = LinearLayout::kOutIn);
  // (x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axis.
  Value layer_norm(Value x, const LayerNormWeights& weights, double epsilon = 1e-12);
  // Multi-head self-attention: softmax(Q K^T / sqrt(hidden / heads) + bias) V, each head on its own columns; x [batch,
  // seq, in]. `mask` is absent, a 0/1 mask [batch, seq] (1: attend), or an f32 bias that broadcasts to [batch, heads,
  // seq, seq].
  Value self_attention(Value x, const AttentionWeights& weights, int64_t heads, Value mask = {});
  // outer(activation(inner(x)))
  Value feed_forward(Value x, const FeedForwardWeights& weights, Activation activation);
  // tanh(linear(row 0)); x [batch, seq, hidden] -> [batch, hidden].
  Value pooler(Value x, const Weights& weight, const Weights& bias, LinearLayout layout = LinearLayout::kOutIn);
  // A 0/1 mask [batch, seq] as an additive bias f32[batch, 1, 1, seq]: 0 where the mask is 1, the least float where it
  // is 0.
  Value padding_bias(Value mask);
  // x [batch, seq, hidden], mask [batch, seq] (unused for kFirst, may be absent) -> [batch, hidden].
  Value pooling(Value x, Value mask, Pooling kind);
  // x / max(|x|, epsilon) over the last axis.
  Value l2_normalize(Value x, double epsilon = 1e-12);

  // ---- Arithmetic, with numpy's broadcasting; both sides of one type
  Value elementwise(Elementwise op, Value a, Value b);
  Value add(Value a, Value b) { return elementwise(Elementwise::kAdd, a, b); }
  Value sub(Value a, Value b) { return elementwise(Elementwise::kSub, a, b); }
  Value mul(Value a, Value b) { return elementwise(Elementwise::kMul, a, b); }
  Value div(Value a, Value b) { return elementwise(Elementwise::kDiv, a, b); }
  // x * factor
  Value scale(Value x, double factor);
  Value unary(Unary op, Value x);
  Value activation(Value x, Activation kind);
  Value relu(Value x) { return activation(x, Activation::kRelu); }
  // a where the condition (bool) holds, else b.
  Value where(Value condition, Value a, Value b);
  Value cast(Value x, DType to);
  // numpy.matmul: [..., m, k] x [..., k, n] -> [..., m, n].
  Value matmul(Value a, Value b);
  Value softmax(Value x, int axis = -1);
  Value reduce(Reduce op, Value x, const std::vector<int>& axes, bool keep_dims = false);
  // Running sums along an axis: y[i] = x[0] + … + x[i].
  Value cumulative_sum(Value x, int axis);

  // ---- Shapes
  // dims: a size, 0 (as in x), or -1 (what remains, once).
  Value reshape(Value x, const std::vector<int64_t>& dims);
  // Axis i of the result is axis order[i] of x.
  Value transpose(Value x, const std::vector<int>& order);
  // reshape, then transpose; either list may be empty.
  Value shuffle(Value x, const std::vector<int64_t>& dims, const std::vector<int>& order);
  // Elements start, start + step, … before end of one axis. Negative start and end count from the end; a too large end
  // is cut.
  Value slice(Value x, int axis, int64_t start, int64_t end = std::numeric_limits<int64_t>::max(), int64_t step = 1);
  // One index of an axis, which disappears: select(x, 1, 0) is row 0 of every sequence.
  Value select(Value x, int axis, int64_t index);
  // x's entries along `axis` at `indices`, whose axes take that axis's place.
  Value gather(Value x, Value indices, int axis = 0);
  // rows[b, i] = x[b, indices[b, i]]; x [batch, seq, ...], indices i64[batch, n] -> [batch, n, ...].
  Value gather_rows(Value x, Value indices);
  Value concat(const std::vector<Value>& parts, int axis);

  // The network as text, weights left out.
  std::string to_text() const;

 private:
  friend struct NetworkAccess;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tenon
