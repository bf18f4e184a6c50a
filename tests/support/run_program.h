// The programs of this build, run as a user runs them.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <string>

namespace tenon::test {

struct Outcome {
  int code = -1;
  std::string log;  // standard output, and error unless it was dropped
};

// `command` begins with the program's name (tenon or trtexec) and runs in `folder`; `environment`: "NAME=value ".
inline Outcome run_program(const std::string& command, const std::filesystem::path& folder, const std::string& environment = "") {
  const std::string line = "cd '" + folder.string() + "' && " + environment + TENON_EMULATOR " " TENON_BINARY_DIR "/" + command + " 2>&1";
  Outcome result;
  std::FILE* pipe = ::popen(line.c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> buffer;
  for (size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) result.log.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

}  // namespace tenon::test
