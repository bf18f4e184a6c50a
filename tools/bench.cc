// Throughput, latency and memory of an engine on random tokens.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "base/write_file.h"
#include "engine/reader.h"
#include "kernels/cuda/driver.h"
#include "runtime/choose_plan.h"
#include "runtime/executable.h"
#include "tenon/runtime.h"
#include "text/tokenizer.h"
#include "tools/pass_worth.h"
#include "tools/profile_report.h"
#include "tools/random_inputs.h"
#include "tools/report.h"
#include "tools/timing.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

// What one batch holds: so many texts, or as many as fit into so many tokens (one at least).
struct BatchSize {
  int64_t texts = 0, tokens = 0;  // one of them is 0
};

std::string to_string(const BatchSize& size) { return size.texts > 0 ? fmt::format("batch {}", size.texts) : fmt::format("batches of {} tokens", size.tokens); }

std::vector<BatchSize> batch_sizes(const BenchArgs& args) {
  std::vector<BatchSize> sizes;
  for (const int64_t n : args.batch_tokens.empty() ? args.batch : args.batch_tokens) sizes.push_back(args.batch_tokens.empty() ? BatchSize{.texts = n} : BatchSize{.tokens = n});
  return sizes;
}

// Row lengths: all of one length, or drawn from a file of texts or a distribution.
class Lengths {
 public:
  Lengths(const BenchArgs& args, const Engine& engine) : random_(args.seed) {
    if (args.lengths.empty()) return;
    choose(args.lengths, engine);
    at_ = texts_.size();
    ahead_ = next();
  }

  // Batches of so many tokens end where a file does; those of so many texts go on at its beginning.
  std::vector<int64_t> draw(const BatchSize& size, int64_t seq) {
    if (fixed()) return std::vector<int64_t>(static_cast<size_t>(size.texts > 0 ? size.texts : std::max<int64_t>(1, size.tokens / seq)), seq);
    std::vector<int64_t> lengths;
    int64_t tokens = 0;
    const auto is_full = [&] {
      if (size.texts > 0) return static_cast<int64_t>(lengths.size()) == size.texts;
      return tokens + ahead_ > size.tokens || (kind_ == kTexts && at_ == 0);
    };
    do {
      lengths.push_back(ahead_);
      tokens += ahead_;
      ahead_ = next();
    } while (!is_full());
    return lengths;
  }
  bool fixed() const { return kind_ == kFixed; }
  size_t count() const { return texts_.size(); }  // of a file; 0: drawn at random

 private:
  void choose(const std::string& spec, const Engine& engine) {
    double a = 0, b = 0;
    if (std::sscanf(spec.c_str(), "uniform:%lf-%lf", &a, &b) == 2 && 1 <= a && a <= b) {
      uniform_ = std::uniform_int_distribution<int64_t>(static_cast<int64_t>(a), static_cast<int64_t>(b));
      kind_ = kUniform;
    } else if (std::sscanf(spec.c_str(), "normal:%lf,%lf", &a, &b) == 2 && a >= 1 && b > 0) {
      normal_ = std::normal_distribution<double>(a, b);
      kind_ = kNormal;
    } else if (spec.starts_with("list:")) {
      read_numbers(spec.substr(5));
      kind_ = kTexts;
    } else {
      read_texts(spec, engine);
      kind_ = kTexts;
    }
  }

  int64_t next() {
    switch (kind_) {
      case kFixed: return 0;
      case kUniform: return uniform_(random_);
      case kNormal: return std::max<int64_t>(1, static_cast<int64_t>(normal_(random_)));
      case kTexts:
        if (++at_ >= texts_.size()) at_ = 0;
        return texts_[at_];
    }
    return 0;
  }
  void read_numbers(const std::string& path) {
    std::ifstream file(path);
    for (int64_t n = 0; file >> n;) texts_.push_back(std::max<int64_t>(1, n));
    if (texts_.empty()) throw Error(ErrorCode::kInvalidArgument, "--lengths list:" + path + ": no numbers there");
  }
  void read_texts(const std::string& path, const Engine& engine) {
    std::ifstream file(path);
    if (!file) throw Error(ErrorCode::kInvalidArgument, "--lengths: \"" + path + "\" is no file of texts, nor uniform:LOW-HIGH, nor normal:MEAN,STD");
    const std::string_view blob = engine.executable()->file().tokenizer();
    if (blob.empty()) throw Error(ErrorCode::kInvalidArgument, "--lengths with a file needs an engine that carries a tokenizer");
    const auto tokenizer = value_or_throw(text::Tokenizer::deserialize(blob));
    EncodeOptions options;
    options.max_length = tokenizer->model_max_length() > 0 ? tokenizer->model_max_length() : 512;
    for (std::string line; std::getline(file, line);)
      if (!line.empty()) texts_.push_back(static_cast<int64_t>(tokenizer->encode(line, options).size()));
    if (texts_.empty()) throw Error(ErrorCode::kInvalidArgument, path + ": no texts");
  }

