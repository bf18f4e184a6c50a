#include "base/log.h"

#include <cstdio>

#include "base/env.h"

namespace tenon {
namespace {

LogLevel threshold() {
  static const LogLevel level = [] {
    const std::string text = env("TENON_LOG");
    if (text == "debug") return LogLevel::kDebug;
    if (text == "info") return LogLevel::kInfo;
    if (text == "error") return LogLevel::kError;
    if (text == "off") return LogLevel::kOff;
    return LogLevel::kWarn;
  }();
  return level;
}

}  // namespace

bool log_enabled(LogLevel level) { return level >= threshold(); }

void log_line(LogLevel level, std::string_view message) {
  static constexpr std::string_view kNames[] = {"debug", "info", "warning", "error", ""};
  fmt::print(stderr, "tenon: {}: {}\n", kNames[static_cast<int>(level)], message);
}

}  // namespace tenon
