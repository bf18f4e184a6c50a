// Machine code that was compiled before: a build compiles a kernel once per machine, not once per model.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>

#include "kernels/kernel.h"

namespace tenon::plan {

// Where caches lie: $TENON_CACHE_DIR, else tenon in the user's cache folder; empty when TENON_CACHE=0 or nobody is at
// home.
std::string cache_folder();

struct CodeRequest {
  kernels::DeviceSource source;
  std::string arch;  // "sm_90a", or "compute_80" for PTX
};

// Files are named by their contents (cuda::code_name), so nothing in the folder is ever stale; it may be deleted any
// time. Safe to share between threads and processes.
class KernelCache {
 public:
  // An empty folder keeps the code for the life of the object only.
  explicit KernelCache(std::string folder = cache_folder());

  // The cubin or PTX. A file that is damaged is compiled again; a folder that cannot be written is no error.
  // Errors: no-device (no NVRTC), internal with the compiler's log.
  Result<std::string> get(const CodeRequest& request);

  // Fills the cache with several, by all threads. `progress` is told how much is done, from 0 to 1. Errors: the first
  // of get, which gives it again for that request; the others are compiled nevertheless.
  Status prepare(std::span<const CodeRequest> requests, const std::function<void(double)>& progress = {});

  int compiled() const { return compiled_; }
  int reused() const { return reused_; }  // read from the folder

 private:
  std::string path_of(const std::string& name) const { return folder_ + "/" + name + ".cubin"; }
  Result<std::string> load(const std::string& name) const;
  void store(const std::string& name, const std::string& cubin) const;

  std::string folder_;
  std::mutex mutex_;
  std::map<std::string, Result<std::string>> codes_;  // by name
  std::atomic<int> compiled_ = 0, reused_ = 0;
};

}  // namespace tenon::plan