  enum Kind { kFixed, kUniform, kNormal, kTexts } kind_ = kFixed;
  std::mt19937_64 random_;
  std::uniform_int_distribution<int64_t> uniform_;
  std::normal_distribution<double> normal_;
  std::vector<int64_t> texts_;
  size_t at_ = 0;      // in texts_, of ahead_
  int64_t ahead_ = 0;  // the next row's
};

struct Point {
  BatchSize size;
  int64_t batch = 0, seq = 0, tokens = 0;  // texts and tokens of a run: means
  double texts_per_second = 0, tokens_per_second = 0;
  double first = 0;  // seconds of the first run of all, which allocates and records
  double all = 0;    // seconds from the first run that counts to the last one's end
  std::vector<double> seconds;  // rising
  size_t arena = 0;
  int graphs = 0;  // that its runs recorded

  double mean() const { return tools::mean(seconds); }
  double percentile(double p) const { return tools::percentile(seconds, p); }
};

int count_graphs(const std::vector<ExecutionContext>& streams) {
  int count = 0;
  for (const ExecutionContext& context : streams) count += context.graphs_recorded();
  return count;
}

// Copies of inputs in the GPU's memory.
class DeviceTensors {
 public:
  explicit DeviceTensors(const NamedTensors& tensors) : device_(value_or_throw(cuda::Device::open())) {
    if (const Status s = upload(tensors); !s.ok()) throw Error(s.code(), s.message());
  }
  ~DeviceTensors() {
    for (const auto& [name, data] : data_) device_->api().cuMemFree(data);
  }
  DeviceTensors(const DeviceTensors&) = delete;
  DeviceTensors& operator=(const DeviceTensors&) = delete;
  // Null: it is on the host.
  void* find(const std::string& name) const {
    const auto it = data_.find(name);
    return it == data_.end() ? nullptr : reinterpret_cast<void*>(it->second);
  }

 private:
  Status upload(const NamedTensors& tensors) {
    TENON_TRY(device_->use());
    for (const auto& [name, t] : tensors) {
      const size_t bytes = static_cast<size_t>(t.numel()) * dtype_size(t.dtype());
      if (bytes == 0) continue;
      cuda::DevicePtr& data = data_[name];
      TENON_TRY(cuda::check(device_->api().cuMemAlloc(&data, bytes), "allocating memory for inputs"));
      TENON_TRY(cuda::check(device_->api().cuMemcpyHtoDAsync(data, t.data(), bytes, nullptr), "uploading inputs"));
    }
    return cuda::check(device_->api().cuStreamSynchronize(nullptr), "uploading inputs");
  }

  const cuda::Device* device_;
  std::map<std::string, cuda::DevicePtr> data_;
};

struct Batch {
  NamedTensors inputs;
  std::unique_ptr<DeviceTensors> on_device;  // null: all are on the host
  int64_t texts = 0, longest = 0, tokens = 0;
};

// Made before the clock runs, so that runs follow each other as in a server under load. A file's lengths come once each,
// but for those that fill up the last batch.
std::vector<Batch> make_batches(const BenchArgs& args, const Engine& engine, Lengths& lengths, const BatchSize& size, int64_t seq) {
  constexpr size_t kMostBytes = size_t{1} << 29;
  const size_t most_texts = lengths.count() > 0 ? lengths.count() : SIZE_MAX, most = lengths.fixed() ? 8 : lengths.count() > 0 ? SIZE_MAX : 64;
  std::vector<Batch> batches;
  for (size_t bytes = 0, texts = 0; texts < most_texts && batches.size() < most && bytes < kMostBytes;) {
    const std::vector<int64_t> rows = lengths.draw(size, seq);
    texts += rows.size();
    Batch& made = batches.emplace_back();
    made.texts = static_cast<int64_t>(rows.size());
    made.longest = *std::max_element(rows.begin(), rows.end());
    made.tokens = std::accumulate(rows.begin(), rows.end(), int64_t{0});
    made.inputs = random_inputs(engine, rows, made.longest, args.seed + static_cast<unsigned>(batches.size()));
    if (args.inputs_on_device) made.on_device = std::make_unique<DeviceTensors>(made.inputs);
    for (const auto& [name, t] : made.inputs) bytes += static_cast<size_t>(t.numel()) * dtype_size(t.dtype());
  }
  return batches;
}

