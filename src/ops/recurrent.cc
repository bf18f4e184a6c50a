// Recurrent layers of one or two directions (ONNX RNN, GRU, LSTM): x [time, batch, in], w [directions, gates * hidden,
// in], r [directions, gates * hidden, hidden], bias [directions, 2 * gates * hidden].
#include <charconv>
#include <cmath>

#include "ops/matrix_product.h"
#include "ops/wide.h"

namespace tenon::ops {
namespace {

// An activation with its parameters: "tanh", "leaky_relu:0.01", "affine:1:0".
struct Activation {
  std::string_view name;
  double alpha = 0, beta = 0;

  double operator()(double x) const {
    if (name == "sigmoid") return 1 / (1 + std::exp(-x));
    if (name == "tanh") return std::tanh(x);
    if (name == "relu") return x < 0 ? 0 : x;
    if (name == "leaky_relu") return x < 0 ? alpha * x : x;
    if (name == "thresholded_relu") return x >= alpha ? x : 0;
    if (name == "affine") return alpha * x + beta;
    if (name == "scaled_tanh") return alpha * std::tanh(beta * x);
    if (name == "hard_sigmoid") return std::clamp(alpha * x + beta, 0.0, 1.0);
    if (name == "elu") return x < 0 ? alpha * (std::exp(x) - 1) : x;
    if (name == "softsign") return x / (1 + std::abs(x));
    return std::log1p(std::exp(x));  // softplus
  }
};

constexpr std::string_view kActivations[] = {"sigmoid", "tanh",        "relu",         "leaky_relu", "thresholded_relu",
                                             "affine",  "scaled_tanh", "hard_sigmoid", "elu",        "softsign",
                                             "softplus"};

std::vector<Activation> parse_activations(std::string_view text) {
  std::vector<Activation> list;
  while (!text.empty()) {
    std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    Activation& a = list.emplace_back();
    a.name = item.substr(0, item.find(':'));
    item.remove_prefix(a.name.size());
    for (double* parameter : {&a.alpha, &a.beta}) {
      if (item.empty()) break;
      const auto [end, failed] = std::from_chars(item.data() + 1, item.data() + item.size(), *parameter);
      item.remove_prefix(static_cast<size_t>(end - item.data()));
    }
  }
  return list;
}

int64_t directions_of(const Attrs& attrs) { return attrs.text("direction") == "bidirectional" ? 2 : 1; }

template <int64_t kGates, size_t kFunctions>
Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  constexpr bool kLstm = kGates == 4;
  const std::string& direction = c.attrs.text("direction");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
    return error(ErrorCode::kBadModel, "unknown direction \"{}\"", direction);
  const Dim directions(directions_of(c.attrs)), hidden(c.attrs.integer("hidden"));
  if (c.attrs.integer("hidden") < 1)
    return error(ErrorCode::kBadModel, "a hidden size of {}", c.attrs.integer("hidden"));
  const auto activations = parse_activations(c.attrs.text("activations"));
  if (activations.size() != kFunctions * static_cast<size_t>(directions.value()))
    return error(ErrorCode::kBadModel, "{} activations", activations.size());
  for (const Activation& a : activations)
    if (std::ranges::find(kActivations, a.name) == std::end(kActivations))
      return error(ErrorCode::kUnsupported, "activation \"{}\"", a.name);
  if (c.rank(0) != 3) return error(ErrorCode::kBadModel, "x of rank {}", c.rank(0));
  const Dim time = c.shape(0)[0], batch = c.shape(0)[1], in = c.shape(0)[2], rows = hidden * Dim(kGates);
  const Shape wanted[] = {
      {},      {directions, rows, in},      {directions, rows, hidden},  {directions, rows * Dim(2)},
      {batch}, {directions, batch, hidden}, {directions, batch, hidden}, {directions, hidden * Dim(3)}};
  for (int i = 1; i < c.num_inputs(); ++i) {
    if (!c.has(i)) continue;
    if (i == 4) {
      TENON_TRY(check_dtype(c, 4, DTypes::kInteger));
    } else if (c.dtype(i) != c.dtype(0)) {
      return error(ErrorCode::kBadModel, "x is {}, input {} is {}", dtype_name(c.dtype(0)), i, dtype_name(c.dtype(i)));
    }
    const Shape &shape = c.shape(i), &expected = wanted[i];
    if (shape.size() != expected.size())
      return error(ErrorCode::kBadModel, "input {} has rank {}, {} expected", i, shape.size(), expected.size());
    for (size_t k = 0; k < shape.size(); ++k)
      if (Status s = c.same(shape[k], expected[k]).status(); !s.ok())
        return s.with_context(fmt::format("input {}, axis {}", i, k));
  }
  TENON_TRY(c.output(c.dtype(0), {time, directions, batch, hidden}));
  TENON_TRY(c.output(c.dtype(0), {directions, batch, hidden}));
  return kLstm ? c.output(c.dtype(0), {directions, batch, hidden}) : Status();
}

// What a cell sees of one step of one sequence: gates hold w x + the input half of the bias.
struct Step {
  int64_t hidden = 0;
  double clip = 0;
  const Activation* f = nullptr;
  std::vector<double>&gates, &h, &c;  // h and c: the state, in and out
  const std::vector<double>&r, &recurrent_bias, &peephole;

