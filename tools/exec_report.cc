#include "tools/exec_report.h"

#include <fmt/chrono.h>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/write_file.h"
#include "tools/report.h"

namespace tenon::tools {
namespace {

using Json = nlohmann::ordered_json;

std::string statistics(std::string_view name, std::vector<double> ms, const std::vector<double>& percentiles) {
  std::sort(ms.begin(), ms.end());
  std::string text = fmt::format("{}: min = {:.6g} ms, max = {:.6g} ms, mean = {:.6g} ms, median = {:.6g} ms", name, ms.front(), ms.back(), mean(ms), percentile(ms, 50));
  for (const double p : percentiles) text += fmt::format(", percentile({:g}%) = {:.6g} ms", p, percentile(ms, p));
  return text;
}

std::vector<double> milliseconds(const std::vector<TimedRun>& runs) {
  std::vector<double> ms;
  for (const TimedRun& run : runs) ms.push_back(1e3 * run.seconds());
  return ms;
}

struct LayerTime {
  std::string name;
  double total, average, median, percent;  // ms
};

std::vector<LayerTime> layer_times(const StepTimes& steps, const LayerNames& names) {
  std::vector<LayerTime> layers;
  double all = 0;
  for (const auto& [name, times] : steps.in_order()) {
    const double total = 1e3 * std::accumulate(times->seconds.begin(), times->seconds.end(), 0.0);
    const auto layer = names.find(name);
    layers.push_back({layer == names.end() ? name : layer->second, total, total / static_cast<double>(times->seconds.size()), 1e3 * times->median(), 0});
    all += total;
  }
  for (LayerTime& layer : layers) layer.percent = all > 0 ? 100 * layer.total / all : 0;
  return layers;
}

// JSON knows no NaN and no infinities: they become null.
Json number_or_null(double v) { return std::isfinite(v) ? Json(v) : Json(nullptr); }

Json values_of(const ir::Tensor& tensor) {
  Json values = Json::array();
  visit_dtype(tensor.dtype(), [&]<class T>() {
    const T* data = reinterpret_cast<const T*>(tensor.data());
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      if (is_float(tensor.dtype())) {
        values.push_back(number_or_null(convert<double>(data[i])));
      } else {
        values.push_back(convert<int64_t>(data[i]));
      }
    }
  });
  return values;
}

}  // namespace

void exec_log(char severity, std::string_view text) {
  std::tm local{};
  const std::time_t now = std::time(nullptr);
  localtime_r(&now, &local);
  std::FILE* const stream = severity == 'E' ? stderr : stdout;
  fmt::print(stream, "[{:%m/%d/%Y-%H:%M:%S}] [{}] {}\n", local, severity, text);
  std::fflush(stream);  // who reads a pipe or a log file sees how far it is
}

void print_options(const ExecOptions& o) {
  const auto say = [](const std::string& text) { exec_log('I', text); };
  const auto or_none = [](const std::string& text) { return text.empty() ? std::string("none") : text; };
  const auto sizes = [](const NamedShapes& shapes) {
    std::string text;
    for (const auto& [name, dims] : shapes) text += (text.empty() ? "" : ", ") + name + "=" + join(dims);
    return text;
  };
  say("=== Model Options ===");
  say(o.onnx.empty() ? "Format: *" : "Format: ONNX");
  say("Model: " + o.onnx);
  say("=== Build Options ===");
  std::string precision = "FP32";
  for (const auto& [asked, name] : {std::pair{o.fp16, "+FP16"}, {o.bf16, "+BF16"}, {o.int8, "+INT8"}})
    if (asked || o.best) precision += name;
  say("Precision: " + precision);
  for (const auto& [number, profile] : o.profiles) {
    say(fmt::format("Input build shape (profile {}): min {}; opt {}; max {}", number, or_none(sizes(profile.min)), or_none(sizes(profile.opt)), or_none(sizes(profile.max))));
  }
  say("Save engine: " + o.save_engine);
  say("Load engine: " + o.load_engine);
  say("Timing cache: " + or_none(o.timing_cache));
  say("=== Inference Options ===");
  say("Batch: Explicit");
  if (!o.shapes.empty()) say("Input inference shape: " + sizes(o.shapes));
  say(fmt::format("Iterations: {}", o.iterations));
  say(fmt::format("Duration: {:g}s (+ {:g}ms warm up)", o.duration_s, o.warm_up_ms));
  say(fmt::format("Sleep time: {:g}ms", o.sleep_ms));
  say(fmt::format("Idle time: {:g}ms", o.idle_ms));
  say(fmt::format("Inference Streams: {}", o.streams));
  say(fmt::format("Data transfers: {}", o.no_data_transfers ? "Disabled" : "Enabled"));
  say("Skip inference: " + std::string(o.skip_inference ? "Enabled" : "Disabled"));
  say("=== Reporting Options ===");
  say("Verbose: " + std::string(o.verbose ? "Enabled" : "Disabled"));
  say(fmt::format("Averages: {} inferences", o.avg_runs));
  say(fmt::format("Percentiles: {}", fmt::join(o.percentiles, ",")));
}

