// An engine against its own model: every comparable value, in the order of the layers.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "builder/builder.h"
#include "ops/interpret.h"
#include "ops/quantize.h"
#include "runtime/executable.h"
#include "tools/random_inputs.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

struct LayerResult {
  std::string value, source;
  double worst = 0;    // largest difference
  double largest = 0;  // largest reference magnitude
  bool comparable = true;
  double relative() const { return worst / std::max(1.0, largest); }
};

// How far an engine may be from its model, by what it rounds: the part of a value's largest element that an element may
// differ. Errors of several layers add up, so these are some times one rounding (fp16 2^-11, bf16 2^-8, int8 2^-8 of a row).
struct Precision {
  const char* name;
  double tolerance;
};
constexpr Precision kFp32{"fp32", 1e-4}, kTf32{"tf32", 1e-2}, kFp16{"fp16", 1e-2}, kBf16{"bf16", 5e-2}, kInt8{"int8", 1.5e-1};

// The coarsest one in use.
Precision precision_of(const engine::Plan& plan) {
  Precision found = kFp32;
  const auto meets = [&](const Precision& p) {
    if (p.tolerance > found.tolerance) found = p;
  };
  for (const engine::PlanStep& step : plan.steps) {
    if (step.op == ir::Op::k_linear || step.op == ir::Op::k_conv) {
      const std::string factors = step.attrs.text("factors");
      if (ops::are_integers(factors)) meets(kInt8);
      if (factors == "bf16") meets(kBf16);
      if (factors == "tf32") meets(kTf32);
    }
    for (const int v : step.outputs) {
      const DType dtype = plan.values[static_cast<size_t>(v)].type.dtype;
      if (dtype == DType::kBF16) meets(kBf16);
      if (dtype == DType::kF16) meets(kFp16);
    }
  }
  return found;
}

// Whether the model rounds floats between its products: a last bit decides to which step then.
bool rounds_floats(const engine::Plan& plan) {
  return std::ranges::any_of(plan.steps, [](const engine::PlanStep& step) {
    if (step.op == ir::Op::k_round) return true;
    return step.op == ir::Op::k_pointwise && step.attrs.text("program").find("=round(") != std::string::npos;
  });
}

const NamedTensors::value_type* find(const NamedTensors& tensors, const std::string& name) {
  for (const auto& entry : tensors)
    if (entry.first == name) return &entry;
  return nullptr;
}

// What `number` is at best in this type: too large ones are its largest (passes/lower_precision.cc).
double nearest(double number, DType type) {
  if ((type != DType::kF16 && type != DType::kBF16) || !std::isfinite(number)) return number;
  return std::clamp(number, -largest_finite(type), largest_finite(type));
}

void compare(const TensorView& actual, const ir::Tensor& expected, const std::vector<int64_t>& rows, LayerResult& result) {
  const ir::Tensor a(actual.dtype, actual.shape, nullptr, static_cast<const std::byte*>(actual.data));
  const int64_t count = rows.empty() ? 1 : static_cast<int64_t>(rows.size());
  const int64_t width = a.numel() / std::max<int64_t>(1, count);
  if (rows.empty() && a.numel() != expected.numel()) {
    result.comparable = false;
    return;
  }
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t i = 0; i < width; ++i) {
      const double e = nearest(expected.at(rows.empty() ? i : rows[static_cast<size_t>(r)] * width + i), a.dtype());
      const double found = a.at(r * width + i), difference = found == e ? 0 : std::abs(found - e);
      result.largest = std::max(result.largest, std::abs(e));
      result.worst = std::isnan(difference) ? INFINITY : std::max(result.worst, difference);
    }
  }
}

// The same values in another type: an engine's input may have one of its own (BuilderConfig::input_types).
ir::Tensor converted(const ir::Tensor& tensor, DType to) {
  if (tensor.dtype() == to) return tensor;
  std::byte* data = nullptr;
  ir::Tensor made = value_or_throw(ir::Tensor::allocate(to, tensor.shape(), &data));
  visit_dtype(to, [&]<class T>() {
    for (int64_t i = 0; i < tensor.numel(); ++i) reinterpret_cast<T*>(data)[i] = convert<T>(tensor.at(i));
  });
  return made;
}

