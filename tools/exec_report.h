// What `tenon exec` prints and writes: the lines that scripts look for in trtexec's log, and its JSON files.
#pragma once

#include <map>
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

// The blocks "Model Options" to "Reporting Options".
void print_options(const ExecOptions& options);

// "Trace details" and "Performance summary".
void print_times(const ExecTimes& times, const ExecOptions& options);
// What layers are called, by the names that profilers are told (exec_layers.h).
using LayerNames = std::map<std::string, std::string>;
// The table of --dumpProfile; `runs`: that `steps` were collected over.
void print_profile(const StepTimes& steps, const LayerNames& names, int runs);

// Errors of all of these: io.
Status export_times(const std::string& path, const ExecTimes& times);
Status export_profile(const std::string& path, const StepTimes& steps, const LayerNames& names, int runs);
Status export_output(const std::string& path, const NamedTensors& outputs);

void dump_tensors(std::string_view kind, const NamedTensors& tensors);
Status dump_raw(std::string_view kind, const NamedTensors& tensors);

}  // namespace tenon::tools
