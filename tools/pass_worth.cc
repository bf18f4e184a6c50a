#include "tools/pass_worth.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "engine/reader.h"
#include "passes/pipeline.h"
#include "runtime/executable.h"
#include "tenon/builder.h"
#include "tools/report.h"
#include "tools/timing.h"

namespace tenon::tools {
namespace {

constexpr int kLeastRounds = 5, kMostRounds = 200;

// A context that runs one batch again and again.
class Runner {
 public:
  Runner(const Engine& engine, const NamedTensors& inputs) : context_(engine.create_execution_context()) {
    for (const auto& [name, t] : inputs)
      context_.set_input(name, {t.dtype(), t.shape(), const_cast<std::byte*>(t.data())});
    context_.execute();
  }
  void run() {
    const double start = seconds_now();
    context_.execute();
    seconds_.push_back(seconds_now() - start);
  }
  double median() const {
    std::vector<double> sorted = seconds_;
    std::sort(sorted.begin(), sorted.end());
    return percentile(sorted, 50);
  }

 private:
  ExecutionContext context_;
  std::vector<double> seconds_;
};

// As the engine was built.
BuilderConfig config_of(const Engine& engine, const engine::Metadata& meta) {
  BuilderConfig config;
  config.target = engine.executable()->plan().target;
  auto precision = meta.build_options.find("precision for " + config.target);
  if (precision == meta.build_options.end()) precision = meta.build_options.find("precision");
  if (precision != meta.build_options.end()) config.precision = precision->second;
  const auto disabled = meta.build_options.find("disable-pass");
  std::istringstream names(disabled == meta.build_options.end() ? "" : disabled->second);
  for (std::string name; names >> name;) config.disabled_passes.push_back(name);
  return config;
}

}  // namespace

std::vector<PassWorth> measure_passes(const Engine& engine, const std::string& model, const NamedTensors& inputs,
                                      int threads, double seconds_each,
                                      const std::function<void(std::string_view, double)>& progress) {
  const engine::Metadata meta = value_or_throw(engine.executable()->file().read_texts());
  const std::vector<passes::PassInfo> known = passes::pass_list();
  std::vector<PassWorth> passes;
  for (const engine::Decision& d : meta.plans[static_cast<size_t>(engine.executable()->plan_index())].decisions) {
    const bool is_pass = std::ranges::any_of(known, [&](const passes::PassInfo& info) { return info.name == d.pass; });
    if (d.decision != "applied" || !is_pass) continue;  // the precision, say, is none
    auto it = std::find_if(passes.begin(), passes.end(), [&](const PassWorth& p) { return p.pass == d.pass; });
    if (it == passes.end()) {
      it = passes.insert(passes.end(), PassWorth{});
      it->pass = d.pass;
    }
    ++it->applied;
  }
  const auto path = std::filesystem::temp_directory_path() / fmt::format("tenon-profile-{}.tenon", ::getpid());
  for (size_t i = 0; i < passes.size(); ++i) {
    PassWorth& pass = passes[i];
    progress("without " + pass.pass, static_cast<double>(i) / static_cast<double>(passes.size()));
    BuilderConfig config = config_of(engine, meta);
    config.disabled_passes.push_back(pass.pass);
    try {
      Builder().build(model, path.string(), config);
      const Engine other = Engine::load(path.string(), {.threads = threads});
      Runner with(engine, inputs), without(other, inputs);
      const double end = seconds_now() + seconds_each;
      for (int round = 0; round < kLeastRounds || (round < kMostRounds && seconds_now() < end); ++round) {
        with.run();
        without.run();
      }
      pass.with = with.median();
      pass.without = without.median();
    } catch (const Error& e) {
      pass.failure = e.what();
    }
  }
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  return passes;
}

}  // namespace tenon::tools
