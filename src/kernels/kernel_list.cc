#include <algorithm>

#include "kernels/kernel.h"

namespace tenon::kernels {

std::span<const Kernel* const> kernel_list(Target target) {
  static const std::vector<const Kernel*> reference = {&reference_kernel()};
  static const std::vector<const Kernel*> cpu = [] {
    const auto list = cpu_kernel_list();
    std::vector<const Kernel*> all(list.begin(), list.end());
    all.push_back(&reference_kernel());  // supports everything, so it closes the list
    return all;
  }();
  return target == Target::kCpu ? cpu : reference;
}

const Kernel* find_kernel(std::string_view id) {
  const auto all = kernel_list(Target::kCpu);
  const auto it = std::find_if(all.begin(), all.end(), [&](const Kernel* k) { return k->id() == id; });
  return it == all.end() ? nullptr : *it;
}

}  // namespace tenon::kernels
