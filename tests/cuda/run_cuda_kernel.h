// Running one CUDA kernel on one op beside the op's reference: compiled by NVRTC, on GPU 0. Without a GPU such a test is
// skipped, after its code has been compiled for the targets it declares.
#pragma once

#include <map>
#include <random>

#include "kernels/cuda/kernels.h"
#include "kernels/cuda/nvrtc.h"
#include "tests/kernels/run_kernel.h"

namespace tenon::test {

inline const cuda::Device* gpu() {
  static const auto device = cuda::Device::open();
  return device.ok() ? *device : nullptr;
}

// Memory of the GPU that ends with the test.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t bytes, int fill = 0xff) : bytes_(bytes) {
    EXPECT_TRUE(cuda::check(gpu()->api().cuMemAlloc(&data_, bytes + kGuard), "allocating").ok());
    EXPECT_TRUE(cuda::check(gpu()->api().cuMemsetD8Async(data_, static_cast<unsigned char>(fill), bytes + kGuard, nullptr), "filling").ok());
  }
  ~DeviceBuffer() { gpu()->api().cuMemFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  void upload(const void* from) { EXPECT_TRUE(cuda::check(gpu()->api().cuMemcpyHtoDAsync(data_, from, bytes_, nullptr), "uploading").ok()); }
  void download(void* to) const { EXPECT_TRUE(cuda::check(gpu()->api().cuMemcpyDtoHAsync(to, data_, bytes_, nullptr), "downloading").ok()); }
  void* data() const { return reinterpret_cast<void*>(data_); }

 private:
  static constexpr size_t kGuard = 256;
  cuda::DevicePtr data_ = 0;
  size_t bytes_;
};

// Compiles what `config` needs for GPUs of this capability, once per process. Nothing when the kernel has no code of its own.
inline Result<cuda::Compiled> compile_kernel(const kernels::CudaKernel& kernel, const Problem& problem, const kernels::Config& config,
                                             int capability) {
  static std::map<std::string, cuda::Compiled> compiled;
  const auto source = kernel.code(problem, config, capability);
  if (!source) return cuda::Compiled{};
  const std::string arch = kernel.arch(config, capability), key = arch + " " + source->text();
  if (!compiled.contains(key)) {
    TENON_ASSIGN(compiled[key], cuda::compile(*source, arch));
  }
  return compiled[key];
}

// All outputs of one config on GPU 0. `packed`: bytes of inputs that the kernel reads in another layout than the tensor's.
inline Result<std::vector<Tensor>> run_cuda_kernel(const kernels::CudaKernel& kernel, const Problem& problem, const std::vector<Given>& given,
                                                   const std::map<size_t, Tensor>& packed, const kernels::Config& config) {
  const cuda::Device& device = *gpu();
  TENON_TRY(device.use());
  TENON_ASSIGN(const cuda::Compiled compiled, compile_kernel(kernel, problem, config, device.compute_capability()));
  cuda::Module module = nullptr;
  cuda::Function function = nullptr;
  if (const auto source = kernel.code(problem, config, device.compute_capability())) {
    TENON_TRY(cuda::check(device.api().cuModuleLoadData(&module, compiled.code.data()), "loading a kernel"));
    TENON_TRY(cuda::check(device.api().cuModuleGetFunction(&function, module, source->entry.c_str()), "finding a kernel"));
  }
  std::vector<std::unique_ptr<DeviceBuffer>> buffers;
  std::vector<std::vector<int64_t>> shapes;
  shapes.reserve(given.size() + problem.outputs.size());
  std::vector<ops::TensorArg> inputs, outputs;
  for (size_t i = 0; i < given.size(); ++i) {
    shapes.push_back(given[i] ? given[i]->shape() : std::vector<int64_t>{});
    if (!given[i]) {
      inputs.push_back({});
      continue;
    }
    const Tensor& data = packed.contains(i) ? packed.at(i) : *given[i];
    buffers.push_back(std::make_unique<DeviceBuffer>(data.bytes()));
    buffers.back()->upload(data.data());
    inputs.push_back({given[i]->dtype(), shapes.back(), buffers.back()->data()});
  }
  const size_t first_output = buffers.size();
  for (const ir::TensorType& type : problem.outputs) {
    shapes.push_back(ir::const_values(type.shape));
    size_t bytes = dtype_size(type.dtype);
    for (int64_t n : shapes.back()) bytes *= static_cast<size_t>(n);
    buffers.push_back(std::make_unique<DeviceBuffer>(bytes));  // NaN: every element must be written
    outputs.push_back({type.dtype, shapes.back(), buffers.back()->data()});
  }
  const ConstSizes sizes(problem.attrs);
  TENON_ASSIGN(const auto launcher, kernel.load(problem, config, device, function));
  const size_t bytes = launcher->workspace({.inputs = inputs, .outputs = outputs, .sizes = sizes.named()}, 1);
  DeviceBuffer workspace(bytes);
  static bool backwards = false;  // by turns
  backwards = !backwards;
  TENON_TRY(launcher->launch({.inputs = inputs, .outputs = outputs, .sizes = sizes.named(), .workspace = workspace.data(), .backwards = backwards}));
  TENON_TRY(cuda::check(device.api().cuStreamSynchronize(nullptr), "running a kernel"));
  std::vector<Tensor> results;
  for (size_t i = 0; i < problem.outputs.size(); ++i) {
    std::byte* data = nullptr;
    TENON_ASSIGN(Tensor result, Tensor::allocate(outputs[i].dtype, {outputs[i].shape.begin(), outputs[i].shape.end()}, &data));
    buffers[first_output + i]->download(data);
    results.push_back(result);
  }
  TENON_TRY(cuda::check(device.api().cuStreamSynchronize(nullptr), "reading a result"));
  if (module != nullptr) device.api().cuModuleUnload(module);
  return results;
}