// [N, C, spatial…] as [N, spatial…, C]; other tensors as they are.
ir::Tensor with_channels_last(const ir::Tensor& tensor) {
  if (tensor.shape().size() < 3) return tensor;
  const int64_t images = tensor.shape()[0], channels = tensor.shape()[1];
  const int64_t pixels = tensor.numel() / std::max<int64_t>(1, images * channels);
  std::vector<int64_t> shape = tensor.shape();
  std::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
  std::byte* data = nullptr;
  ir::Tensor made = value_or_throw(ir::Tensor::allocate(tensor.dtype(), shape, &data));
  visit_dtype(tensor.dtype(), [&]<class T>() {
    const T* from = reinterpret_cast<const T*>(tensor.data());
    T* to = reinterpret_cast<T*>(data);
    for (int64_t n = 0; n < images; ++n)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t p = 0; p < pixels; ++p) to[(n * pixels + p) * channels + c] = from[(n * channels + c) * pixels + p];
  });
  return made;
}

// What an engine without padding computes, and where.
class Packing {
 public:
  // Nothing is packed where the plan has no pack_tokens.
  explicit Packing(const engine::Plan& plan) : plan_(plan) {
    for (const engine::PlanStep& step : plan.steps) {
      if (step.op == ir::Op::k_pack_tokens) pack_ = &step;
      const bool unpacks = step.op == ir::Op::k_unpack_tokens;
      const bool reads = step.op != ir::Op::k_attention && std::ranges::any_of(step.inputs, [&](int v) { return v >= 0 && is_unpacked(v); });
      if (unpacks || reads) unpacked_.insert(step.outputs.begin(), step.outputs.end());
    }
  }

  // Values that read() wants to see.
  void keep(std::vector<std::string>& names) const {
    if (pack_ == nullptr) return;
    for (const size_t i : {1, 2, 3}) names.push_back(name_of(i));
  }
  void read(const ExecutionContext& context) {
    if (pack_ == nullptr) return;
    const auto numbers = [&](size_t i) {
      const TensorView view = context.kept(name_of(i));
      const auto* data = static_cast<const int32_t*>(view.data);
      return std::vector<int64_t>(data, data + view.shape[0]);
    };
    const std::vector<int64_t> begin = numbers(1), end = numbers(2);
    rows_ = numbers(3);
    for (size_t text = 0; text < begin.size(); ++text)
      for (int64_t row = begin[text]; row < end[text]; ++row) tokens_.push_back(rows_[static_cast<size_t>(row)]);
    if (tokens_.empty()) throw Error(ErrorCode::kBadInput, "verify: these inputs hide every token from the model; give others with --inputs");
  }

  // For each packed row, its position in [batch * seq].
  const std::vector<int64_t>& rows() const { return rows_; }

  // Rows that the mask hides are zero by definition where rows are unpacked; the model computes something there that nobody
  // reads. What is computed from unpacked rows in another order cannot be compared.
  void compare_padded(int value, const TensorView& actual, const ir::Tensor& expected, LayerResult& result) const {
    if (!is_unpacked(value)) return compare(actual, expected, {}, result);
    const ir::Shape &shape = type_of(value).shape, &mask = type_of(pack_->inputs[0]).shape;
    result.comparable = shape.size() >= 2 && shape[0] == mask[0] && shape[1] == mask[1] && actual.shape == expected.shape();
    if (!result.comparable) return;
    const int64_t width = expected.numel() / std::max<int64_t>(1, actual.shape[0] * actual.shape[1]);
    for (const int64_t token : tokens_) {
      const auto begin = static_cast<size_t>(token * width);  // the engine's output may have a type of its own
      const TensorView one{actual.dtype, {width}, static_cast<std::byte*>(actual.data) + begin * dtype_size(actual.dtype)};
      compare(one, ir::Tensor(expected.dtype(), {width}, nullptr, expected.data() + begin * dtype_size(expected.dtype())), {}, result);
    }
  }

