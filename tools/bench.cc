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

// Row lengths: all of one length, or drawn from a file of texts or a distribution.
class Lengths {
 public:
  Lengths(const BenchArgs& args, const Engine& engine) : random_(args.seed) {
    const std::string& spec = args.lengths;
    if (spec.empty()) return;
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

  std::vector<int64_t> draw(int64_t batch, int64_t seq) {
    std::vector<int64_t> lengths;
    for (int64_t i = 0; i < batch; ++i) {
      switch (kind_) {
        case kFixed: lengths.push_back(seq); break;
        case kUniform: lengths.push_back(uniform_(random_)); break;
        case kNormal: lengths.push_back(std::max<int64_t>(1, static_cast<int64_t>(normal_(random_)))); break;
        case kTexts: lengths.push_back(texts_[static_cast<size_t>(next_++) % texts_.size()]); break;
      }
    }
    return lengths;
  }
  bool fixed() const { return kind_ == kFixed; }
  size_t count() const { return texts_.size(); }  // of a file; 0: drawn at random

 private:
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
  int64_t next_ = 0;
};

struct Point {
  int64_t batch = 0, seq = 0, tokens = 0;
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
  int64_t longest = 0, tokens = 0;
};

// Made before the clock runs, so that runs follow each other as in a server under load. A file's lengths come once each,
// but for those that fill up the last batch.
std::vector<Batch> make_batches(const BenchArgs& args, const Engine& engine, Lengths& lengths, int64_t batch, int64_t seq) {
  constexpr size_t kMostBytes = size_t{1} << 29;
  const size_t whole_file = (lengths.count() + static_cast<size_t>(batch) - 1) / static_cast<size_t>(batch);
  const size_t most = lengths.fixed() ? 8 : whole_file > 0 ? whole_file : 64;
  std::vector<Batch> batches;
  for (size_t bytes = 0; batches.size() < most && bytes < kMostBytes;) {
    const std::vector<int64_t> rows = lengths.draw(batch, seq);
    Batch& made = batches.emplace_back();
    made.longest = *std::max_element(rows.begin(), rows.end());
    for (int64_t r : rows) made.tokens += r;
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
Point measure(const BenchArgs& args, const Engine& engine, std::vector<ExecutionContext>& streams, Lengths& lengths, int64_t batch, int64_t seq, Progress& progress) {
  Point point;
  point.batch = batch;
  const int graphs_before = count_graphs(streams);
  const std::vector<Batch> batches = make_batches(args, engine, lengths, batch, seq);
  const auto batch_of = [&](size_t run) -> const Batch& { return batches[run % batches.size()]; };
  TimingPlan plan;
  plan.streams = streams.size();
  plan.warmup_runs = args.warmup;
  plan.runs = args.iterations > 0 ? args.iterations : 3;
  plan.seconds = args.iterations > 0 ? 0 : args.duration;
  TimedWork work;
  work.prepare = [&](size_t stream, size_t run) { set_inputs(streams[stream], batch_of(run).inputs, batch_of(run).on_device.get()); };
  work.run = [&](size_t stream) { streams[stream].execute(); };
  work.done = [&](double fraction) { progress.show(fmt::format("batch {} seq {}", batch, seq), fraction); };
  const Timing timing = time_runs(plan, work);
  point.first = timing.first;
  point.all = timing.walltime;
  int64_t tokens = 0;
  for (const TimedRun& run : timing.runs) {
    const Batch& ran = batch_of(run.index);
    point.seconds.push_back(run.seconds());
    point.seq = std::max(point.seq, ran.longest);
    tokens += ran.tokens;
  }
  point.tokens = tokens / static_cast<int64_t>(point.seconds.size());
  std::sort(point.seconds.begin(), point.seconds.end());
  for (const ExecutionContext& context : streams) point.arena += context.arena_bytes();
  point.graphs = count_graphs(streams) - graphs_before;
  return point;
}

// One more batch like those that were measured.
ProfileReport profile(const BenchArgs& args, const Engine& engine, ExecutionContext& context, const Point& point, Lengths& lengths, const Limits& limits, Progress& progress) {
  constexpr int kRuns = 10;
  const std::vector<int64_t> rows = lengths.draw(point.batch, point.seq);
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
  report.batch = point.batch;
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
    for (int64_t batch : args.batch) {
      for (int64_t seq : lengths.fixed() ? args.seq : std::vector<int64_t>{0}) points.push_back(measure(args, engine, streams, lengths, batch, seq, progress));
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
    const double runs_per_second = static_cast<double>(p.seconds.size()) / p.all;
    const double per_second = static_cast<double>(p.batch) * runs_per_second;
    const double tokens_per_second = static_cast<double>(p.tokens) * runs_per_second;
    if (args.json) {
      json.push_back({{"target", engine.target()}, {"batch", p.batch}, {"seq", p.seq}, {"tokens", p.tokens}, {"runs", p.seconds.size()}, {"context_s", start.context}, {"load_s", start.load}, {"warm_s", start.warm}, {"graphs_at_load", start.graphs}, {"graphs", p.graphs}, {"first_s", p.first}, {"min_s", p.seconds[0]}, {"mean_s", p.mean()},
                      {"median_s", p.percentile(50)}, {"p90_s", p.percentile(90)}, {"p95_s", p.percentile(95)}, {"p99_s", p.percentile(99)}, {"max_s", p.seconds.back()},
                      {"texts_per_s", per_second}, {"tokens_per_s", tokens_per_second}, {"arena_bytes", p.arena}, {"peak_resident_bytes", peak_resident_bytes()}});
    } else {
      fmt::print("{:>5} {:>5} {:>7} {:>6} | {:>9.3f} {:>9.3f} {:>9.3f} {:>9.3f} {:>9.3f} {:>9.3f}    | {:>9.1f} {:>9.0f}    | {:>9}\n", p.batch, p.seq, p.tokens,
                 p.seconds.size(), 1e3 * p.seconds[0], 1e3 * p.mean(), 1e3 * p.percentile(50), 1e3 * p.percentile(90), 1e3 * p.percentile(95), 1e3 * p.percentile(99),
                 per_second, tokens_per_second, human_bytes(p.arena));
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
