#include "plan/kernel_cache.h"

#include <algorithm>
#include <filesystem>

#include "base/env.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/write_file.h"
#include "kernels/cuda/nvrtc.h"

namespace tenon::plan {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNameLength = 32;  // of content_name, which stands before the code in a file

}  // namespace

std::string cache_folder() {
  if (env("TENON_CACHE") == "0") return "";
  if (const std::string given = env("TENON_CACHE_DIR"); !given.empty()) return given;
  if (const std::string caches = env("XDG_CACHE_HOME"); !caches.empty()) return caches + "/tenon";
  const std::string home = env("HOME");
  return home.empty() ? "" : home + "/.cache/tenon";
}

KernelCache::KernelCache(std::string folder) : folder_(std::move(folder)) {
  if (folder_.empty()) return;
  std::error_code failed;
  fs::create_directories(folder_, failed);
  if (!failed) return;
  log(LogLevel::kInfo, "{}: {}; compiled kernels are not kept", folder_, failed.message());
  folder_.clear();
}

Result<std::string> KernelCache::load(const std::string& name) const {
  TENON_ASSIGN(std::string file, read_file(path_of(name)));
  const std::string_view code = std::string_view(file).substr(std::min(kNameLength, file.size()));
  if (code.empty() || file.substr(0, kNameLength) != content_name(code)) {
    return error(ErrorCode::kIo, "{} is damaged", path_of(name));
  }
  return file.substr(kNameLength);
}

void KernelCache::store(const std::string& name, const std::string& cubin) const {
  if (folder_.empty()) return;
  if (const Status s = write_file(path_of(name), content_name(cubin) + cubin); !s.ok())
    log(LogLevel::kInfo, "{}", s.message());
}

Result<std::string> KernelCache::get(const CodeRequest& request) {
  const std::string name = cuda::code_name(request.source, request.arch);
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = codes_.find(name); it != codes_.end()) return it->second;
  }
  Result<std::string> code = folder_.empty() ? Status(ErrorCode::kNotFound, "no folder") : load(name);
  if (code.ok()) {
    ++reused_;
  } else if (Result<cuda::Compiled> compiled = cuda::compile(request.source, request.arch); compiled.ok()) {
    code = std::move(compiled->code);
    store(name, *code);
    ++compiled_;
  } else {
    code = compiled.status();
  }
  const std::lock_guard lock(mutex_);
  return codes_.insert_or_assign(name, std::move(code)).first->second;
}

Status KernelCache::prepare(std::span<const CodeRequest> requests, const std::function<void(double)>& progress) {
  if (requests.empty()) return {};
  std::mutex mutex;
  Status failed;
  size_t done = 0;
  std::atomic<size_t> next = 0;
  ThreadPool pool(0);
  // Kernels take unequally long to compile: each thread takes the next one when it is free.
  pool.parallel_for(pool.threads(), [&](int64_t, int64_t, int) {
    for (size_t i = next++; i < requests.size(); i = next++) {
      const auto code = get(requests[i]);
      const std::lock_guard lock(mutex);
      if (!code.ok() && failed.ok()) failed = code.status();
      if (progress) progress(static_cast<double>(++done) / static_cast<double>(requests.size()));
    }
  });
  return failed;
}

}  // namespace tenon::plan