  double clipped(double v) const { return clip > 0 ? std::clamp(v, -clip, clip) : v; }
  // Row `row` of r times v, and its bias.
  double recurrent(size_t row, const std::vector<double>& v) const {
    double sum = recurrent_bias.empty() ? 0 : recurrent_bias[row];
    for (size_t k = 0; k < v.size(); ++k) sum += r[row * v.size() + k] * v[k];
    return sum;
  }
};

// H = f(Xt W' + H R' + b)
void rnn_step(const Attrs&, Step& s) {
  std::vector<double> next(s.h.size());
  for (size_t i = 0; i < next.size(); ++i) next[i] = s.f[0](s.clipped(s.gates[i] + s.recurrent(i, s.h)));
  s.h = next;
}

// Gates z, r, h; H = (1 - z) h + z H.
void gru_step(const Attrs& attrs, Step& s) {
  const size_t n = s.h.size();
  std::vector<double> z(n), reset(n), gated(n);
  for (size_t i = 0; i < n; ++i) {
    z[i] = s.f[0](s.clipped(s.gates[i] + s.recurrent(i, s.h)));
    reset[i] = s.f[0](s.clipped(s.gates[n + i] + s.recurrent(n + i, s.h)));
    gated[i] = reset[i] * s.h[i];
  }
  const bool after = attrs.integer("linear_before_reset") != 0;
  std::vector<double> next(n);
  for (size_t i = 0; i < n; ++i) {
    const double recurrent = after ? reset[i] * s.recurrent(2 * n + i, s.h) : s.recurrent(2 * n + i, gated);
    next[i] = (1 - z[i]) * s.f[1](s.clipped(s.gates[2 * n + i] + recurrent)) + z[i] * s.h[i];
  }
  s.h = next;
}

// Gates i, o, f, c; C = f C + i c, H = o h(C). Peepholes i, o, f look at C.
void lstm_step(const Attrs& attrs, Step& s) {
  const size_t n = s.h.size();
  const auto peep = [&](size_t gate, size_t i) { return s.peephole.empty() ? 0 : s.peephole[gate * n + i]; };
  const bool coupled = attrs.integer("input_forget") != 0;
  std::vector<double> next(n);
  for (size_t k = 0; k < n; ++k) {
    const double i = s.f[0](s.clipped(s.gates[k] + s.recurrent(k, s.h) + peep(0, k) * s.c[k]));
    const double f =
        coupled ? 1 - i : s.f[0](s.clipped(s.gates[2 * n + k] + s.recurrent(2 * n + k, s.h) + peep(2, k) * s.c[k]));
    const double c = s.f[1](s.clipped(s.gates[3 * n + k] + s.recurrent(3 * n + k, s.h)));
    const double cell = f * s.c[k] + i * c;
    const double o = s.f[0](s.clipped(s.gates[n + k] + s.recurrent(n + k, s.h) + peep(1, k) * cell));
    s.c[k] = cell;
    next[k] = o * s.f[2](cell);
  }
  s.h = next;
}

using StepFunction = void (*)(const Attrs&, Step&);

template <class T>
std::vector<double> read(const TensorArg& t, int64_t begin, int64_t count) {
  std::vector<double> values(t ? static_cast<size_t>(count) : 0);
  for (size_t i = 0; i < values.size(); ++i) values[i] = convert<double>(t.as<T>()[begin + static_cast<int64_t>(i)]);
  return values;
}

template <int64_t kGates, size_t kFunctions, StepFunction kStep>
Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output(0), last = args.output(1);
  const int64_t time = x.dim(0), batch = x.dim(1), in = x.dim(2), hidden = attrs.integer("hidden"),
                rows = kGates * hidden;
  const auto activations = parse_activations(attrs.text("activations"));
  std::vector<int64_t> lengths(static_cast<size_t>(batch), time);
  if (args.input(4)) {
    TENON_ASSIGN(lengths, read_ints(args.input(4)));
    for (size_t b = 0; b < lengths.size(); ++b)
      if (lengths[b] < 0 || lengths[b] > time)
        return error(ErrorCode::kBadInput, "length {} of sequence {} is not in [0, {}]", lengths[b], b, time);
  }
  for (int i = 1; i < static_cast<int>(args.inputs.size()); ++i) {
    const int64_t parts[] = {0, rows * in, rows * hidden, 2 * rows, 0, batch * hidden, batch * hidden, 3 * hidden};
    const bool fits = i == 4 ? static_cast<int64_t>(lengths.size()) == batch
                             : args.input(i).numel() == parts[i] * directions_of(attrs);
    if (args.input(i) && !fits)
      return error(ErrorCode::kBadInput, "input {} {} does not fit x {}", i, shape_text(args.input(i).shape),
                   shape_text(x.shape));
  }
  return visit_float(x.dtype, [&]<class T>() -> Status {
    std::fill_n(y.as<T>(), y.numel(), T(0.0f));
    for (int64_t d = 0; d < directions_of(attrs); ++d) {
      const bool backwards = d == 1 || attrs.text("direction") == "reverse";
      const std::vector<double> w = read<T>(args.input(1), d * rows * in, rows * in),
                                r = read<T>(args.input(2), d * rows * hidden, rows * hidden);
      const std::vector<double> bias = read<T>(args.input(3), d * 2 * rows, rows),
                                recurrent_bias = read<T>(args.input(3), (d * 2 + 1) * rows, rows);
      const std::vector<double> peephole = read<T>(args.input(7), d * 3 * hidden, 3 * hidden);
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t state = (d * batch + b) * hidden, length = lengths[static_cast<size_t>(b)];
        std::vector<double> h = read<T>(args.input(5), state, hidden), c = read<T>(args.input(6), state, hidden), gates;
        h.resize(static_cast<size_t>(hidden));
        c.resize(static_cast<size_t>(hidden));
        Step step{hidden,
                  attrs.number("clip"),
                  activations.data() + static_cast<size_t>(d) * kFunctions,
                  gates,
                  h,
                  c,
                  r,
                  recurrent_bias,
                  peephole};
        for (int64_t turn = 0; turn < length; ++turn) {
          const int64_t t = backwards ? length - 1 - turn : turn;
          const std::vector<double> now = read<T>(x, (t * batch + b) * in, in);
          gates.assign(static_cast<size_t>(rows), 0);
          for (size_t row = 0; row < gates.size(); ++row) {
            gates[row] = bias.empty() ? 0 : bias[row];
            for (size_t k = 0; k < now.size(); ++k) gates[row] += w[row * now.size() + k] * now[k];
          }
          kStep(attrs, step);
          std::transform(h.begin(), h.end(), y.as<T>() + ((t * directions_of(attrs) + d) * batch + b) * hidden,
                         [](double v) { return convert<T>(v); });
        }
        std::transform(h.begin(), h.end(), last.as<T>() + state, [](double v) { return convert<T>(v); });
        if (kGates == 4)
          std::transform(c.begin(), c.end(), args.output(2).as<T>() + state, [](double v) { return convert<T>(v); });
      }
    }
    return {};
  });
}

