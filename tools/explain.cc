#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "engine/reader.h"
#include "ops/create.h"
#include "passes/activations.h"
#include "tools/graph_stats.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

using Json = nlohmann::ordered_json;

// What `tenon explain` counts: the building blocks of an encoder, fused.
struct Blocks {
  int attention = 0, layer_norm = 0, gelu = 0, silu = 0, qkv = 0, embeddings = 0, softmax_left = 0;
  int conv = 0, conv_activation = 0, conv_residual = 0, conv_left = 0;  // left: activations behind convolutions
  bool packed = false;
};

int count_in(const std::string& program, std::string_view instruction) {
  int count = 0;
  for (size_t at = 0; (at = program.find(instruction, at)) != std::string::npos; ++at) ++count;
  return count;
}

Blocks count_blocks(const ir::Graph& graph) {
  Blocks b;
  for (const auto& node : graph.nodes()) {
    const passes::Activated activated = passes::find_activation(*node);
    b.conv_left += activated.x != nullptr && activated.x->is(ir::Op::k_conv);
    switch (node->op()) {
      case ir::Op::k_attention: {
        ++b.attention;
        const auto* product = node->input(1)->producer();
        b.qkv += product != nullptr && node->input(1) == node->input(2) && product->is(ir::Op::k_linear);
        break;
      }
      case ir::Op::k_layer_norm:
      case ir::Op::k_rms_norm: ++b.layer_norm; break;
      case ir::Op::k_embedding:
        ++b.embeddings;
        b.layer_norm += node->attrs().integer("norm") != 0;
        break;
      case ir::Op::k_gelu: ++b.gelu; break;
      case ir::Op::k_silu: ++b.silu; break;
      case ir::Op::k_conv:
        ++b.conv;
        b.conv_activation += !node->attrs().text("activation").empty();
        b.conv_residual += node->input(3) != nullptr;
        [[fallthrough]];
      case ir::Op::k_linear:
        b.gelu += node->attrs().text("activation").starts_with("gelu");
        b.silu += node->attrs().text("activation") == "silu";
        break;
      case ir::Op::k_pointwise:
        b.gelu += count_in(node->attrs().text("program"), "=gelu");
        b.silu += count_in(node->attrs().text("program"), "=silu");
        break;
      case ir::Op::k_softmax: ++b.softmax_left; break;
      case ir::Op::k_pack_tokens: b.packed = true; break;
      default: break;
    }
  }
  return b;
}

// How the configs of kernels were chosen (builder/tuning.h: describe_choices). What else was timed only if `all`.
void print_configs(const std::vector<engine::Decision>& configs, bool all) {
  if (configs.empty()) return;
  fmt::print("\nConfigs{}:\n", all ? "" : " (--all for what else was timed)");
  std::string problem;
  for (const engine::Decision& d : configs) {
    if (d.node != problem) fmt::print("  {}\n", d.node);
    problem = d.node;
    fmt::print("    {:<10} {}\n", d.decision, all ? d.reason : d.reason.substr(0, d.reason.find("; ")));
  }
}


std::string other_targets(const engine::EngineFile& file, int shown) {
  std::string others;
  for (const engine::Plan& plan : file.plans())
    if (&plan != &file.plan(shown)) others += (others.empty() ? "" : ", ") + plan.target;
  return others.empty() ? "" : fmt::format(" (also in the engine, shown by --target: {})", others);
}

}  // namespace

