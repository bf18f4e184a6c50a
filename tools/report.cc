#include "tools/report.h"

#include <fmt/core.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <map>

namespace tenon::tools {
namespace {

Result<std::map<std::string, std::vector<int64_t>>> parse_shapes(const std::vector<std::string>& entries) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const std::string& entry : entries) {
    const size_t colon = entry.rfind(':');
    const auto bad = [&] { return error(ErrorCode::kInvalidArgument, "bad shape \"{}\": expected name:AxBxC", entry); };
    if (colon == std::string::npos || colon == 0) return bad();
    std::vector<int64_t> dims;
    for (size_t at = colon + 1; at <= entry.size();) {
      const size_t end = std::min(entry.find('x', at), entry.size());
      int64_t v = 0;
      const auto [stop, failed] = std::from_chars(entry.data() + at, entry.data() + end, v);
      if (failed != std::errc() || stop != entry.data() + end || v < 0) return bad();
      dims.push_back(v);
      at = end + 1;
    }
    shapes[entry.substr(0, colon)] = std::move(dims);
  }
  return shapes;
}

}  // namespace

Progress::Progress(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (open_) std::fputs("\r\033[K", stderr);
}

void Progress::show(std::string_view phase, double fraction) {
  if (quiet_) return;
  if (terminal_) {
    fmt::print(stderr, "\r\033[K{} {:3.0f} %", phase, 100 * fraction);
    std::fflush(stderr);
    open_ = true;
  } else if (phase != phase_) {
    fmt::print(stderr, "{} …\n", phase);
  }
  phase_ = phase;
}

Result<OptimizationProfile> parse_profile(const std::vector<std::string>& min, const std::vector<std::string>& opt, const std::vector<std::string>& max) {
  TENON_ASSIGN(auto least, parse_shapes(min));
  TENON_ASSIGN(auto usual, parse_shapes(opt));
  TENON_ASSIGN(auto most, parse_shapes(max));
  std::map<std::string, int> names;
  for (const auto* shapes : {&least, &usual, &most})
    for (const auto& [name, dims] : *shapes) ++names[name];
  OptimizationProfile profile;
  for (const auto& [name, count] : names) {
    const auto pick = [&, n = name](std::initializer_list<const decltype(least)*> order) {
      for (const auto* shapes : order)
        if (auto it = shapes->find(n); it != shapes->end()) return it->second;
      return std::vector<int64_t>();
    };
    try {
      profile.set_shape(name, pick({&least, &usual, &most}), pick({&usual, &most, &least}), pick({&most, &usual, &least}));
    } catch (const Error& e) {
      return Status(e.code(), e.what());
    }
  }
  return profile;
}

std::string human_bytes(uint64_t bytes) {
  const double b = static_cast<double>(bytes);
  if (b >= 1 << 30) return fmt::format("{:.2f} GiB", b / (1 << 30));
  if (b >= 1 << 20) return fmt::format("{:.1f} MiB", b / (1 << 20));
  if (b >= 1 << 10) return fmt::format("{:.1f} KiB", b / (1 << 10));
  return fmt::format("{} B", bytes);
}

std::string human_count(double count) {
  for (const auto& [unit, name] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}})
    if (count >= unit) return fmt::format("{:.2f} {}", count / unit, name);
  return fmt::format("{:.0f} ", count);
}

std::string join(const std::vector<int64_t>& shape) {
  std::string text;
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? "x" : "") + std::to_string(shape[i]);
  return text.empty() ? "scalar" : text;
}

int plan_for(const engine::EngineFile& file, const std::string& target) {
  if (target.empty()) return 0;
  const auto found = std::ranges::find(file.plans(), target, &engine::Plan::target);
  if (found == file.plans().end()) throw Error(ErrorCode::kInvalidArgument, file.name() + ": not built for " + target);
  return static_cast<int>(found - file.plans().begin());
}

double seconds_now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

uint64_t peak_resident_bytes() {
  // VmHWM and not getrusage: the latter carries the parent's peak over into a process that it started.
  uint64_t kilobytes = 0;
  if (std::FILE* file = std::fopen("/proc/self/status", "r")) {
    char line[256];
    while (std::fgets(line, sizeof line, file) != nullptr)
      if (std::sscanf(line, "VmHWM: %lu kB", &kilobytes) == 1) break;
    std::fclose(file);
  }
  return kilobytes * 1024;
}

}  // namespace tenon::tools
