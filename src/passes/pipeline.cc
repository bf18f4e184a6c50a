#include "passes/pipeline.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>

#include "ir/text.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

struct Pass {
  std::string_view name;
  Status (*run)(Graph&, std::vector<Decision>&);
  const char* summary;
};

// The compiler's middle, top to bottom. A name may stand more than once where a later pass makes new work for it.
constexpr Pass kPipeline[] = {
    {"widen-precision", widen_precision, "the model's own 16-bit floats -> f32; what they are computed in is the build's choice"},

    // Shape arithmetic and what the exporter left unfolded must go first: the fusions look at values, not at how their
    // shapes were computed.
    {"fold-constants", fold_constants, "evaluate small constant expressions, drop operations that do nothing"},
    {"eliminate-common-subexpressions", eliminate_common_subexpressions, "compute equal values once"},
    {"eliminate-dead-code", eliminate_dead_code, "drop what no output needs"},

    // One spelling for each building block.
    {"fuse-layer-norm", fuse_layer_norm, "mean, variance, scale and shift -> layer_norm; mean square and scale -> rms_norm"},
    {"fuse-gelu", fuse_gelu, "erf, tanh and sigmoid forms -> gelu"},
    {"fuse-dynamic-quantization", fuse_dynamic_quantization, "products of integers quantised at run time -> linear; look-ups of quantised tables -> of floats"},
    {"integers-to-floats", integers_to_floats, "8-bit numbers and integer products of statically quantised models -> f32"},
    {"fuse-linear", fuse_linear, "matmul by a weight, and its bias -> linear"},
    {"simplify-layout", simplify_layout, "merge and cancel reshapes and transposes, move flattening out of row-wise ops"},
    {"fuse-rotary", fuse_rotary, "rotary position embedding of heads -> of rows"},
    {"split-interleaved-heads", split_interleaved_heads, "q, k and v that one product gives head by head -> products of their own"},
    {"fuse-attention", fuse_attention, "heads, scores, mask, softmax, context -> attention"},
    {"fuse-disentangled-bias", fuse_disentangled_bias, "products of heads with vectors of their distances -> disentangled_bias"},
    {"simplify-layout", simplify_layout, "the head splits that attention absorbed leave reshapes behind"},
    {"fold-constants", fold_constants, "masks and scales that attention absorbed leave constants behind"},
    {"eliminate-common-subexpressions", eliminate_common_subexpressions, "the layers' masks become one"},

    {"fold-attention-mask", fold_attention_mask, "keys hidden by position: causal masks and windows -> attributes"},

    // Embeddings come before packing, so that packing sees one row-wise op and not its gathers.
    {"fuse-embedding", fuse_embedding, "table look-ups, their sum and the norm -> embedding"},
    // Needs whole attentions with one mask each; everything after it works on rows of tokens.
    {"pack-tokens", pack_tokens, "prove that the mask is padding, run the encoder on the tokens that it keeps"},
    {"push-down-row-slices", push_down_row_slices, "a head that reads one row computes one row in the last layer"},

    // Exact rewrites of the projections, while q, k and v are still apart.
    {"fold-attention-scale", fold_attention_scale, "scale q's weights once instead of every score"},
    {"fold-attention-bias", fold_attention_bias, "k's bias cancels in the softmax; v's moves behind the attention; that of the scores is not expanded"},
    {"fold-norm-into-linear", fold_norm_into_linear, "a norm's scale and shift into the products that alone read it"},
    {"fuse-qkv", fuse_qkv, "q, k and v projections of one input -> one product; two rotations -> one"},

    // Epilogues: after qkv, which wants plain linears.
    {"fuse-linear-epilogue", fuse_linear_epilogue, "activation and residual into linear"},
    {"fold-into-conv", fold_into_conv, "batch norms (scale and shift of channels) and padding into convolutions"},
    {"fuse-conv-epilogue", fuse_conv_epilogue, "activation and residual into conv"},
    {"fuse-residual-norm", fuse_residual_norm, "a residual left over -> layer_norm"},
    {"channels-last", channels_last, "convolutions and pooling read rows of channels, transposes move out of the way"},
    {"lower-pad", lower_pad, "padding along one axis that no convolution took -> concat"},
    {"fuse-static-quantization", fuse_static_quantization, "products of rows that the model rounds by constant scales -> 8 bits, where the target has them"},
    {"fuse-pointwise", fuse_pointwise, "chains of elementwise ops -> one program"},
    {"fold-constants", fold_constants, "what the fusions left"},
    {"eliminate-common-subexpressions", eliminate_common_subexpressions, "equal rewrites of shared inputs"},
    {"eliminate-dead-code", eliminate_dead_code, "drop what the fusions replaced"},
};

