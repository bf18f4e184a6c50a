#include "builder/tuning.h"

#include <filesystem>
#include <set>

#include "base/log.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/cudnn.h"
#include "plan/cpu_timer.h"
#include "plan/gpu_timer.h"

namespace tenon::builder {
namespace {

// Empty: timings are not kept.
std::string timings_path(const BuilderConfig& config) {
  if (!config.timing_cache.empty()) return config.timing_cache;
  const std::string folder = config.tune ? plan::cache_folder() : "";
  return folder.empty() ? "" : folder + "/timings.jsonl";
}

// Other builds may have added to the file in the meantime.
Status save_timings(const std::string& path, const plan::TimingCache& timings) {
  TENON_ASSIGN(plan::TimingCache all, plan::TimingCache::load(path));
  all.merge(timings);
  return all.save(path);
}

std::string timing_text(const plan::Timing& t) {
  return t.us > 0 ? fmt::format("{} {:.2f} us", t.config, t.us) : t.config + " left out";
}

}  // namespace

Result<std::vector<std::string>> parse_tactics(const std::vector<std::string>& names) {
  const std::set<std::string> given(names.begin(), names.end());
  for (const std::string& name : given) {
    if (name != "cublaslt" && name != "cudnn")
      return error(ErrorCode::kInvalidArgument, "there are no tactics of \"{}\": cublaslt or cudnn", name);
    TENON_TRY(name == "cublaslt" ? cuda::cublaslt().status() : cuda::cudnn().status());
  }
  return std::vector<std::string>(given.begin(), given.end());
}

Result<plan::TimingCache> load_timings(const BuilderConfig& config) {
  const std::string path = timings_path(config);
  if (path.empty()) return plan::TimingCache();
  return plan::TimingCache::load(path);
}

Result<std::vector<plan::TuneResult>> tune_configs(std::span<const plan::ConfigProblem> problems,
                                                   const plan::Machine& machine, const BuilderConfig& config,
                                                   const plan::TuneOptions& options, plan::KernelCache& kernels,
                                                   plan::TimingCache& timings) {
  std::unique_ptr<plan::ConfigTimer> timer;
  if (machine.compute_capability == 0) {
    timer = std::make_unique<plan::CpuTimer>(machine);
  } else {
    TENON_ASSIGN(timer, plan::GpuTimer::create(machine, kernels, options.sustained));
  }
  TENON_ASSIGN(auto results, plan::autotune(problems, machine, options, *timer, timings));
  if (const std::string path = timings_path(config); !path.empty()) {
    const Status saved = save_timings(path, timings);
    if (!saved.ok() && !config.timing_cache.empty()) return saved;
    if (!saved.ok()) log(LogLevel::kInfo, "{}", saved.message());
  }
  return results;
}

std::vector<engine::Decision> describe_choices(std::span<const plan::ConfigProblem> problems) {
  std::vector<engine::Decision> out;
  for (const plan::ConfigProblem& p : problems) {
    const std::string node = fmt::format("{} in {} steps: {}", p.kernel->id(), p.steps, p.text);
    for (size_t i = 0; i < p.sizes.size(); ++i) {
      const auto& size = p.sizes[i];
      // Ranges without timings that share a config are one.
      const auto* next = i + 1 < p.sizes.size() ? &p.sizes[i + 1] : nullptr;
      const bool joins = next != nullptr && next->choice.config.text == size.choice.config.text &&
                         size.choice.timings.empty() && next->choice.timings.empty() &&
                         next->choice.origin == size.choice.origin;
      if (joins) continue;
      const std::string range = size.max_tokens > 0 ? fmt::format("to {} tokens", size.max_tokens) : "more";
      std::string reason = fmt::format("{}: {}", range, size.choice.config.text);
      for (const plan::Timing& t : size.choice.timings) {
        if (t.config == size.choice.config.text) reason += fmt::format(" {:.2f} us", t.us);
      }
      for (const plan::Timing& t : size.choice.timings) {
        if (t.config != size.choice.config.text) reason += "; " + timing_text(t);
      }
      out.push_back({"tune", node, std::string(plan::config_origin_name(size.choice.origin)), std::move(reason)});
    }
  }
  return out;
}

}  // namespace tenon::builder
