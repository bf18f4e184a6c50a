// Compiling CUDA C++ with NVRTC, opened at run time: needed to build engines, never to run them.
#pragma once

#include <string>
#include <string_view>

#include "kernels/kernel.h"

namespace tenon::cuda {

struct Compiled {
  std::string code;  // a cubin, or PTX
  std::string log;  // ptxas -v: registers, spills
};

// `arch`: "sm_90a" for machine code, "compute_80" for PTX, which the driver of a newer GPU translates. Errors: no-device when NVRTC cannot be found; internal with the compiler's log.
Result<Compiled> compile(const kernels::DeviceSource& source, const std::string& arch);

// 32 hexadecimal digits that stand for all that decides the machine code: the source with the headers that it includes,
// macros, options and NVRTC's version. Empty when there is no such source.
std::string code_name(const kernels::DeviceSource& source, const std::string& arch);

// 13000 for 13.0; 0 when there is none.
int nvrtc_version();

// The carried files by name; null when there is no such file.
const char* device_source(std::string_view name);

}  // namespace tenon::cuda