void set_inputs(ExecutionContext& context, const NamedTensors& inputs, const DeviceTensors* device = nullptr) {
  for (const auto& [name, t] : inputs) {
    void* there = device != nullptr ? device->find(name) : nullptr;
    context.set_input(name, {t.dtype(), t.shape(), there != nullptr ? there : const_cast<std::byte*>(t.data()), there != nullptr});
  }
}

// Every stream takes the next batch when it is done with one.
Point measure(const BenchArgs& args, const Engine& engine, std::vector<ExecutionContext>& streams, Lengths& lengths, const BatchSize& size, int64_t seq, Progress& progress) {
  Point point;
  point.size = size;
  const int graphs_before = count_graphs(streams);
  const std::vector<Batch> batches = make_batches(args, engine, lengths, size, seq);
  const auto batch_of = [&](size_t run) -> const Batch& { return batches[run % batches.size()]; };
  TimingPlan plan;
  plan.streams = streams.size();
  plan.warmup_runs = args.warmup;
  plan.runs = args.iterations > 0 ? args.iterations : 3;
  plan.seconds = args.iterations > 0 ? 0 : args.duration;
  TimedWork work;
  work.prepare = [&](size_t stream, size_t run) { set_inputs(streams[stream], batch_of(run).inputs, batch_of(run).on_device.get()); };
  work.run = [&](size_t stream) { streams[stream].execute(); };
  work.done = [&](double fraction) { progress.show(lengths.fixed() ? fmt::format("{} seq {}", to_string(size), seq) : to_string(size), fraction); };
  const Timing timing = time_runs(plan, work);
  point.first = timing.first;
  point.all = timing.walltime;
  int64_t texts = 0, tokens = 0;
  for (const TimedRun& run : timing.runs) {
    const Batch& ran = batch_of(run.index);
    point.seconds.push_back(run.seconds());
    point.seq = std::max(point.seq, ran.longest);
    texts += ran.texts;
    tokens += ran.tokens;
  }
  const auto runs = static_cast<int64_t>(point.seconds.size());
  point.batch = texts / runs;
  point.tokens = tokens / runs;
  point.texts_per_second = static_cast<double>(texts) / point.all;
  point.tokens_per_second = static_cast<double>(tokens) / point.all;
  std::sort(point.seconds.begin(), point.seconds.end());
  for (const ExecutionContext& context : streams) point.arena += context.arena_bytes();
  point.graphs = count_graphs(streams) - graphs_before;
  return point;
}

// One more batch like those that were measured.
ProfileReport profile(const BenchArgs& args, const Engine& engine, ExecutionContext& context, const Point& point, Lengths& lengths, const Limits& limits, Progress& progress) {
  constexpr int kRuns = 10;
  const std::vector<int64_t> rows = lengths.draw(point.size, point.seq);
  const int64_t longest = *std::max_element(rows.begin(), rows.end()), tokens = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  const NamedTensors inputs = random_inputs(engine, rows, longest, args.seed);
  set_inputs(context, inputs);
  context.execute();
  StepTimes times;
  context.set_profiler(&times);
  for (int i = 0; i < kRuns; ++i) context.execute();
  context.set_profiler(nullptr);
  ProfileReport report = make_report(times, step_costs(engine.executable()->plan(), inputs, tokens), limits);
  report.engine = args.engine;
  report.batch = static_cast<int64_t>(rows.size());
  report.seq = longest;
  report.run_seconds = point.percentile(50);
  if (!args.passes_of.empty()) {
    const auto show = [&](std::string_view what, double part) { progress.show(what, part); };
    report.passes = measure_passes(engine, args.passes_of, inputs, args.threads, args.duration, show);
  }
  return report;
}

}  // namespace

// What a process does once: the driver's context, where the engine is for a GPU, and loading the engine.
struct Start {
  double context = 0, load = 0;  // seconds
  double warm = 0;               // of making the contexts
  int graphs = 0;                // recorded by then
};

Engine load(const BenchArgs& args, Start& start) {
  // Closed again at once, so that peak memory counts the file once.
  const bool may_use_gpu =
      args.target != "cpu" && std::ranges::any_of(value_or_throw(engine::EngineFile::open(args.engine))->plans(), runtime::is_for_gpu);
  const double begin = seconds_now();
  if (may_use_gpu) (void)cuda::Device::open();  // whether it must open is for Engine::load to say
  const double opened = seconds_now();
  Engine engine = Engine::load(args.engine, {.threads = args.threads, .target = args.target});
  start = {opened - begin, seconds_now() - opened};
  return engine;
}

