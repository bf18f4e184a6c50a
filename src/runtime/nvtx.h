// Named ranges that profilers show (Nsight Systems, Nsight Compute), through NVTX 3 by our own declarations: nothing is
// linked, and without a profiler nothing is opened.
#pragma once

namespace tenon::runtime {

struct Nvtx {
  int (*push)(const char* name) = nullptr;  // of this thread; gives the depth
  int (*pop)() = nullptr;
};

// Null: no profiler has attached itself to this process.
const Nvtx* nvtx();

class NvtxRange {
 public:
  // Null: no range. `name` is read before this returns.
  explicit NvtxRange(const char* name) : nvtx_(name != nullptr ? nvtx() : nullptr) {
    if (nvtx_ != nullptr) nvtx_->push(name);
  }
  ~NvtxRange() {
    if (nvtx_ != nullptr) nvtx_->pop();
  }
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;

 private:
  const Nvtx* nvtx_;
};

}  // namespace tenon::runtime
