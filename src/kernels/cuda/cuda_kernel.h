// What the CUDA kernels share. Their code is one .cu file each, compiled by NVRTC with macros for the shapes at hand.
#pragma once

#include <optional>

#include "kernels/cuda/driver.h"
#include "kernels/kernel.h"

namespace tenon::kernels {

class CudaKernel : public Kernel {
 public:
  const CudaKernel* as_cuda() const final { return this; }
  // What a config needs compiled; nothing for copies. `capability`: 90 for sm_90. The code must run on that GPU.
  virtual std::optional<DeviceSource> code(const Problem&, const Config&, int capability) const = 0;
  // A launcher on `device`; `function` is the entry of `code`, loaded. Its launch enqueues on RunArgs::stream and does not wait.
  // Sizes of the arguments may be larger than what holds data: rows behind the last are computed and never read, so a kernel
  // must neither fault on, nor let other rows depend on, what it finds there.
  virtual Result<std::unique_ptr<Launcher>> load(const Problem&, const Config&, const tenon::cuda::Device& device,
                                                 tenon::cuda::Function function) const = 0;
  // False where the code needs instructions that this generation of GPUs lacks.
  virtual bool runs_on(int capability) const { return capability >= 80; }
  // "sm_90a" where the code needs instructions of one generation only, else the plain target.
  virtual std::string arch(const Config&, int capability) const { return fmt::format("sm_{}", capability); }

  // How it packs weights (Kernel::prepack): kernels that give the same bytes for the same type of weight, whichever GPU they
  // are for, have one name for it.
  virtual std::string_view packing(const Problem&) const { return id(); }

  Result<std::unique_ptr<Launcher>> prepare(const Problem&, const Config&) const final {
    return error(ErrorCode::kInternal, "{} is prepared without a device", id());
  }
};

}  // namespace tenon::kernels

namespace tenon::kernels::cuda {

using ops::TensorArg;
using tenon::cuda::Device;
using tenon::cuda::DevicePtr;
using tenon::cuda::Function;
using tenon::cuda::Stream;

inline DevicePtr device_ptr(const TensorArg& a) { return reinterpret_cast<DevicePtr>(a.data); }

// A grid of blocks on a stream. `programmatic`: the kernel may start before the one ahead of it in the stream is done; it
// calls griddepcontrol.wait before it reads what that one wrote (programmatic dependent launch).
struct Launch {
  unsigned grid[3] = {1, 1, 1}, block[3] = {1, 1, 1};
  unsigned shared_bytes = 0;
  unsigned cluster = 1;  // blocks along x
  bool programmatic = true;
};
// Before the first launch of blocks with more than 48 KB. Errors: internal.
Status allow_shared_memory(const Device& device, Function function, int bytes);
Status launch_kernel(const Device& device, Function function, void* stream, const Launch& launch, void** parameters);

}  // namespace tenon::kernels::cuda