double flops(const Attrs&, std::span<const TensorArg> inputs, std::span<const TensorArg>) {
  return 2.0 * static_cast<double>(inputs[0].dim(0) * inputs[0].dim(1)) *
         static_cast<double>(inputs[1].numel() + inputs[2].numel());
}

OpDef recurrent(std::string_view summary, std::vector<AttrDef> own) {
  OpDef def{
      .summary = summary,
      .inputs =
          {{"x"}, {"w"}, {"r"}, {"bias", Arity::kOptional}, {"lengths", Arity::kOptional}, {"h", Arity::kOptional}},
      .outputs = {"y", "last_h"},
      .attrs = {{"hidden", int64_t{0}, true, "size of the state"},
                {"direction", std::string("forward"), false, "forward, reverse or bidirectional"},
                {"activations", std::string(), true,
                 "per direction: sigmoid, tanh, relu, leaky_relu:alpha, affine:alpha:beta … with commas between"},
                {"clip", 0.0, false, "activations see values within ±clip; 0: all"}}};
  def.attrs.insert(def.attrs.end(), own.begin(), own.end());
  def.flops = flops;
  return def;
}

}  // namespace

OpDef define_rnn() {
  OpDef def =
      recurrent("H = f(x W' + H R' + b); y [time, directions, batch, hidden], last H [directions, batch, hidden]", {});
  def.infer = infer<1, 1>;
  def.reference = reference<1, 1, rnn_step>;
  return def;
}

OpDef define_gru() {
  OpDef def =
      recurrent("gates z, r, h = f(x W' + H R' + b), H = (1 - z) h + z H; y [time, directions, batch, hidden], last H",
                {{"linear_before_reset", int64_t{0}, false, "1: gate r scales the product with R, not H"}});
  def.infer = infer<3, 2>;
  def.reference = reference<3, 2, gru_step>;
  return def;
}

OpDef define_lstm() {
  OpDef def = recurrent(
      "gates i, o, f, c = f(x W' + H R' + b), C = f C + i c, H = o h(C); y [time, directions, batch, hidden], last H, "
      "last C",
      {{"input_forget", int64_t{0}, false, "1: f = 1 - i"}});
  def.inputs.push_back({"c", Arity::kOptional});
  def.inputs.push_back({"peephole", Arity::kOptional});
  def.outputs.push_back("last_c");
  def.infer = infer<4, 3>;
  def.reference = reference<4, 3, lstm_step>;
  return def;
}

}  // namespace tenon::ops
