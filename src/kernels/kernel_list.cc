#include <algorithm>

#include "kernels/kernel.h"
#include "kernels/plugin/plugin_kernels.h"

namespace tenon::kernels {

namespace {

std::span<const Kernel* const> plugin_device_list() {
  static const Kernel* const list[] = {&plugin_device_kernel()};
  return list;
}

std::vector<const Kernel*> joined(std::initializer_list<std::span<const Kernel* const>> lists) {
  std::vector<const Kernel*> all;
  for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
  all.push_back(&plugin_host_kernel());
  all.push_back(&reference_kernel());  // supports all ops of Tenon's own, so it closes each list
  return all;
}

}  // namespace

std::span<const Kernel* const> kernel_list(Target target) {
  static const std::vector<const Kernel*> reference = joined({});
  static const std::vector<const Kernel*> cpu = joined({cpu_kernel_list()});
  static const std::vector<const Kernel*> cuda = joined({cuda_kernel_list(), plugin_device_list(), cpu_kernel_list()});
  switch (target) {
    case Target::kReference: return reference;
    case Target::kCpu: return cpu;
    case Target::kCuda: return cuda;
  }
  return reference;
}

const Kernel* find_kernel(std::string_view id) {
  const auto all = kernel_list(Target::kCuda);
  const auto it = std::find_if(all.begin(), all.end(), [&](const Kernel* k) { return k->id() == id; });
  return it == all.end() ? nullptr : *it;
}

std::string DeviceSource::text() const {
  std::string all = entry + "@" + file;
  for (const std::string& d : defines) all += " " + d;
  return all;
}

}  // namespace tenon::kernels
