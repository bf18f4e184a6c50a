// What `tenon exec` prints and writes: the lines that scripts look for in trtexec's log, and its JSON files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/exec_options.h"
#include "tools/profile.h"
#include "tools/tensor_io.h"
#include "tools/timing.h"

namespace tenon::tools {

// "[MM/DD/YYYY-HH:MM:SS] [I] text" on standard output; errors ('E') on standard error.
void exec_log(char severity, std::string_view text);

// The host waits for every run and the runtime does not tell copies from work, so a run is all compute: its copies count as
// such.
struct ExecTimes {
  Timing timing;
  double origin = 0;  // seconds_now() that JSON times count from
};

// "Trace details" and "Performance summary".
void print_times(const ExecTimes& times, const ExecOptions& options);
// The table of --dumpProfile; `runs`: that `steps` were collected over.
void print_profile(const StepTimes& steps, int runs);

// Errors of all of these: io.
Status export_times(const std::string& path, const ExecTimes& times);
Status export_profile(const std::string& path, const StepTimes& steps, int runs);
Status export_output(const std::string& path, const NamedTensors& outputs);
// {"Layers": […], "Bindings": […]} of an engine; `detailed`: objects instead of names.
Result<std::string> layer_info(const std::string& engine, bool detailed);

void dump_tensors(std::string_view kind, const NamedTensors& tensors);
Status dump_raw(std::string_view kind, const NamedTensors& tensors);

}  // namespace tenon::tools