// The same, of one op; packs the weights.
inline Result<std::vector<Tensor>> run_cuda_kernel(const kernels::CudaKernel& kernel, const Step& step, const kernels::Config& config) {
  TENON_ASSIGN(const std::unique_ptr<Built> built, build(step));
  std::map<size_t, Tensor> packed;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    const int index = static_cast<int>(i);
    if (!step.inputs[i] || !built->problem.constant[i] || !kernel.packed_type(built->problem, index)) continue;
    TENON_ASSIGN(Tensor data, kernel.prepack(built->problem, index, *step.inputs[i]));
    packed.emplace(i, std::move(data));
  }
  return run_cuda_kernel(kernel, built->problem, step.inputs, packed, config);
}

// Every config gives what the reference gives. Without a GPU the code is only compiled, for sm_90 and, unless a config needs
// one generation, sm_80.
inline void expect_like_reference(const kernels::CudaKernel& kernel, const Step& step, Tolerance allowed) {
  const auto built = build(step);
  ASSERT_TRUE(built.ok()) << built.status().message();
  const kernels::Support support = kernel.supports((*built)->problem);
  ASSERT_TRUE(support) << support.reason;
  const std::vector<kernels::Config> configs = kernel.configs((*built)->problem);
  if (gpu() == nullptr) {
    if (cuda::nvrtc_version() == 0) GTEST_SKIP() << "neither a GPU nor NVRTC";
    const auto compiled = compile_kernel(kernel, (*built)->problem, configs.front(), 90);
    ASSERT_TRUE(compiled.ok()) << compiled.status().message();
    GTEST_SKIP() << "compiled; no GPU to run it on";
  }
  const auto expected = run_op(step.op, step.inputs, step.attrs);
  ASSERT_TRUE(expected.ok()) << expected.status().message();
  for (const kernels::Config& config : configs) {
    SCOPED_TRACE(std::string(kernel.id()) + " " + config.text);
    const auto actual = run_cuda_kernel(kernel, step, config);
    ASSERT_TRUE(actual.ok()) << actual.status().message();
    for (size_t i = 0; i < expected->size(); ++i) {
      const bool exact = !is_float((*expected)[i].dtype());
      ASSERT_TRUE(close((*actual)[i], (*expected)[i], exact ? Tolerance{} : allowed)) << "output " << i;
    }
  }
}

}  // namespace tenon::test