 private:
  bool is_unpacked(int value) const { return unpacked_.contains(engine::root_of(plan_, value)); }
  const ir::TensorType& type_of(int value) const { return plan_.values[static_cast<size_t>(value)].type; }
  std::string name_of(size_t output) const { return plan_.values[static_cast<size_t>(pack_->outputs[output])].name; }

  const engine::Plan& plan_;
  const engine::PlanStep* pack_ = nullptr;
  std::set<int> unpacked_;  // values computed from unpacked rows
  std::vector<int64_t> rows_, tokens_;  // tokens: those that the mask keeps
};

struct Allowed {
  Precision precision;
  bool given = false;   // by --tolerance
  bool rounds = false;  // the model does, between its products
};

void print_results(const VerifyArgs& args, const Allowed& allowed, const std::vector<LayerResult>& layers, const std::vector<LayerResult>& outputs,
                   const LayerResult* first_bad) {
  const double tolerance = allowed.precision.tolerance;
  if (args.json) {
    const auto to_json = [](const std::vector<LayerResult>& results) {
      nlohmann::ordered_json list = nlohmann::ordered_json::array();
      for (const LayerResult& r : results) list.push_back({{"value", r.value}, {"source", r.source}, {"max_abs", r.worst}, {"largest", r.largest}, {"relative", r.relative()}});
      return list;
    };
    const nlohmann::ordered_json report = {{"passed", first_bad == nullptr}, {"precision", allowed.precision.name}, {"tolerance", tolerance}, {"first_bad", first_bad != nullptr ? first_bad->value : ""}, {"outputs", to_json(outputs)}, {"layers", to_json(layers)}};
    std::puts(report.dump(2).c_str());
    return;
  }
  fmt::print("{:<60} {:>12} {:>12}\n", "value", "max abs", "relative");
  for (const auto* list : {&layers, &outputs})
    for (const LayerResult& r : *list) fmt::print("{}{:<60} {:>12.3g} {:>12.3g}{}\n", list == &outputs ? "= " : "  ", r.value, r.worst, r.relative(), r.relative() > tolerance ? "  <-- out of tolerance" : "");
  if (first_bad == nullptr) {
    fmt::print("{} values and {} outputs agree", layers.size(), outputs.size());
  } else {
    fmt::print("First out of tolerance: {}, {:.3g} of its largest element.\nNot all of {} values and {} outputs agree", first_bad->value,
               first_bad->relative(), layers.size(), outputs.size());
  }
  fmt::print(" within {:g} of their largest element ({}).\nCompared: {} as it runs ({} products) and {} on the plain loops, as it was imported.\n", tolerance,
             allowed.given ? "--tolerance" : fmt::format("the tolerance for {}{}; --tolerance sets another", allowed.precision.name, allowed.rounds ? " and the model's own roundings" : ""), args.engine,
             allowed.precision.name, args.model);
}

}  // namespace

