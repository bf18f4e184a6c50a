#include "kernels/plugin/plugin_kernels.h"

#include <atomic>

#include "kernels/cuda/cuda_kernel.h"
#include "ops/plugin_host.h"

namespace tenon::kernels {
namespace {

using ops::PluginInstance;
using ops::PluginPlace;

class PluginLauncher final : public Launcher {
 public:
  PluginLauncher(std::shared_ptr<const PluginInstance> instance, PluginPlace place)
      : instance_(std::move(instance)), place_(place) {}
  size_t workspace(const RunArgs& args, int) const override {
    const auto bytes = instance_->workspace(place_, args);
    if (!bytes.ok()) workspace_failed_ = true;
    return bytes.ok() ? *bytes : 0;
  }
  Status launch(const RunArgs& args) const override {
    if (workspace_failed_) TENON_TRY(instance_->workspace(place_, args).status());  // says why
    return instance_->run(place_, args);
  }

 private:
  std::shared_ptr<const PluginInstance> instance_;
  PluginPlace place_;
  mutable std::atomic<bool> workspace_failed_ = false;
};

Support supports_plugin(const Problem& problem, PluginPlace place) {
  if (problem.op != Op::k_plugin) return Support::no("computes operators of plugins");
  const auto instance = PluginInstance::restore(problem.attrs);
  if (!instance.ok()) return Support::no(instance.status().message());
  const auto refused = ops::check_plugin(**instance, place, problem.inputs, problem.present, problem.outputs);
  if (!refused.ok()) return Support::no(refused.status().message());
  if (!refused->empty()) return Support::no(fmt::format("plugin {}: {}", (*instance)->op().name, *refused));
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    if (!problem.present[i] || problem.constant[i]) continue;
    const auto bytes = (*instance)->packed_bytes(static_cast<int>(i), problem.inputs[i]);
    if (!bytes.ok()) return Support::no(bytes.status().message());
    if (*bytes > 0) return Support::no(fmt::format("plugin {}: input {} must be a weight", (*instance)->op().name, i));
  }
  return Support::yes();
}

std::optional<TensorType> packed_plugin_type(const Problem& problem, int index) {
  const auto i = static_cast<size_t>(index);
  if (i >= problem.constant.size() || !problem.constant[i]) return std::nullopt;
  const auto instance = PluginInstance::restore(problem.attrs);
  const auto bytes = instance.ok() ? (*instance)->packed_bytes(index, problem.inputs[i]) : Result<int64_t>(0);
  if (!bytes.ok() || *bytes == 0) return std::nullopt;
  return TensorType{DType::kU8, {ir::Dim(*bytes)}};
}

Result<Tensor> prepack_plugin(const Problem& problem, int index, const Tensor& weight) {
  TENON_ASSIGN(const auto instance, PluginInstance::restore(problem.attrs));
  return instance->pack(index, weight);
}

Result<std::unique_ptr<Launcher>> make_launcher(const Problem& problem, PluginPlace place) {
  if (const Support support = supports_plugin(problem, place); !support) {
    return error(ErrorCode::kUnsupported, "{}", support.reason);
  }
  TENON_ASSIGN(auto instance, PluginInstance::restore(problem.attrs));
  return std::unique_ptr<Launcher>(std::make_unique<PluginLauncher>(std::move(instance), place));
}

class PluginHostKernel final : public Kernel {
 public:
  std::string_view id() const override { return "plugin.host"; }
  Support supports(const Problem& p) const override { return supports_plugin(p, PluginPlace::kHost); }
  std::optional<TensorType> packed_type(const Problem& p, int index) const override {
    return packed_plugin_type(p, index);
  }
  Result<Tensor> prepack(const Problem& p, int index, const Tensor& weight) const override {
    return prepack_plugin(p, index, weight);
  }
  Result<std::unique_ptr<Launcher>> prepare(const Problem& p, const Config&) const override {
    return make_launcher(p, PluginPlace::kHost);
  }
};

class PluginDeviceKernel final : public CudaKernel {
 public:
  std::string_view id() const override { return kPluginDeviceId; }
  Support supports(const Problem& p) const override { return supports_plugin(p, PluginPlace::kDevice); }
  std::optional<TensorType> packed_type(const Problem& p, int index) const override {
    return packed_plugin_type(p, index);
  }
  Result<Tensor> prepack(const Problem& p, int index, const Tensor& weight) const override {
    return prepack_plugin(p, index, weight);
  }
  std::optional<DeviceSource> code(const Problem&, const Config&, int) const override { return std::nullopt; }
  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const tenon::cuda::Device&,
                                         tenon::cuda::Function) const override {
    return make_launcher(p, PluginPlace::kDevice);
  }
};

}  // namespace

const Kernel& plugin_host_kernel() {
  static const PluginHostKernel kernel;
  return kernel;
}

const Kernel& plugin_device_kernel() {
  static const PluginDeviceKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels
