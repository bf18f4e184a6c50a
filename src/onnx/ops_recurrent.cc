// RNN, GRU, LSTM.
#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

struct Cell {
  std::string_view name, own;  // in ONNX, in the IR
  double alpha, beta;          // fallbacks
  int parameters;
};

constexpr Cell kCells[] = {{"Sigmoid", "sigmoid", 0, 0, 0},
                           {"Tanh", "tanh", 0, 0, 0},
                           {"Relu", "relu", 0, 0, 0},
                           {"LeakyRelu", "leaky_relu", 0.01, 0, 1},
                           {"ThresholdedRelu", "thresholded_relu", 1, 0, 1},
                           {"Affine", "affine", 1, 0, 2},
                           {"ScaledTanh", "scaled_tanh", 1, 1, 2},
                           {"HardSigmoid", "hard_sigmoid", 0.2, 0.5, 2},
                           {"Elu", "elu", 1, 0, 1},
                           {"Softsign", "softsign", 0, 0, 0},
                           {"Softplus", "softplus", 0, 0, 0}};

// The activations with their parameters, as the IR's text: parameters are given in the order of the activations that
// take some.
Result<std::string> activations_of(Call& c, std::vector<std::string> fallback, size_t directions) {
  std::vector<std::string> names = c.texts("activations");
  for (size_t d = 0; names.size() < fallback.size() * directions && !c.has("activations"); ++d)
    names.insert(names.end(), fallback.begin(), fallback.end());
  const std::vector<float> alphas = c.numbers("activation_alpha"), betas = c.numbers("activation_beta");
  size_t alpha = 0, beta = 0;
  std::string text;
  for (const std::string& name : names) {
    const auto lower = [](std::string_view s) {
      std::string out(s);
      for (char& ch : out) ch = static_cast<char>(std::tolower(static_cast<unsigned char>(ch)));
      return out;
    };
    const auto cell =
        std::find_if(std::begin(kCells), std::end(kCells), [&](const Cell& k) { return lower(k.name) == lower(name); });
    if (cell == std::end(kCells)) return error(ErrorCode::kUnsupported, "activation '{}'", name);
    text += (text.empty() ? "" : ",") + std::string(cell->own);
    if (cell->parameters > 0)
      text += fmt::format(":{}", alpha < alphas.size() ? static_cast<double>(alphas[alpha++]) : cell->alpha);
    if (cell->parameters > 1)
      text += fmt::format(":{}", beta < betas.size() ? static_cast<double>(betas[beta++]) : cell->beta);
  }
  return text;
}

// [batch, directions, hidden] <-> [directions, batch, hidden], where the batch stands first.
Result<Value*> swap_state(Call& c, Value* state, bool swap) {
  return state == nullptr || !swap ? Result<Value*>(state) : c.transpose(state, {1, 0, 2});
}

Status import_recurrent(Call& c, Op op, std::vector<std::string> activations, ir::Attrs attrs) {
  Value *x = c.input(0), *r = c.input(2);
  const bool batch_first = c.integer("layout", 0) != 0;
  if (x->rank() != 3 || r->rank() != 3)
    return error(ErrorCode::kBadModel, "inputs of rank {} and {}, expected 3", x->rank(), r->rank());
  if (!r->shape()[2].is_const())
    return error(ErrorCode::kUnsupported, "a hidden size of {}", r->shape()[2].to_string());
  const std::string direction = c.text("direction", "forward");
  TENON_ASSIGN(auto text, activations_of(c, std::move(activations), direction == "bidirectional" ? 2 : 1));
  attrs.set("hidden", c.integer("hidden_size", r->shape()[2].value()));
  attrs.set("direction", direction);
  attrs.set("activations", std::move(text));
  attrs.set("clip", c.number("clip", 0));
  if (batch_first) {
    TENON_ASSIGN(x, c.transpose(x, {1, 0, 2}));
  }
  TENON_ASSIGN(auto* h, swap_state(c, c.input(5), batch_first));
  std::vector<Value*> inputs{x, c.input(1), r, c.input(3), c.input(4), h};
  if (op == Op::k_lstm) {
    TENON_ASSIGN(auto* cell, swap_state(c, c.input(6), batch_first));
    inputs.push_back(cell);
    inputs.push_back(c.input(7));
  }
  TENON_ASSIGN(auto* node, c.emit_node(op, std::move(inputs), std::move(attrs)));
  TENON_TRY(c.yield(batch_first ? c.transpose(node->output(), {2, 0, 1, 3}) : Result<Value*>(node->output())));
  for (int i = 1; i < node->num_outputs(); ++i) TENON_TRY(c.yield(swap_state(c, node->output(i), batch_first), i));
  return {};
}

}  // namespace

Status import_rnn(Call& c) { return import_recurrent(c, Op::k_rnn, {"Tanh"}, {}); }

Status import_gru(Call& c) {
  return import_recurrent(c, Op::k_gru, {"Sigmoid", "Tanh"},
                          {{"linear_before_reset", c.integer("linear_before_reset", 0)}});
}

Status import_lstm(Call& c) {
  return import_recurrent(c, Op::k_lstm, {"Sigmoid", "Tanh", "Tanh"}, {{"input_forget", c.integer("input_forget", 0)}});
}

}  // namespace tenon::onnx
