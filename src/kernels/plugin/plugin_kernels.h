// The kernels that run operators of users' libraries (include/tenon/plugin.h), on the host and on a GPU.
#pragma once

#include "kernels/kernel.h"

namespace tenon::kernels {

const Kernel& plugin_host_kernel();    // "plugin.host"
const Kernel& plugin_device_kernel();  // "plugin.device": plugins enqueue their own CUDA kernels
inline constexpr std::string_view kPluginDeviceId = "plugin.device";

}  // namespace tenon::kernels