// Behind lower-precision; the last for targets that have kernels for what comes of it.
constexpr Pass kFuseUnpack = {"fuse-unpack", fuse_unpack, "a column's gather and the cast into unpack_tokens, columns of the same rows at once (16 bit)"};
constexpr Pass kFuseImage = {"fuse-image", fuse_image, "reformat and cast of images into their first convolution (16 bit)"};
constexpr Pass kFoldLayerNorm = {"fold-layer-norm", fold_layer_norm, "norms into the products around them (16 bit, Hopper)"};

std::vector<Pass> all_passes() {
  std::vector<Pass> all(std::begin(kPipeline), std::end(kPipeline));
  all.push_back(kFuseUnpack);
  all.push_back(kFuseImage);
  all.push_back(kFoldLayerNorm);
  return all;
}

Status dump(const Graph& graph, const std::string& dir, size_t index, std::string_view name) {
  const std::string path = fmt::format("{}/{:02}_{}.ir", dir, index, name);
  std::ofstream file(path);
  file << ir::print(graph);
  file.flush();
  return file ? Status() : error(ErrorCode::kIo, "cannot write {}", path);
}

bool is_known_pass(const std::string& name) {
  return std::ranges::any_of(all_passes(), [&](const Pass& p) { return name == p.name; });
}

Status unknown_pass(const std::string& name) {
  std::string names;
  for (const PassInfo& info : pass_list()) names += (names.empty() ? "" : ", ") + std::string(info.name);
  return error(ErrorCode::kInvalidArgument, "there is no pass '{}'; the passes are: {}", name, names);
}

// A user's pattern must not hide a pass or another pattern, and must say where it runs.
Status check_patterns(const std::vector<PatternRule>& patterns) {
  std::map<std::string_view, const PatternRule*> seen;
  for (const PatternRule& rule : patterns) {
    if (is_known_pass(rule.name)) return error(ErrorCode::kInvalidArgument, "{}: \"{}\" is a pass of Tenon's own", rule.where, rule.name);
    const auto [it, is_new] = seen.emplace(rule.name, &rule);
    if (!is_new) return error(ErrorCode::kInvalidArgument, "{}: there is another pattern \"{}\" at {}", rule.where, rule.name, it->second->where);
    const bool found = std::ranges::any_of(kPipeline, [&](const Pass& p) { return rule.before == p.name; });
    if (!found) return unknown_pass(rule.before).with_context(rule.where);
  }
  return {};
}

}  // namespace

std::vector<PassInfo> pass_list() {
  std::vector<PassInfo> list;
  for (const Pass& p : all_passes()) {
    const bool seen = std::any_of(list.begin(), list.end(), [&](const PassInfo& i) { return p.name == i.name; });
    if (!seen) list.push_back({p.name.data(), p.summary});
  }
  return list;
}

Status run_pass(Graph& graph, const std::string& name, std::vector<Decision>& decisions) {
  for (const Pass& p : all_passes())
    if (name == p.name) return p.run(graph, decisions);
  return unknown_pass(name);
}

