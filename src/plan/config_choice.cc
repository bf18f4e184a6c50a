#include "plan/config_choice.h"

#include <algorithm>

#include "base/hash.h"
#include "ir/text.h"
#include "kernels/cuda/cuda_kernel.h"
#include "kernels/cuda/nvrtc.h"
#include "ops/op_def.h"

namespace tenon::plan {
namespace {

using ir::Dim;
using ir::Shape;
using kernels::Config;
using kernels::Kernel;
using kernels::Problem;

// The GPU that stands for its generation where another, or none, is at hand.
constexpr const char* kHopper = "NVIDIA H200";

Dim leading(const Shape& shape) {
  Dim product = 1;
  for (size_t axis = 0; axis + 1 < shape.size(); ++axis) product = product * shape[axis];
  return product;
}

// The kernel's own and those of libraries.
std::vector<Config> all_configs(const Kernel& kernel, const Problem& problem, const Machine& machine) {
  std::vector<Config> configs = kernel.configs(problem);
  for (Config& config : library_configs(kernel, problem, machine)) configs.push_back(std::move(config));
  return configs;
}

const Config* find_config(const std::vector<Config>& configs, std::string_view text) {
  const auto it = std::find_if(configs.begin(), configs.end(), [&](const Config& c) { return c.text == text; });
  return it == configs.end() ? nullptr : &*it;
}

}  // namespace

std::string target_name(kernels::Target target, const Machine& machine) {
  switch (target) {
    case kernels::Target::kReference: return "reference";
    case kernels::Target::kCpu: return "cpu";
    case kernels::Target::kCuda: return fmt::format("sm_{}", machine.compute_capability);
  }
  return "";
}

std::string_view config_origin_name(ConfigOrigin origin) {
  switch (origin) {
    case ConfigOrigin::kEstimated:
      return "estimated";
    case ConfigOrigin::kShipped:
      return "shipped";
    case ConfigOrigin::kMeasured:
      return "measured";
  }
  return "";
}

Dim rows_of(const Problem& problem) {
  if (problem.inputs.empty()) return 1;
  const Shape& x = problem.inputs[0].shape;
  return problem.op == ir::Op::k_conv ? x[0] : leading(x);
}

Problem with_rows(const Problem& problem, const Dim& rows) {
  const Dim was = rows_of(problem);
  Problem out = problem;
  // [batch, seq, 768] and [tokens, 768] become [rows, 768], statistics of each row [tokens, 12, 2] become [rows, 12,
  // 2].
  const auto replace = [&](Shape& shape) {
    Dim product = 1;
    for (size_t axis = 0; axis + 1 < shape.size(); ++axis) {
      product = product * shape[axis];
      if (product != was) continue;
      shape.erase(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(axis) + 1);
      shape.insert(shape.begin(), rows);
      return;
    }
  };
  for (size_t i = 0; i < out.inputs.size(); ++i)
    if (out.present[i] && !out.constant[i]) replace(out.inputs[i].shape);
  for (ir::TensorType& type : out.outputs) replace(type.shape);
  return out;
}

std::string problem_text(const Problem& problem) {
  const Problem p = with_rows(problem, Dim::symbol("rows"));
  std::string out = std::string(ir::op_name(p.op)) + "(";
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    if (std::none_of(p.present.begin() + static_cast<std::ptrdiff_t>(i), p.present.end(),
                     [](bool given) { return given; }))
      break;
    out += i > 0 ? ", " : "";
    out += !p.present[i] ? "_" : (p.constant[i] ? "const " : "") + p.inputs[i].to_string();
  }
  out += ") ->";
  for (const ir::TensorType& type : p.outputs) out += " " + type.to_string();
  // Defaults are left out: an attribute that an op gains later changes no text.
  std::string attributes;
  for (const auto& [name, value] : p.attrs.all()) {
    const std::string given = ir::print(value);
    const bool is_default = std::any_of(ops::op_def(p.op).attrs.begin(), ops::op_def(p.op).attrs.end(),
                                        [&, &own = name](const ops::AttrDef& a) {
                                          return a.name == own && !a.required && ir::print(a.fallback) == given;
                                        });
    if (!is_default) attributes += (attributes.empty() ? " {" : ", ") + name + " = " + given;
  }
  return attributes.empty() ? out : out + attributes + "}";
}

