#include <sstream>

#include "ops/checks.h"
#include "ops/plugin_host.h"

namespace tenon::ops {
namespace {

constexpr size_t kMaxOutputs = 32;
constexpr int64_t kMaxRank = 16;

// The library is not asked: graphs and engines can be read without it.
Status infer(InferContext& c) {
  std::istringstream names(c.attrs.text("dtypes"));
  std::vector<DType> dtypes;
  for (std::string name; names >> name;) {
    const auto dtype = parse_dtype(name);
    if (!dtype) return error(ErrorCode::kBadModel, "unknown type '{}'", name);
    dtypes.push_back(*dtype);
    if (dtypes.size() > kMaxOutputs) return error(ErrorCode::kBadModel, "more than {} outputs", kMaxOutputs);
  }
  const auto& ranks = c.attrs.integers("ranks");
  const Shape& dims = c.attrs.shape("dims");
  if (dtypes.empty() || dtypes.size() != ranks.size())
    return error(ErrorCode::kBadModel, "{} types and {} ranks", dtypes.size(), ranks.size());
  if (c.num_inputs() > static_cast<int>(kMaxOutputs)) return error(ErrorCode::kBadModel, "{} inputs", c.num_inputs());
  size_t at = 0;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (ranks[i] < 0 || ranks[i] > kMaxRank || static_cast<size_t>(ranks[i]) > dims.size() - at)
      return error(ErrorCode::kBadModel, "output {} of rank {}", i, ranks[i]);
    const auto rank = static_cast<size_t>(ranks[i]);
    TENON_TRY(c.output(
        dtypes[i], Shape(dims.begin() + static_cast<ptrdiff_t>(at), dims.begin() + static_cast<ptrdiff_t>(at + rank))));
    at += rank;
  }
  return at == dims.size() ? Status()
                           : error(ErrorCode::kBadModel, "{} sizes for ranks that sum to {}", dims.size(), at);
}

// The plugin's own code on the host, with weights packed and scratch allocated on the spot.
Status reference(const Attrs& attrs, const RunArgs& args) {
  TENON_ASSIGN(const auto instance, PluginInstance::restore(attrs));
  std::vector<TensorArg> inputs(args.inputs.begin(), args.inputs.end());
  std::vector<Tensor> packed;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i]) continue;
    const std::vector<int64_t> shape(inputs[i].shape.begin(), inputs[i].shape.end());
    TENON_ASSIGN(const int64_t bytes,
                 instance->packed_bytes(static_cast<int>(i), {inputs[i].dtype, ir::to_shape(shape)}));
    if (bytes == 0) continue;
    TENON_ASSIGN(Tensor made, instance->pack(static_cast<int>(i),
                                             Tensor(inputs[i].dtype, shape, nullptr, inputs[i].as<std::byte>())));
    inputs[i].data = const_cast<std::byte*>(made.data());
    packed.push_back(std::move(made));
  }
  RunArgs run = args;
  run.inputs = inputs;
  TENON_ASSIGN(const size_t bytes, instance->workspace(PluginPlace::kHost, run));
  std::byte* memory = nullptr;
  TENON_ASSIGN(const Tensor workspace, Tensor::allocate(DType::kU8, {static_cast<int64_t>(bytes)}, &memory));
  run.workspace = memory;
  return instance->run(PluginPlace::kHost, run);
}

}  // namespace

OpDef define_plugin() {
  return {.op = Op::k_plugin,
          .summary =
              "an operator of a user's library (docs/plugins.md); the types of its outputs were asked of it when the "
              "node was made",
          .inputs = {{"inputs", Arity::kVariadic}},
          .outputs = {"outputs"},
          .attrs = {{"operator", std::string(), true, "domain and name, joined by a dot"},
                    {"version", std::string(), true, "the operator's"},
                    {"library", std::string(), true, "what the library calls itself"},
                    {"state", std::string(), true, "what the operator keeps, in hexadecimal"},
                    {"dtypes", std::string(), true, "of the outputs, separated by blanks"},
                    {"ranks", std::vector<int64_t>{}, true, "of the outputs"},
                    {"dims", Shape{}, true, "of all outputs, one after another"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
