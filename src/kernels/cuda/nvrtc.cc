#include "kernels/cuda/nvrtc.h"

#include <cstdlib>
#include <map>
#include <mutex>
#include <set>

#include "base/dynamic_library.h"
#include "base/hash.h"
#include "kernels/cuda/device_sources.h"

namespace tenon::cuda {
namespace {

struct ProgramState;  // _nvrtcProgram
using Program = ProgramState*;

// The NVRTC API (CUDA Toolkit documentation, "NVRTC"), as much as is used.
#define TENON_NVRTC_FUNCTIONS(F)                                                                    \
  F(nvrtcVersion, (int*, int*))                                                                     \
  F(nvrtcCreateProgram, (Program*, const char*, const char*, int, const char* const*, const char* const*)) \
  F(nvrtcCompileProgram, (Program, int, const char* const*))                                        \
  F(nvrtcGetProgramLogSize, (Program, size_t*))                                                     \
  F(nvrtcGetProgramLog, (Program, char*))                                                           \
  F(nvrtcGetCUBINSize, (Program, size_t*))                                                          \
  F(nvrtcGetCUBIN, (Program, char*))                                                                \
  F(nvrtcGetPTXSize, (Program, size_t*))                                                            \
  F(nvrtcGetPTX, (Program, char*))                                                                  \
  F(nvrtcDestroyProgram, (Program*))

struct Nvrtc {
#define TENON_NVRTC_MEMBER(name, parameters) int(*name) parameters = nullptr;
  TENON_NVRTC_FUNCTIONS(TENON_NVRTC_MEMBER)
#undef TENON_NVRTC_MEMBER
};

Result<Nvrtc> load() {
  DynamicLibrary library("TENON_NVRTC", {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", "/usr/local/cuda/lib64/libnvrtc.so.13",
                                         "/usr/local/cuda/lib64/libnvrtc.so.12", "/usr/local/cuda/lib64/libnvrtc.so"});
  if (!library) {
    const std::string name = library.given().empty() ? "libnvrtc.so of CUDA 12.4 or newer" : library.given();
    return error(ErrorCode::kNoDevice, "building for an NVIDIA GPU needs NVRTC: {} cannot be opened; set TENON_NVRTC to its path", name);
  }
  Nvrtc api;
#define TENON_NVRTC_FIND(name, parameters) library.find(#name, api.name);
  TENON_NVRTC_FUNCTIONS(TENON_NVRTC_FIND)
#undef TENON_NVRTC_FIND
  if (!library.missing().empty()) return error(ErrorCode::kNoDevice, "this NVRTC is too old: CUDA 12.4 or newer is needed");
  return api;
}

const Result<Nvrtc>& nvrtc() {
  static const Result<Nvrtc> loaded = load();
  return loaded;
}

std::vector<std::string> options_for(const kernels::DeviceSource& source, const std::string& arch) {
  std::vector<std::string> options = {"-arch=" + arch, "-std=c++17", "-default-device"};
  if (nvrtc_version() >= 13000) options.push_back("--no-cache");  // what its own cache holds comes without the log
  if (!arch.starts_with("compute_")) options.insert(options.end(), {"-lineinfo", "--ptxas-options=-v"});
  for (const std::string& d : source.defines) options.push_back("-D" + d);
  return options;
}

// Appends a file and what it includes, each once.
void append_with_includes(const std::string& name, std::set<std::string>& seen, std::string& out) {
  const char* text = device_source(name);
  if (text == nullptr || !seen.insert(name).second) return;
  const std::string_view content = text;
  out += name + "\n" + text;
  constexpr std::string_view kInclude = "#include \"";
  for (size_t at = content.find(kInclude); at != content.npos; at = content.find(kInclude, at + 1)) {
    const size_t begin = at + kInclude.size(), end = content.find('"', begin);
    if (end != content.npos) append_with_includes(std::string(content.substr(begin, end - begin)), seen, out);
  }
}

// Of a file with its includes; they are constant, so each is read once.
std::string source_name(const std::string& file) {
  static std::mutex mutex;
  static std::map<std::string, std::string> known;
  const std::lock_guard lock(mutex);
  std::string& name = known[file];
  if (name.empty()) {
    std::set<std::string> seen;
    std::string text;
    append_with_includes(file, seen, text);
    name = content_name(text);
  }
  return name;
}

}  // namespace

std::string code_name(const kernels::DeviceSource& source, const std::string& arch) {
  if (device_source(source.file) == nullptr) return "";
  std::string text = fmt::format("{} {} {}", nvrtc_version(), source_name(source.file), source.entry);
  for (const std::string& option : options_for(source, arch)) text += " " + option;
  return content_name(text);
}

int nvrtc_version() {
  int major = 0, minor = 0;
  if (nvrtc().ok()) nvrtc()->nvrtcVersion(&major, &minor);
  return 1000 * major + 10 * minor;
}

const char* device_source(std::string_view name) {
  for (const auto& [file, text] : kDeviceSources)
    if (file == name) return text;
  return nullptr;
}

Result<Compiled> compile(const kernels::DeviceSource& source, const std::string& arch) {
  if (!nvrtc().ok()) return nvrtc().status();
  const Nvrtc& api = *nvrtc();
  const char* text = device_source(source.file);
  if (text == nullptr) return error(ErrorCode::kInternal, "no device source {}", source.file);
  std::vector<const char*> names, texts;
  for (const auto& [file, content] : kDeviceSources) {
    if (!file.ends_with(".cuh")) continue;
    names.push_back(file.data());
    texts.push_back(content);
  }
  const std::vector<std::string> options = options_for(source, arch);
  std::vector<const char*> flags;
  for (const std::string& o : options) flags.push_back(o.c_str());

  Program program = nullptr;
  if (api.nvrtcCreateProgram(&program, text, source.file.c_str(), static_cast<int>(names.size()), texts.data(), names.data()) != 0) {
    return error(ErrorCode::kInternal, "NVRTC refuses {}", source.text());
  }
  const int failed = api.nvrtcCompileProgram(program, static_cast<int>(flags.size()), flags.data());
  Compiled out;
  size_t size = 0;
  api.nvrtcGetProgramLogSize(program, &size);
  out.log.resize(size);
  if (size > 0) api.nvrtcGetProgramLog(program, out.log.data());
  while (!out.log.empty() && out.log.back() == '\0') out.log.pop_back();
  const auto [get_size, get] = arch.starts_with("compute_") ? std::pair(api.nvrtcGetPTXSize, api.nvrtcGetPTX)
                                                            : std::pair(api.nvrtcGetCUBINSize, api.nvrtcGetCUBIN);
  if (failed == 0 && get_size(program, &size) == 0) {
    out.code.resize(size);
    get(program, out.code.data());
    while (get == api.nvrtcGetPTX && out.code.ends_with('\0')) out.code.pop_back();
  }
  api.nvrtcDestroyProgram(&program);
  if (failed != 0 || out.code.empty()) return error(ErrorCode::kInternal, "compiling {} for {} failed:\n{}", source.text(), arch, out.log);
  return out;
}

}  // namespace tenon::cuda
