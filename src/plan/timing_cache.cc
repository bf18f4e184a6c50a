#include "plan/timing_cache.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "base/write_file.h"
#include "plan/tuned/tables.h"

namespace tenon::plan {
namespace {

using Json = nlohmann::json;

constexpr size_t kLongestLine = 1 << 20;
constexpr size_t kMostTimings = 1024;

// A finite number that is not negative.
std::optional<double> amount(const Json& value) {
  if (!value.is_number()) return std::nullopt;
  const double v = value.get<double>();
  return std::isfinite(v) && v >= 0 ? std::optional(v) : std::nullopt;
}

std::optional<int64_t> integer(const Json& line, const char* name, int64_t most) {
  const auto it = line.find(name);
  if (it == line.end() || !it->is_number_integer()) return std::nullopt;
  const auto v = it->get<int64_t>();
  return v >= 0 && v <= most ? std::optional(v) : std::nullopt;
}

bool read_text(const Json& line, const char* name, std::string& out) {
  const auto it = line.find(name);
  if (it == line.end() || !it->is_string()) return false;
  out = it->get<std::string>();
  return true;
}

std::optional<Timing> read_timing(const Json& item) {
  if (!item.is_array() || item.size() != 3 || !item[0].is_string()) return std::nullopt;
  const auto us = amount(item[1]), spread = amount(item[2]);
  if (!us || !spread) return std::nullopt;
  return make_timing(item[0].get<std::string>(), *us, *spread);
}

std::optional<std::pair<TimingKey, TimingEntry>> read_line(std::string_view text) {
  if (text.size() > kLongestLine) return std::nullopt;
  const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!line.is_object()) return std::nullopt;
  constexpr int64_t kMostVersion = 1 << 20, kMostRows = int64_t{1} << 40;
  TimingKey key;
  TimingEntry entry;
  const auto version = integer(line, "version", kMostVersion), rows = integer(line, "rows", kMostRows);
  const bool complete = read_text(line, "kernel", key.kernel) && read_text(line, "device", key.device) &&
                        read_text(line, "problem", key.problem) && read_text(line, "config", entry.config);
  if (!complete || !version || !rows) return std::nullopt;
  key.version = static_cast<int>(*version);
  key.rows = *rows;
  read_text(line, "code", entry.code);
  entry.driver = static_cast<int>(integer(line, "driver", kMostVersion).value_or(0));
  if (const auto timings = line.find("timings"); timings != line.end()) {
    if (!timings->is_array() || timings->size() > kMostTimings) return std::nullopt;
    for (const Json& item : *timings) {
      const auto timing = read_timing(item);
      if (!timing) return std::nullopt;
      entry.timings.push_back(*timing);
    }
  }
  return std::pair(std::move(key), std::move(entry));
}

}  // namespace

Timing make_timing(std::string config, double us, double spread) {
  const auto rounded = [](double v) { return std::round(v * 1e3) / 1e3; };
  return {std::move(config), rounded(us), rounded(spread)};
}

const Timing* TimingEntry::find(std::string_view config_text) const {
  const auto it =
      std::find_if(timings.begin(), timings.end(), [&](const Timing& t) { return t.config == config_text; });
  return it == timings.end() ? nullptr : &*it;
}

TimingCache TimingCache::parse(std::string_view text, int* skipped) {
  TimingCache cache;
  int bad = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    if (auto read = read_line(line)) {
      cache.put(read->first, std::move(read->second));
    } else {
      ++bad;
    }
  }
  if (skipped != nullptr) *skipped = bad;
  return cache;
}

Result<TimingCache> TimingCache::load(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return TimingCache();
  TENON_ASSIGN(const std::string text, read_file(path));
  int skipped = 0;
  TimingCache cache = parse(text, &skipped);
  if (skipped > 0) log(LogLevel::kWarn, "{}: {} lines are no timings and were skipped", path, skipped);
  return cache;
}

std::string TimingCache::text() const {
  std::string out;
  for (const auto& [key, entry] : entries_) {
    nlohmann::ordered_json line = {{"kernel", key.kernel},   {"version", key.version}, {"device", key.device},
                                   {"problem", key.problem}, {"rows", key.rows},       {"config", entry.config}};
    if (!entry.code.empty()) line["code"] = entry.code;
    if (entry.driver != 0) line["driver"] = entry.driver;
    if (!entry.timings.empty()) line["timings"] = nlohmann::ordered_json::array();
    for (const Timing& t : entry.timings) line["timings"].push_back({t.config, t.us, t.spread});
    out += line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  return out;
}

Status TimingCache::save(const std::string& path) const { return write_file(path, text()); }

void TimingCache::merge(const TimingCache& other) {
  for (const auto& [key, entry] : other.entries_) put(key, entry);
}

const TimingEntry* TimingCache::find(const TimingKey& key) const {
  const auto it = entries_.find(key);
  return it == entries_.end() ? nullptr : &it->second;
}

const TimingCache& shipped_timings() {
  static const TimingCache tables = [] {
    TimingCache all;
    for (const auto& [name, text] : kTunedTables) all.merge(TimingCache::parse(text));
    return all;
  }();
  return tables;
}

}  // namespace tenon::plan
