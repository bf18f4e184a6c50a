// Copies between host and device memory, as steps of the plan. The side in host memory is page-locked.
#include "kernels/cuda/kernels.h"

namespace tenon::kernels::cuda {
namespace {

class CopyKernel final : public CudaKernel {
 public:
  explicit CopyKernel(bool to_device) : to_device_(to_device) {}

  std::string_view id() const override { return to_device_ ? "cuda.upload" : "cuda.download"; }
  Support supports(const Problem& p) const override { return p.op == Op::k_copy ? Support::yes() : Support::no("not a copy"); }
  std::optional<DeviceSource> code(const Problem&, const Config&, int) const override { return std::nullopt; }
  Result<std::unique_ptr<Launcher>> load(const Problem&, const Config&, const Device& device, Function) const override {
    return std::unique_ptr<Launcher>(new CopyLauncher(device, to_device_));
  }

 private:
  class CopyLauncher final : public Launcher {
   public:
    CopyLauncher(const Device& device, bool to_device) : device_(device), to_device_(to_device) {}
    // The device's side may have room for more than holds data; the host's has as much behind what it shows.
    Status launch(const RunArgs& args) const override {
      const TensorArg x = args.input(0), y = args.output();
      const TensorArg& device = to_device_ ? y : x;
      const size_t bytes = static_cast<size_t>(device.numel()) * dtype_size(device.dtype);
      if (bytes == 0) return {};
      const auto stream = static_cast<Stream>(args.stream);
      if (to_device_) return tenon::cuda::check(device_.api().cuMemcpyHtoDAsync(device_ptr(y), x.data, bytes, stream), "uploading");
      return tenon::cuda::check(device_.api().cuMemcpyDtoHAsync(y.data, device_ptr(x), bytes, stream), "downloading");
    }

   private:
    const Device& device_;
    const bool to_device_;
  };

  const bool to_device_;
};

}  // namespace

const Kernel& upload_kernel() {
  static const CopyKernel kernel(true);
  return kernel;
}

const Kernel& download_kernel() {
  static const CopyKernel kernel(false);
  return kernel;
}

}  // namespace tenon::kernels::cuda
