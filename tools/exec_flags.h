// The flags of trtexec, of TensorRT 8.6, 10 and 11, and what `tenon exec` makes of each: THE table.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tenon::tools {

enum class FlagUse {
  kUsed,     // has its meaning here
  kIgnored,  // has none: a notice says so
  kRefused,  // going on without it would do something else than was asked
};

struct ExecFlag {
  const char* name;
  const char* value;     // what its value is; null: it takes none
  const char* versions;  // of TensorRT that have it: "8 10 11"
  FlagUse use;
  const char* help;      // kUsed: what it does; else why it does nothing here
};

std::span<const ExecFlag> exec_flags();

struct GivenFlag {
  std::string_view name;  // as the table spells it
  std::string value;
};

struct GivenFlags {
  std::vector<GivenFlag> list;       // of those that are used, in their order
  std::vector<std::string> notices;  // about those that are not
};

// One dash or two, letters of any case, "--flag=value" or "--flag value". Errors: invalid-argument (an unknown flag, with the
// one that is spelled most alike; a missing value, or one that the flag does not take; flags that are refused).
Result<GivenFlags> parse_exec_flags(std::span<const std::string> arguments);

// The table as text, for --help.
std::string exec_help();

}  // namespace tenon::tools