int explain(const ExplainArgs& args) {
  const auto file = value_or_throw(engine::EngineFile::open(args.engine));
  const engine::Metadata meta = value_or_throw(file->read_texts());
  const int shown = plan_for(*file, args.target);
  const engine::PlanTexts& texts = meta.plans[static_cast<size_t>(shown)];
  const auto before = value_or_throw(ops::parse_graph(meta.graph_imported, args.engine + ": imported graph"));
  const auto after = value_or_throw(ops::parse_graph(texts.graph_compiled, args.engine + ": compiled graph"));
  const GraphStats was = measure_graph(*before, args.batch, args.seq), is = measure_graph(*after, args.batch, args.seq);
  const Blocks blocks = count_blocks(*after);

  std::set<std::string> patterns;  // the user's
  if (const auto option = meta.build_options.find("patterns"); option != meta.build_options.end()) {
    std::istringstream names(option->second);
    for (std::string name; names >> name;) patterns.insert(name);
  }
  std::vector<engine::Decision> by_pattern;
  std::map<std::string, int> applied;
  std::vector<engine::Decision> declined, configs;
  std::string layout;  // of convolutions
  for (const engine::Decision& d : texts.decisions) {
    if (d.decision == "applied") {
      ++applied[d.pass];
      if (d.pass == "channels-last") layout = d.reason;
      if (patterns.contains(d.pass)) by_pattern.push_back(d);
    } else if (d.pass == "tune") {
      configs.push_back(d);
    } else if (d.pass == "plan" && (d.reason.starts_with("computes ") || d.reason == "not an elementwise op")) {
      continue;  // a kernel for other operators was never a candidate
    } else if (args.all || d.pass == "pack-tokens" || d.pass.starts_with("fuse-") || patterns.contains(d.pass) || d.pass == "plan") {
      declined.push_back(d);
    }
  }
  // Passes look at a node several times; what they declined first and did later is no news.
  if (!args.all) {
    std::set<std::string> said;
    std::erase_if(declined, [&](const engine::Decision& d) { return !said.insert(d.pass + d.decision + d.reason).second; });
  }
  const auto& plan = file->plan(shown);
  std::map<std::string, int> kernels;
  for (const engine::PlanStep& step : plan.steps) {
    ++kernels[step.kernels.front().kernel + " (" + std::string(ir::op_name(step.op)) + ")"];
    const auto both = std::ranges::find(step.kernels, true, &engine::KernelChoice::absorbs);
    if (both != step.kernels.end()) ++kernels[fmt::format("{} (with the step ahead, texts to {} tokens)", both->kernel, both->max_length)];
  }

  if (args.json) {
    Json json = {{"target", plan.target}, {"attention", blocks.attention}, {"layer_norm", blocks.layer_norm}, {"gelu", blocks.gelu}, {"silu", blocks.silu}, {"qkv", blocks.qkv},
                 {"conv", blocks.conv}, {"conv_activation", blocks.conv_activation}, {"conv_residual", blocks.conv_residual}, {"conv_activation_left", blocks.conv_left},
                 {"unfused_softmax", blocks.softmax_left}, {"packed", blocks.packed}, {"steps", plan.steps.size()},
                 {"launches_before", was.launches}, {"launches_after", is.launches}, {"bytes_before", was.intermediate_bytes},
                 {"bytes_after", is.intermediate_bytes}, {"flops_before", was.flops}, {"flops_after", is.flops}, {"applied", applied}, {"kernels", kernels}};
    if (!layout.empty()) json["layout"] = layout;
    for (const engine::Decision& d : declined) json["declined"].push_back({{"pass", d.pass}, {"node", d.node}, {"decision", d.decision}, {"reason", d.reason}});
    for (const engine::Decision& d : by_pattern) json["patterns"].push_back({{"pattern", d.pass}, {"node", d.node}, {"reason", d.reason}});
    for (const engine::Decision& d : configs) json["configs"].push_back({{"problem", d.node}, {"origin", d.decision}, {"choice", d.reason}});
    std::puts(json.dump(2).c_str());
    return kSuccess;
  }
  fmt::print("{}: {}, {}\n", args.engine, meta.model_source, meta.architecture.empty() ? "architecture unknown" : meta.architecture);
  fmt::print("Target: {}{}\n\n", plan.target, other_targets(*file, shown));
  fmt::print("Fused: {} attentions ({} with q, k and v in one product), {} norms, {} GELUs, {} SiLUs, {} embeddings; {} softmaxes left over\n", blocks.attention, blocks.qkv,
             blocks.layer_norm, blocks.gelu, blocks.silu, blocks.embeddings, blocks.softmax_left);
  if (blocks.conv > 0) {
    fmt::print("Convolutions: {} ({} with their activation, {} with what is added to them); {} activations left over\n", blocks.conv,
               blocks.conv_activation, blocks.conv_residual, blocks.conv_left);
  }
  fmt::print("Padding: {}\n\n", blocks.packed ? "removed; the encoder runs on the tokens that the mask keeps" : "kept (see below)");
  if (!layout.empty()) fmt::print("Layout: {}\n\n", layout);
  fmt::print("At {}x{}                 before        after\n", args.batch, args.seq);
  fmt::print("  launches          {:>10} {:>12}", was.launches, is.launches);
  if (blocks.attention > 0) fmt::print("   ({:.1f} per attention layer after)", static_cast<double>(is.launches) / blocks.attention);
  fmt::print("\n");
  fmt::print("  bytes written     {:>10} {:>12}\n", human_bytes(static_cast<uint64_t>(was.intermediate_bytes)), human_bytes(static_cast<uint64_t>(is.intermediate_bytes)));
  fmt::print("  FLOPs             {:>10} {:>12}\n\nApplied:\n", human_count(was.flops), human_count(is.flops));
  for (const auto& [pass, count] : applied) fmt::print("  {:<28} {:>4} times\n", pass, count);
  if (!by_pattern.empty()) fmt::print("\nPatterns:\n");
  for (const engine::Decision& d : by_pattern) fmt::print("  {}: {} {}\n", d.pass, d.node, d.reason);
  fmt::print("\nKernels:\n");
  for (const auto& [kernel, count] : kernels) fmt::print("  {:<44} {:>4} steps\n", kernel, count);
  print_configs(configs, args.all);
  fmt::print("\nDeclined{}:\n", args.all ? "" : " (one example each; --all for every one)");
  for (const engine::Decision& d : declined) fmt::print("  {}: {}: {}{}\n", d.pass, d.node, d.decision == "declined" ? "" : d.decision + ": ", d.reason);
  if (declined.empty()) fmt::print("  nothing\n");
  return kSuccess;
}

}  // namespace tenon::tools
