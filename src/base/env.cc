#include "base/env.h"

#include <cstdlib>
#include <cstring>

namespace tenon {
namespace {

constexpr EnvVariable kTable[] = {
    {"TENON_THREADS", "0", "Threads of a CPU engine; 0: as many as the process may use."},
    {"TENON_ISA", "best", "Instruction set of the CPU kernels: best, avx512, avx2 or scalar. For tests and bisecting."},
    {"TENON_NVRTC", "", "Path of libnvrtc.so, which builds engines for NVIDIA GPUs; empty: look in the usual places."},
    {"TENON_LOG", "warn", "Least level of messages on stderr: debug, info, warn, error or off."},
};

}  // namespace

std::span<const EnvVariable> env_table() { return kTable; }

std::string env(const char* name) {
  for (const EnvVariable& variable : kTable) {
    if (std::strcmp(variable.name, name) != 0) continue;
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0' ? value : variable.fallback;
  }
  return {};
}

}  // namespace tenon
