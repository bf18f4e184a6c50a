// Messages for people, on stderr; the least level comes from TENON_LOG.
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace tenon {

enum class LogLevel { kDebug, kInfo, kWarn, kError, kOff };

bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view message);

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) log_line(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tenon