void print_times(const ExecTimes& times, const ExecOptions& options) {
  const std::vector<double> ms = milliseconds(times.timing.runs);
  exec_log('I', fmt::format("Warmup completed {} queries over {:.0f} ms", times.timing.warmup_runs, options.warm_up_ms));
  exec_log('I', fmt::format("Timing trace has {} queries over {:.6g} s", ms.size(), times.timing.walltime));
  exec_log('I', "");
  exec_log('I', "=== Trace details ===");
  exec_log('I', fmt::format("Trace averages of {} runs:", options.avg_runs));
  const auto window = static_cast<size_t>(options.avg_runs);
  for (size_t i = 0; i + window <= ms.size(); i += window) {
    const double latency = std::accumulate(ms.begin() + static_cast<std::ptrdiff_t>(i), ms.begin() + static_cast<std::ptrdiff_t>(i + window), 0.0) / options.avg_runs;
    exec_log('I', fmt::format("Average on {} runs - GPU latency: {:.6g} ms - Host latency: {:.6g} ms (enqueue {:.6g} ms)", window, latency, latency, latency));
  }
  const std::vector<double> none(ms.size(), 0.0);
  const double compute = std::accumulate(ms.begin(), ms.end(), 0.0) / 1e3;
  exec_log('I', "");
  exec_log('I', "=== Performance summary ===");
  exec_log('I', fmt::format("Throughput: {:.6g} qps", static_cast<double>(ms.size()) / times.timing.walltime));
  exec_log('I', statistics("Latency", ms, options.percentiles));
  exec_log('I', statistics("Enqueue Time", ms, options.percentiles));
  exec_log('I', statistics("H2D Latency", none, options.percentiles));
  exec_log('I', statistics("GPU Compute Time", ms, options.percentiles));
  exec_log('I', statistics("D2H Latency", none, options.percentiles));
  exec_log('I', fmt::format("Total Host Walltime: {:.6g} s", times.timing.walltime));
  exec_log('I', fmt::format("Total GPU Compute Time: {:.6g} s", compute));
  double squares = 0;
  const double average = mean(ms);
  for (const double v : ms) squares += (v - average) * (v - average);
  const double variation = std::sqrt(squares / static_cast<double>(ms.size())) / average;
  constexpr double kUnstable = 0.025;
  if (variation > kUnstable) exec_log('W', fmt::format("* GPU compute time is unstable, with coefficient of variance = {:.4g}%.", 100 * variation));
  if (options.streams > 1) exec_log('W', "* Latencies of several streams include waiting for each other; throughput is what they are for.");
  if (!options.verbose) return;
  exec_log('I', "");
  exec_log('I', "=== Explanations of the performance metrics ===");
  exec_log('I', "Throughput: queries divided by Total Host Walltime; a query is one whole batch.");
  exec_log('I', "Latency, Enqueue Time, GPU Compute Time: from the call that starts a query to its return, when its outputs are there.");
  exec_log('I', "H2D Latency, D2H Latency: 0, as copies are part of the compute time.");
}

void print_profile(const StepTimes& steps, const LayerNames& names, int runs) {
  exec_log('I', "");
  exec_log('I', fmt::format("=== Profile ({} iterations ) ===", runs));
  exec_log('I', fmt::format("{:>12} {:>12} {:>12} {:>8}   {}", "Time(ms)", "Avg.(ms)", "Median(ms)", "Time(%)", "Layer"));
  LayerTime all{"Total", 0, 0, 0, 0};
  const auto print = [](const LayerTime& l) {
    exec_log('I', fmt::format("{:>12.2f} {:>12.4f} {:>12.4f} {:>8.1f}   {}", l.total, l.average, l.median, l.percent, l.name));
  };
  for (const LayerTime& layer : layer_times(steps, names)) {
    print(layer);
    all.total += layer.total, all.average += layer.average, all.median += layer.median, all.percent += layer.percent;
  }
  print(all);
}

Status export_times(const std::string& path, const ExecTimes& times) {
  Json list = Json::array();
  for (const TimedRun& run : times.timing.runs) {
    const double begin = 1e3 * (run.begin - times.origin), end = 1e3 * (run.end - times.origin), ms = 1e3 * run.seconds();
    list.push_back({{"startEnqMs", begin}, {"endEnqMs", end}, {"startH2dMs", begin}, {"endH2dMs", begin}, {"startComputeMs", begin}, {"endComputeMs", end},
                    {"startD2hMs", end}, {"endD2hMs", end}, {"h2dMs", 0.0}, {"computeMs", ms}, {"d2hMs", 0.0}, {"latencyMs", ms}});
  }
  return write_file(path, list.dump(1) + "\n");
}

Status export_profile(const std::string& path, const StepTimes& steps, const LayerNames& names, int runs) {
  Json list = Json::array();
  list.push_back({{"count", runs}});
  for (const LayerTime& l : layer_times(steps, names)) {
    list.push_back({{"name", l.name}, {"timeMs", l.total}, {"averageMs", l.average}, {"medianMs", l.median}, {"percentage", l.percent}});
  }
  return write_file(path, list.dump(1) + "\n");
}

Status export_output(const std::string& path, const NamedTensors& outputs) {
  Json list = Json::array();
  for (const auto& [name, tensor] : outputs) list.push_back({{"name", name}, {"dimensions", join(tensor.shape())}, {"values", values_of(tensor)}});
  return write_file(path, list.dump(1) + "\n");
}

void dump_tensors(std::string_view kind, const NamedTensors& tensors) {
  exec_log('I', fmt::format("{} Tensors:", kind));
  for (const auto& [name, tensor] : tensors) {
    std::string values;
    for (const Json& v : values_of(tensor)) values += (values.empty() ? "" : " ") + v.dump();
    exec_log('I', fmt::format("{}: ({})", name, join(tensor.shape())));
    exec_log('I', values);
  }
}

Status dump_raw(std::string_view kind, const NamedTensors& tensors) {
  for (const auto& [name, tensor] : tensors) {
    std::string file = fmt::format("{}.{}.{}.{}.raw", name, kind, join(tensor.shape()), dtype_name(tensor.dtype()));
    std::replace(file.begin(), file.end(), '/', '_');
    TENON_TRY(write_file(file, {reinterpret_cast<const char*>(tensor.data()), static_cast<size_t>(tensor.numel()) * dtype_size(tensor.dtype())}));
  }
  return {};
}

}  // namespace tenon::tools
