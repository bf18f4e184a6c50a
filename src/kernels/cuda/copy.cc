// Copies between host and device memory, as steps of the plan. The side in host memory is page-locked. What a caller
// gives on the device is copied there, or is its own copy.
#include "kernels/cuda/device/grid_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

namespace tenon::kernels::cuda {
namespace {

// Up to here one kernel copies all tensors of a step (copy.cu); above, the copy engine is faster at each.
constexpr int64_t kMostKernelBytes = 1 << 20;

class CopyLauncher final : public Launcher {
 public:
  CopyLauncher(const Device& device, Function function, bool to_device)
      : device_(device), function_(function), to_device_(to_device) {}

  // The device's side may have room for more than holds data; the host's has as much behind what it shows.
  Status launch(const RunArgs& args) const override {
    CopyAcrossArgs copies;
    unsigned count = 0;
    int64_t all = 0, most = 0;
    for (size_t i = 0; i < args.outputs.size(); ++i) {
      const TensorArg& device = to_device_ ? args.outputs[i] : args.inputs[i];
      const auto bytes = device.numel() * static_cast<int64_t>(dtype_size(device.dtype));
      if (bytes == 0 || args.inputs[i].data == args.outputs[i].data) continue;
      copies.parts[count++] = {args.inputs[i].data, args.outputs[i].data, bytes};
      all += bytes;
      most = std::max(most, bytes);
    }
    if (count == 0) return {};
    if (all > kMostKernelBytes) return copy_each(copies, count, static_cast<Stream>(args.stream));
    constexpr unsigned kThreads = 128;
    const auto blocks = static_cast<unsigned>(blocks_for(most, kThreads * 16));
    const Launch launch = {.grid = {std::min(blocks, 16u), count, 1}, .block = {kThreads, 1, 1}};
    return launch_with(device_, function_, args, launch, copies);
  }

 private:
  Status copy_each(const CopyAcrossArgs& copies, unsigned count, Stream stream) const {
    const auto& api = device_.api();
    for (unsigned i = 0; i < count; ++i) {
      const auto& [x, y, bytes] = copies.parts[i];
      const int result = api.cuMemcpyAsync(reinterpret_cast<DevicePtr>(y), reinterpret_cast<DevicePtr>(x), static_cast<size_t>(bytes), stream);
      TENON_TRY(tenon::cuda::check(result, to_device_ ? "uploading" : "downloading"));
    }
    return {};
  }

  const Device& device_;
  Function function_;
  const bool to_device_;
};

class CopyKernel final : public CudaKernel {
 public:
  explicit CopyKernel(bool to_device) : to_device_(to_device) {}

  std::string_view id() const override { return to_device_ ? "cuda.upload" : "cuda.download"; }
  int version() const override { return 2; }
  Support supports(const Problem& p) const override {
    if (p.op != Op::k_copy) return Support::no("not a copy");
    return p.inputs.size() <= kMostCopies ? Support::yes() : Support::no("too many tensors at once");
  }
  std::optional<DeviceSource> code(const Problem&, const Config&, int) const override {
    return DeviceSource{"copy.cu", "copy_across", {}};
  }
  Result<std::unique_ptr<Launcher>> load(const Problem&, const Config&, const Device& device, Function function) const override {
    return std::unique_ptr<Launcher>(std::make_unique<CopyLauncher>(device, function, to_device_));
  }

 private:
  const bool to_device_;
};

}  // namespace

static_assert(kMostCopies == CopyAcrossArgs::kMostParts);

const Kernel& upload_kernel() {
  static const CopyKernel kernel(true);
  return kernel;
}

const Kernel& download_kernel() {
  static const CopyKernel kernel(false);
  return kernel;
}

}  // namespace tenon::kernels::cuda
