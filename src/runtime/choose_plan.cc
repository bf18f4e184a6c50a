#include "runtime/choose_plan.h"

#include <algorithm>
#include <charconv>

#include "base/log.h"

namespace tenon::runtime {
namespace {

using engine::Plan;

constexpr int kOldestGpu = 80;

bool is_for_cpu(const Plan& plan) { return plan.target == "cpu" || plan.target == "reference"; }

std::string targets_of(const engine::EngineFile& file) {
  std::string all;
  for (const Plan& plan : file.plans()) all += (all.empty() ? "" : ",") + plan.target;
  return all;
}

// "tenon build MODEL -o bert.tenon --target sm_90,sm_80 --fp16": the engine with one target more.
std::string command_that_adds(const engine::EngineFile& file, std::string_view target) {
  std::string command = fmt::format("tenon build MODEL -o {} --target {},{}", file.name(), targets_of(file), target);
  const auto& options = file.metadata().build_options;
  const auto precision = options.find("precision");
  if (precision != options.end() && precision->second != "fp32") command += " --" + precision->second;
  return command;
}

// The first of the best; -1: none.
int best_for_gpu(const engine::EngineFile& file, int capability) {
  int best = -1;
  std::pair<Fit, int> best_rank;
  for (size_t i = 0; i < file.plans().size(); ++i) {
    const Plan& plan = file.plans()[i];
    const std::pair rank{fit_of(plan, capability), capability_of(plan.target)};
    if (rank.first == Fit::kNone || (best >= 0 && rank <= best_rank)) continue;
    best = static_cast<int>(i);
    best_rank = rank;
  }
  return best;
}

int find_cpu(const engine::EngineFile& file) {
  const auto it = std::ranges::find_if(file.plans(), is_for_cpu);
  return it == file.plans().end() ? -1 : static_cast<int>(it - file.plans().begin());
}

Status does_not_run_on(const engine::EngineFile& file, const GpuAtHand& gpu) {
  if (gpu.capability < kOldestGpu) {
    return error(ErrorCode::kEngineVersion,
                 "this machine's {} is sm_{}: GPUs before sm_{} are not supported; `{}` adds the CPU", gpu.name,
                 gpu.capability, kOldestGpu, command_that_adds(file, "cpu"));
  }
  return error(ErrorCode::kEngineVersion, "the engine is for {}, this machine's {} is sm_{}: `{}` adds it",
               targets_of(file), gpu.name, gpu.capability,
               command_that_adds(file, fmt::format("sm_{}", gpu.capability)));
}

}  // namespace

int capability_of(std::string_view target) {
  if (!target.starts_with("sm_")) return 0;
  const char *begin = target.data() + 3, *end = target.data() + target.size();
  int capability = 0;
  const auto [at, failed] = std::from_chars(begin, end, capability);
  return failed == std::errc() && at == end ? std::max(capability, 0) : 0;
}

bool is_for_gpu(const Plan& plan) { return capability_of(plan.target) > 0; }

Fit fit_of(const Plan& plan, int capability) {
  const int own = capability_of(plan.target);
  if (own == 0 || own > capability) return Fit::kNone;
  if (own == capability) return Fit::kOwn;
  const bool portable =
      std::ranges::all_of(plan.codes, [](const engine::PlanCode& c) { return engine::is_portable(c); });
  if (!portable) return Fit::kNone;
  // Machine code runs on GPUs of the same first number and a second one that is no less (CUDA C++ Programming Guide,
  // "Binary Compatibility").
  if (own / 10 == capability / 10) return Fit::kSameGeneration;
  const bool has_ptx = std::ranges::none_of(plan.codes, [](const engine::PlanCode& c) { return c.ptx.empty(); });
  return has_ptx ? Fit::kTranslated : Fit::kNone;
}

Result<int> choose_plan(const engine::EngineFile& file, std::string_view wanted,
                        const std::function<Result<GpuAtHand>()>& gpu) {
  const auto plans = file.plans();
  const bool any_gpu = std::ranges::any_of(plans, is_for_gpu);
  const int cpu = find_cpu(file);
  if (!any_gpu && cpu < 0) {
    return error(ErrorCode::kEngineVersion, "the engine is for {}, which this runtime does not know", targets_of(file));
  }
  const auto lacks = [&](std::string_view target) {
    return error(ErrorCode::kInvalidArgument, "the engine is for {}, not for {}: `{}` adds it", targets_of(file),
                 target, command_that_adds(file, target));
  };
  const bool by_name = wanted != "auto" && wanted != "cuda";
  const auto named = std::ranges::find(plans, wanted, &Plan::target);
  if (by_name && named == plans.end()) return lacks(wanted);
  if (wanted == "cpu" || wanted == "reference") return static_cast<int>(named - plans.begin());
  if (!by_name && !any_gpu) return wanted == "auto" ? Result<int>(cpu) : lacks(wanted);

  const Result<GpuAtHand> found = gpu();
  const bool cpu_will_do = wanted == "auto" && cpu >= 0;
  if (!found.ok() && !cpu_will_do) {
    return error(found.status().code(), "the engine is for {}: {}{}", targets_of(file), found.status().message(),
                 cpu >= 0 ? "" : fmt::format("; `{}` adds the CPU", command_that_adds(file, "cpu")));
  }
  if (!found.ok()) {
    log(LogLevel::kInfo, "{} runs on the CPU: {}", file.name(), found.status().message());
    return cpu;
  }
  if (by_name) {
    if (fit_of(*named, found->capability) != Fit::kNone) return static_cast<int>(named - plans.begin());
    return error(ErrorCode::kEngineVersion, "code for {} does not run on this machine's {}, which is sm_{}", wanted,
                 found->name, found->capability);
  }
  const int best = best_for_gpu(file, found->capability);
  if (best >= 0) return best;
  const Status none = does_not_run_on(file, *found);
  if (!cpu_will_do) return none;
  log(LogLevel::kWarn, "{} runs on the CPU: {}", file.name(), none.message());
  return cpu;
}

}  // namespace tenon::runtime
