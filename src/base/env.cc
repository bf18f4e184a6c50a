#include "base/env.h"

#include <cstdlib>
#include <cstring>

namespace tenon {
namespace {

constexpr EnvVariable kTable[] = {
    {"TENON_THREADS", "0", "Threads of a CPU engine; 0: as many as the process may use."},
    {"TENON_ISA", "best",
     "Instruction set of the CPU kernels: best, amx, avx512_bf16, avx512_vnni, avx512, avx_vnni, avx2 or scalar. For tests "
     "and bisecting, and for builds with --int8 on another machine: what lacks VNNI has its own form of int8."},
    {"TENON_NVRTC", "", "Path of libnvrtc.so, which builds engines for NVIDIA GPUs; empty: look in the usual places."},
    {"TENON_CUBLASLT", "", "Path of libcublasLt.so, for builds with --tactics cublaslt and their engines; empty: look in the usual places."},
    {"TENON_CUDNN", "", "The same of libcudnn.so.9, for --tactics cudnn."},
    {"TENON_CACHE", "1", "0: builds keep no compiled GPU kernels and no timings on disk."},
    {"TENON_CACHE_DIR", "", "Folder for compiled GPU kernels and timings; empty: tenon in $XDG_CACHE_HOME or ~/.cache."},
    {"XDG_CACHE_HOME", "", "Folder of caches by the XDG convention; empty: ~/.cache."},
    {"HOME", "", "The user's folder."},
    {"TENON_NVTX", "steps",
     "What a profiler is shown (Nsight): steps, each with its name, which are then launched one by one; graphs, launched as "
     "without a profiler; off."},
    {"NVTX_INJECTION64_PATH", "", "Library of a profiler, which sets this itself."},
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