std::vector<Config> ranked_configs(const Kernel& kernel, const Problem& problem, int64_t rows, const Machine& machine) {
  const Config guess = kernel.config_for(problem, rows, machine.multiprocessors);
  std::vector<Config> ranked = kernel.configs(with_rows(problem, rows));
  const auto own = std::find_if(ranked.begin(), ranked.end(), [&](const Config& c) { return c.text == guess.text; });
  if (own != ranked.end()) std::rotate(ranked.begin(), own, own + 1);
  return ranked;
}

std::vector<Config> library_configs(const Kernel& kernel, const Problem& problem, const Machine& machine) {
  std::vector<Config> configs;
  for (const std::string& library : machine.tactics)
    for (Config& config : kernel.library_configs(problem, library)) configs.push_back(std::move(config));
  return configs;
}

std::string timed_code_name(const Kernel& kernel, const Problem& problem, std::vector<std::string> configs,
                            const Machine& machine) {
  std::sort(configs.begin(), configs.end());
  const std::vector<Config> all = all_configs(kernel, problem, machine);
  const kernels::CudaKernel* cuda = kernel.as_cuda();
  std::string text = fmt::format("{} SMs", machine.multiprocessors);
  for (const std::string& name : configs) {
    const Config* config = find_config(all, name);
    const auto source =
        cuda != nullptr && config != nullptr ? cuda->code(problem, *config, machine.compute_capability) : std::nullopt;
    text += "\n" + name;
    if (source) text += " " + cuda::code_name(*source, cuda->arch(*config, machine.compute_capability));
  }
  return content_name(text);
}

TimingKey timing_key(const Kernel& kernel, const std::string& text, int64_t rows, const Machine& machine) {
  const bool stands_in = machine.device.empty() && machine.compute_capability == 90;
  std::string given = machine.workspace_limit > 0 ? fmt::format(" workspace <= {}", machine.workspace_limit) : "";
  for (const std::string& library : machine.tactics) given += " or " + library;
  return {std::string(kernel.id()), kernel.version(), stands_in ? kHopper : machine.device, text + given, rows};
}

bool is_current(const TimingEntry& entry, const Kernel& kernel, const Problem& problem, const Machine& machine) {
  if (entry.code.empty()) return true;
  if (entry.driver != 0 && machine.driver != 0 && entry.driver != machine.driver) return false;
  std::vector<std::string> configs;
  for (const Timing& t : entry.timings) configs.push_back(t.config);
  return entry.code == timed_code_name(kernel, problem, std::move(configs), machine);
}

ConfigChoice choose_config(const Kernel& kernel, const Problem& problem, int64_t rows, const Machine& machine,
                           const TimingCache* timings) {
  const std::vector<Config> configs = all_configs(kernel, problem, machine);
  TimingKey key = timing_key(kernel, problem_text(problem), rows, machine);
  const TimingEntry* measured = timings != nullptr ? timings->find(key) : nullptr;
  if (measured != nullptr && is_current(*measured, kernel, problem, machine)) {
    if (const Config* config = find_config(configs, measured->config))
      return {*config, ConfigOrigin::kMeasured, measured->timings};
  }
  key.problem = problem_text(problem);
  const TimingEntry* shipped = shipped_timings().find(key);
  if (shipped == nullptr && machine.compute_capability == 90) {
    key.device = kHopper;
    shipped = shipped_timings().find(key);
  }
  if (shipped != nullptr) {
    if (const Config* config = find_config(configs, shipped->config))
      return {*config, ConfigOrigin::kShipped, shipped->timings};
  }
  return {kernel.config_for(problem, rows, machine.multiprocessors), ConfigOrigin::kEstimated, {}};
}

}  // namespace tenon::plan