int verify(const VerifyArgs& args) {
  const Engine engine = Engine::load(args.engine, {.threads = args.threads, .target = args.target});
  const engine::EngineFile& file = engine.executable()->file();
  const engine::Metadata meta = value_or_throw(file.read_texts());
  ir::Model model = value_or_throw(builder::import_model(args.model));

  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < args.batch; ++i) lengths.push_back(std::max<int64_t>(1, args.seq - i * args.seq / (args.batch + 1)));
  const NamedTensors inputs = args.inputs.empty() ? random_inputs(engine, lengths, args.seq, args.seed) : value_or_throw(load_tensors(args.inputs));

  // Values that the engine keeps and the imported graph has too.
  const std::vector<std::string> available = engine.value_names();
  const std::set<std::string> names(available.begin(), available.end());
  ContextOptions options;
  std::vector<const engine::ValueOrigin*> origins;
  for (const engine::ValueOrigin& o : meta.plans[static_cast<size_t>(engine.executable()->plan_index())].origins) {
    if (!names.contains(o.value) || (o.kind != "same" && o.kind != "packed" && o.kind != "channels last") || model.graph->find_value(o.source) == nullptr) continue;
    origins.push_back(&o);
    options.keep.push_back(o.value);
  }
  const engine::Plan& plan = engine.executable()->plan();
  Packing packing(plan);
  packing.keep(options.keep);
  ExecutionContext context = engine.create_execution_context(options);
  for (const auto& [name, t] : inputs) context.set_input(name, {t.dtype(), t.shape(), const_cast<std::byte*>(t.data())});
  context.execute();

  std::vector<ir::Tensor> reference_inputs;
  for (const auto& in : model.graph->inputs()) {
    const auto* given = find(inputs, in->name());
    if (given == nullptr) throw Error(ErrorCode::kBadInput, "verify: no tensor for input '" + in->name() + "'");
    reference_inputs.push_back(converted(given->second, in->dtype()));
  }
  packing.read(context);
  std::map<std::string, const engine::ValueOrigin*> by_source;
  for (const auto* o : origins) by_source[o->source] = o;
  std::vector<LayerResult> layers;
  Progress progress(args.quiet || args.json);
  size_t done = 0;
  ops::InterpretOptions interpret;
  interpret.pool = &engine.executable()->pool();
  interpret.observe = [&](const ir::Node& node, std::span<const ir::Tensor> results) {
    progress.show("reference", static_cast<double>(++done) / static_cast<double>(model.graph->nodes().size()));
    for (int i = 0; i < node.num_outputs(); ++i) {
      const auto it = by_source.find(node.output(i)->name());
      if (it == by_source.end() || !is_float(results[static_cast<size_t>(i)].dtype())) continue;
      LayerResult result{it->second->value, it->first};
      const TensorView kept = context.kept(it->second->value);
      const ir::Tensor& computed = results[static_cast<size_t>(i)];
      if (it->second->kind == "packed")
        compare(kept, computed, packing.rows(), result);
      else if (it->second->kind == "channels last")
        compare(kept, with_channels_last(computed), {}, result);
      else
        packing.compare_padded(engine.executable()->find_value(result.value), kept, computed, result);
      if (result.comparable) layers.push_back(result);
    }
  };
  const std::vector<ir::Tensor> expected = value_or_throw(ops::interpret(*model.graph, reference_inputs, interpret));

  std::vector<LayerResult> outputs;
  const auto compare_output = [&](const std::string& name, const std::string& label, const ir::Tensor& wanted) {
    LayerResult& result = outputs.emplace_back(LayerResult{label, name});
    const TensorView actual = context.output(name);
    packing.compare_padded(plan.outputs[static_cast<size_t>(engine.executable()->find_output(name))].value, actual, wanted, result);
    if (result.comparable) return;
    result.comparable = true;
    compare(actual, wanted, {}, result);  // as it stands: an output is never passed over
    if (!result.comparable) result.worst = INFINITY;
  };
  const NamedTensors recorded = args.expected.empty() ? NamedTensors() : value_or_throw(load_tensors(args.expected));
  for (size_t i = 0; i < model.graph->outputs().size(); ++i) {
    const std::string& name = model.graph->outputs()[i].name;
    compare_output(name, name, expected[i]);
    if (const auto* r = find(recorded, name)) compare_output(name, name + " (recorded)", r->second);
  }
  Allowed allowed{precision_of(engine.executable()->plan()), args.tolerance > 0, rounds_floats(engine.executable()->plan())};
  double& tolerance = allowed.precision.tolerance;
  if (allowed.rounds) tolerance = std::max(tolerance, kInt8.tolerance);
  if (allowed.given) tolerance = args.tolerance;
  const LayerResult* first_bad = nullptr;
  for (const auto* list : {&layers, &outputs})
    for (const LayerResult& r : *list)
      if (first_bad == nullptr && r.relative() > allowed.precision.tolerance) first_bad = &r;
  print_results(args, allowed, layers, outputs, first_bad);
  return first_bad == nullptr ? kSuccess : kCheckFailed;
}

}  // namespace tenon::tools
