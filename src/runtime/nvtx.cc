// How a profiler attaches itself (NVTX 3, nvtxDetail/nvtxTypes.h and nvtxInit.h): it has loaded a library that exports
// InitializeInjectionNvtx2, or names one in NVTX_INJECTION64_PATH. We call that function with one of ours, through which it
// asks for tables of pointers to our function pointers, by module, and sets those that it serves.
#include "runtime/nvtx.h"

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/env.h"
#include "base/log.h"

namespace tenon::runtime {
namespace {

using Function = void (*)();

// NvtxCallbackModule, and how many functions each has, with an unused first one.
enum Module : unsigned { kCore = 1, kModules = 7 };
constexpr unsigned kFunctions[kModules] = {0, 16, 9, 16, 7, 16, 7};
constexpr unsigned kMostFunctions = 16;
// NvtxCallbackIdCore
constexpr unsigned kRangePushA = 9, kRangePop = 11;

struct Tables {
  Function functions[kModules][kMostFunctions] = {};
  Function* pointers[kModules][kMostFunctions + 1] = {};

  Tables() {
    for (unsigned m = 0; m < kModules; ++m)
      for (unsigned f = 1; f < kFunctions[m]; ++f) pointers[m][f] = &functions[m][f];
  }
};
Tables& tables() {
  static Tables all;
  return all;
}

int get_module_functions(unsigned module, Function*** table, unsigned* size) {
  if (module == 0 || module >= kModules) return 0;
  if (table != nullptr) *table = tables().pointers[module];
  if (size != nullptr) *size = kFunctions[module];
  return 1;
}

// NvtxExportTableCallbacks and NvtxExportTableVersionInfo, with their ids.
struct Callbacks {
  size_t bytes = sizeof(Callbacks);
  int (*get)(unsigned, Function***, unsigned*) = get_module_functions;
};
struct Version {
  size_t bytes = sizeof(Version);
  uint32_t version = 3, reserved = 0;
  void (*set_tool_version)(uint32_t) = [](uint32_t) {};
};
const void* export_table(uint32_t id) {
  static const Callbacks callbacks;
  static const Version version;
  constexpr uint32_t kCallbacks = 1, kVersion = 3;
  return id == kCallbacks ? static_cast<const void*>(&callbacks) : id == kVersion ? &version : nullptr;
}

std::optional<Nvtx> attach() {
  constexpr const char* kEntry = "InitializeInjectionNvtx2";
  void* entry = dlsym(RTLD_DEFAULT, kEntry);
  if (const std::string path = env("NVTX_INJECTION64_PATH"); entry == nullptr && !path.empty()) {
    void* library = dlopen(path.c_str(), RTLD_LAZY);
    if (library != nullptr) entry = dlsym(library, kEntry);
    if (entry == nullptr) log(LogLevel::kWarn, "NVTX_INJECTION64_PATH: {} is no profiler's library", path);
  }
  if (entry == nullptr) return std::nullopt;
  const auto initialize = reinterpret_cast<int (*)(const void* (*)(uint32_t))>(entry);
  if (initialize(export_table) == 0) return std::nullopt;
  const Function push = tables().functions[kCore][kRangePushA], pop = tables().functions[kCore][kRangePop];
  if (push == nullptr || pop == nullptr) return std::nullopt;
  return Nvtx{reinterpret_cast<int (*)(const char*)>(push), reinterpret_cast<int (*)()>(pop)};
}

}  // namespace

const Nvtx* nvtx() {
  static const std::optional<Nvtx> attached = attach();
  return attached ? &*attached : nullptr;
}

}  // namespace tenon::runtime
