#include "plan/autotuner.h"

#include <fnmatch.h>

#include <algorithm>
#include <numeric>

namespace tenon::plan {
namespace {

using kernels::Config;

constexpr int kSamples = 15, kSamplesOfARound = 3;
constexpr double kTie = 0.015;  // medians this close are equal: less than they differ between two races

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

bool matches(const std::string& pattern, const std::string& text) {
  return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
}

// What races for one problem at one size. Configs of libraries stand behind the kernel's own, which win where they are as
// fast, and are not ranked: none is left out.
std::vector<Config> candidates(const ConfigProblem& problem, int64_t rows, const Machine& machine,
                               const TuneOptions& options) {
  std::vector<Config> ranked = ranked_configs(*problem.kernel, problem.problem, rows, machine);
  const std::vector<Config> others = library_configs(*problem.kernel, problem.problem, machine);
  if (!options.only.empty()) {
    ranked.insert(ranked.end(), others.begin(), others.end());
    std::erase_if(ranked, [&](const Config& c) {
      return std::none_of(options.only.begin(), options.only.end(),
                          [&](const std::string& p) { return matches(p, c.text); });
    });
    return ranked;
  }
  const auto most = static_cast<size_t>(options.candidates);
  if (most > 0 && ranked.size() > most) {
    // What would run without timing races too, however it is ranked now.
    const std::string guess = choose_config(*problem.kernel, problem.problem, rows, machine, nullptr).config.text;
    const auto it = std::find_if(ranked.begin(), ranked.end(), [&](const Config& c) { return c.text == guess; });
    if (it != ranked.end() && it - ranked.begin() >= static_cast<std::ptrdiff_t>(most)) ranked[most - 1] = *it;
    ranked.resize(most);
  }
  ranked.insert(ranked.end(), others.begin(), others.end());
  return ranked;
}

bool knows_all(const TimingEntry& entry, const std::vector<Config>& configs) {
  return std::all_of(configs.begin(), configs.end(), [&](const Config& c) { return entry.find(c.text) != nullptr; });
}

// One problem at one size: its place in the results, and what races.
struct Heat {
  size_t result;
  TimingKey key;
  std::vector<Config> configs;
};

Status run(const Heat& heat, const Machine& machine, ConfigTimer& timer, TimingCache& cache, TuneResult& result) {
  const ConfigProblem& problem = *result.problem;
  TENON_ASSIGN(const std::vector<std::string> reasons, timer.prepare(problem, heat.key.rows, heat.configs));
  std::vector<size_t> ready;
  for (size_t i = 0; i < heat.configs.size(); ++i) {
    if (reasons[i].empty())
      ready.push_back(i);
    else
      result.left_out.push_back(heat.configs[i].text + ": " + reasons[i]);
  }
  if (ready.empty()) return {};
  TENON_ASSIGN(const RaceResult raced, race(ready.size(), [&](size_t i) { return timer.seconds(ready[i]); }));
  for (size_t i = 0; i < ready.size(); ++i) {
    result.timings.push_back(make_timing(heat.configs[ready[i]].text, raced.medians[i] * 1e6, raced.spreads[i]));
  }
  std::swap(result.timings[0], result.timings[raced.winner]);
  std::stable_sort(result.timings.begin() + 1, result.timings.end(),
                   [](const Timing& a, const Timing& b) { return a.us < b.us; });
  result.config = result.timings[0].config;

  TimingEntry entry{result.config, result.timings, "", machine.driver};
  std::vector<std::string> timed;
  for (const Config& c : heat.configs) {
    timed.push_back(c.text);
    if (entry.find(c.text) == nullptr) entry.timings.push_back({c.text, 0, 0});
  }
  entry.code = timed_code_name(*problem.kernel, problem.problem, timed, machine);
  cache.put(heat.key, std::move(entry));
  return {};
}

}  // namespace

Result<RaceResult> race(size_t count, const std::function<Result<double>(size_t)>& time) {
  std::vector<std::vector<double>> samples(count);
  std::vector<size_t> running(count);
  std::iota(running.begin(), running.end(), size_t{0});
  RaceResult out;
  out.medians.resize(count);
  out.spreads.resize(count);
  for (int done = 0; done < kSamples; done += kSamplesOfARound) {
    for (int i = 0; i < kSamplesOfARound; ++i) {
      for (const size_t c : running) {
        TENON_ASSIGN(const double seconds, time(c));
        samples[c].push_back(seconds);
      }
    }
    for (const size_t c : running) {
      const auto [least, most] = std::minmax_element(samples[c].begin(), samples[c].end());
      out.medians[c] = median(samples[c]);
      out.spreads[c] = out.medians[c] > 0 ? (*most - *least) / out.medians[c] : 0;
    }
    // The slower half drops out, but none that is as fast as the fastest.
    std::vector<double> medians;
    for (const size_t c : running) medians.push_back(out.medians[c]);
    std::sort(medians.begin(), medians.end());
    const double limit = std::max(medians[(medians.size() - 1) / 2], medians[0] * (1 + kTie));
    std::erase_if(running, [&](size_t c) { return out.medians[c] > limit; });
  }
  double least = out.medians[running[0]];
  for (const size_t c : running) least = std::min(least, out.medians[c]);
  out.winner =
      *std::find_if(running.begin(), running.end(), [&](size_t c) { return out.medians[c] <= least * (1 + kTie); });
  return out;
}

Result<std::vector<TuneResult>> autotune(std::span<const ConfigProblem> problems, const Machine& machine,
                                         const TuneOptions& options, ConfigTimer& timer, TimingCache& cache) {
  std::vector<TuneResult> results;
  std::vector<Heat> heats;
  std::vector<ConfigTimer::Work> work;
  for (const ConfigProblem& problem : problems) {
    if (!matches(options.kernels, std::string(problem.kernel->id())) || !timer.declines(problem.problem).empty())
      continue;
    for (const ConfigProblem::Size& size : problem.sizes) {
      std::vector<Config> configs = candidates(problem, size.rows, machine, options);
      if (configs.empty()) continue;
      TuneResult& result = results.emplace_back();
      result.problem = &problem;
      result.max_tokens = size.max_tokens;
      result.rows = size.rows;
      result.guess = choose_config(*problem.kernel, problem.problem, size.rows, machine, nullptr).config.text;
      const TimingKey key = timing_key(*problem.kernel, problem.text, size.rows, machine);
      const TimingEntry* known = cache.find(key);
      const bool current = known != nullptr && is_current(*known, *problem.kernel, problem.problem, machine);
      if (current && !options.again && (known->code.empty() || knows_all(*known, configs))) {
        result.cached = true;
        result.config = known->config;
        result.timings = known->timings;
        continue;
      }
      for (const Config& config : configs) work.push_back({&problem, config});
      heats.push_back({results.size() - 1, key, std::move(configs)});
    }
  }
  const auto progress = [&](std::string_view phase, double fraction) {
    if (options.on_progress) options.on_progress(phase, fraction);
  };
  TENON_TRY(timer.compile(work, [&](double done) { progress("compile candidates", done); }));
  for (size_t i = 0; i < heats.size(); ++i) {
    progress("time kernels", static_cast<double>(i) / static_cast<double>(heats.size()));
    TENON_TRY(run(heats[i], machine, timer, cache, results[heats[i].result]));
  }
  return results;
}

}  // namespace tenon::plan