Result<PipelineReport> run_pipeline(Graph& graph, const PipelineOptions& options) {
  TENON_TRY(check_patterns(options.patterns));
  for (const std::string& name : options.disabled) {
    const bool is_pattern = std::ranges::any_of(options.patterns, [&](const PatternRule& rule) { return rule.name == name; });
    if (!is_pattern && !is_known_pass(name)) return unknown_pass(name);
  }
  if (!options.stop_after.empty() && !is_known_pass(options.stop_after)) return unknown_pass(options.stop_after);
#ifdef NDEBUG
  const bool verify = options.verify;
#else
  const bool verify = true;
#endif
  if (!options.dump_dir.empty()) {
    std::error_code failed;
    std::filesystem::create_directories(options.dump_dir, failed);
    if (failed) return error(ErrorCode::kIo, "cannot create {}: {}", options.dump_dir, failed.message());
    TENON_TRY(dump(graph, options.dump_dir, 0, "import"));
  }
  PipelineReport report;
  const bool quantizes = !options.quantized.empty() && options.precision == DType::kF32 && options.factors.empty();
  uint64_t before = ir::fingerprint(graph);
  const auto check = [&](std::string_view name) -> Status {
    return verify ? ops::verify(graph).with_context(fmt::format("bug in pass {}", name)) : Status();
  };
  const auto run_named = [&](std::string_view name, size_t number, const auto& apply) -> Status {
    if (options.disabled.contains(std::string(name))) return {};
    const auto start = std::chrono::steady_clock::now();
    TENON_TRY(apply());
    const uint64_t after = ir::fingerprint(graph);
    const bool changed = after != before;
    before = after;
    if (changed) TENON_TRY(check(name));
    if (changed && !options.dump_dir.empty()) TENON_TRY(dump(graph, options.dump_dir, number, name));
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    report.runs.push_back({std::string(name), changed, elapsed.count(), graph.nodes().size()});
    return {};
  };
  const auto run = [&](const Pass& pass, size_t number) {
    if (pass.run == channels_last && !options.channels_last) return Status();
    if (pass.run == fuse_static_quantization && !quantizes) return Status();
    return run_named(pass.name, number, [&] { return pass.run(graph, report.decisions); });
  };
  size_t number = 1;
  std::set<std::string_view> ran;  // passes that come again have the user's patterns behind them
  for (const Pass& pass : kPipeline) {
    for (const PatternRule& rule : options.patterns) {
      if (ran.contains(pass.name) || rule.before != pass.name) continue;
      TENON_TRY(run_named(rule.name, number++, [&] { return apply_pattern(graph, rule, report.decisions); }));
      if (options.disabled.contains(rule.name)) continue;
      const auto applied = std::ranges::count_if(report.decisions, [&](const Decision& d) { return d.applied && d.pass == rule.name; });
      report.patterns.push_back({rule.name, rule.where, static_cast<int>(applied)});
    }
    ran.insert(pass.name);
    TENON_TRY(run(pass, number++));
    if (options.stop_after == pass.name) break;
  }
  if (options.stop_after.empty()) {
    TENON_ASSIGN(report.is_quantized, lower_quantized_linears(graph, quantizes ? options.quantized : "", report.decisions, options.fp32_layers));
    TENON_TRY(check("lower-linears"));
    if (report.is_quantized && !options.dump_dir.empty()) TENON_TRY(dump(graph, options.dump_dir, number++, "lower-linears"));
  }
  if (options.precision != DType::kF32 && options.stop_after.empty()) {
    TENON_TRY(lower_precision(graph, options.precision, report.decisions));
    TENON_TRY(check("lower-precision"));
    if (!options.dump_dir.empty()) TENON_TRY(dump(graph, options.dump_dir, number++, "lower-precision"));
    TENON_TRY(run(kFuseUnpack, number++));
    TENON_TRY(run(kFuseImage, number++));
    if (options.fold_norms) TENON_TRY(run(kFoldLayerNorm, number));
  }
  if (!options.factors.empty() && options.stop_after.empty()) {
    TENON_TRY(lower_linears(graph, options.factors, report.decisions, options.fp32_layers));
    TENON_TRY(check("lower-linears"));
    if (!options.dump_dir.empty()) TENON_TRY(dump(graph, options.dump_dir, number, "lower-linears"));
  }
  return report;
}

}  // namespace tenon::passes
