// Every environment variable that Tenon reads. docs/env.md is generated from this table; getenv elsewhere is a defect.
#pragma once

#include <span>
#include <string>

namespace tenon {

struct EnvVariable {
  const char* name;
  const char* fallback;  // value when unset
  const char* help;
};

std::span<const EnvVariable> env_table();

// The value of a variable of the table, or its fallback.
std::string env(const char* name);

}  // namespace tenon