int bench(const BenchArgs& args) {
  Start start;
  const Engine engine = load(args, start);
  ContextOptions options;
  options.outputs_on_device = args.outputs_on_device;
  options.warm = args.warm == "none" ? ContextOptions::Warm::kNone : args.warm == "all" ? ContextOptions::Warm::kAll : ContextOptions::Warm::kOptimum;
  std::vector<ExecutionContext> streams;
  const double begin = seconds_now();
  for (int i = 0; i < args.streams; ++i) streams.push_back(engine.create_execution_context(options));
  start.warm = seconds_now() - begin;
  start.graphs = count_graphs(streams);
  Lengths lengths(args, engine);
  std::vector<Point> points;
  {
    Progress progress(args.quiet || args.json);
    for (const BatchSize& size : batch_sizes(args)) {
      for (int64_t seq : lengths.fixed() ? args.seq : std::vector<int64_t>{0}) points.push_back(measure(args, engine, streams, lengths, size, seq, progress));
    }
  }
  std::vector<ProfileReport> reports;
  if (args.profile || !args.profile_html.empty() || !args.passes_of.empty()) {
    Progress progress(args.quiet || args.json);
    progress.show("profile", 0);
    const bool on_gpu = runtime::is_for_gpu(engine.executable()->plan());
    const Limits limits = on_gpu ? measure_gpu(*value_or_throw(cuda::Device::open())) : measure_cpu(engine.executable()->pool());
    for (const Point& p : points) reports.push_back(profile(args, engine, streams.front(), p, lengths, limits, progress));
    if (!args.profile_html.empty()) {
      const Status written = write_file(args.profile_html, profile_html(reports));
      if (!written.ok()) throw Error(written.code(), written.message());
    }
  }
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  if (!args.json) fmt::print("{:>5} {:>5} {:>7} {:>6} | {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} ms | {:>9} {:>9} /s | {:>9}\n", "batch", "seq", "tokens", "runs", "min",
                             "mean", "median", "p90", "p95", "p99", "texts", "tokens", "arena");
  for (const Point& p : points) {
    if (args.json) {
      json.push_back({{"target", engine.target()}, {"batch", p.batch}, {"seq", p.seq}, {"tokens", p.tokens}, {"runs", p.seconds.size()}, {"context_s", start.context}, {"load_s", start.load}, {"warm_s", start.warm}, {"graphs_at_load", start.graphs}, {"graphs", p.graphs}, {"first_s", p.first}, {"min_s", p.seconds[0]}, {"mean_s", p.mean()},
                      {"median_s", p.percentile(50)}, {"p90_s", p.percentile(90)}, {"p95_s", p.percentile(95)}, {"p99_s", p.percentile(99)}, {"max_s", p.seconds.back()},
                      {"texts_per_s", p.texts_per_second}, {"tokens_per_s", p.tokens_per_second}, {"arena_bytes", p.arena}, {"peak_resident_bytes", peak_resident_bytes()}});
    } else {
      fmt::print("{:>5} {:>5} {:>7} {:>6} | {:>9.3f} {:>9.3f} {:>9.3f} {:>9.3f} {:>9.3f} {:>9.3f}    | {:>9.1f} {:>9.0f}    | {:>9}\n", p.batch, p.seq, p.tokens,
                 p.seconds.size(), 1e3 * p.seconds[0], 1e3 * p.mean(), 1e3 * p.percentile(50), 1e3 * p.percentile(90), 1e3 * p.percentile(95), 1e3 * p.percentile(99),
                 p.texts_per_second, p.tokens_per_second, human_bytes(p.arena));
    }
  }
  if (args.json) {
    for (size_t i = 0; i < reports.size(); ++i) json[i]["profile"] = profile_json(reports[i]);
    std::puts(json.dump(2).c_str());
  } else {
    for (const ProfileReport& report : reports) print_profile(report, 16);
    if (start.context > 0) fmt::print("driver's context {:.3f} s, ", start.context);
    fmt::print("{} loaded in {:.3f} s, ", engine.target(), start.load);
    if (runtime::is_for_gpu(engine.executable()->plan())) {
      fmt::print("contexts made in {:.3f} s with {} graphs, {} graphs later, ", start.warm, start.graphs, count_graphs(streams) - start.graphs);
    }
    fmt::print("first run {:.3f} ms, weights {}, peak resident {}\n", 1e3 * points.front().first,
               human_bytes(engine.executable()->file().weight_bytes()), human_bytes(peak_resident_bytes()));
  }
  return kSuccess;
}

}  // namespace tenon::tools
