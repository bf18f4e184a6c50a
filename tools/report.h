// What the verbs share: progress on a terminal, shape texts, error hand-over.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/reader.h"
#include "tenon/builder.h"

namespace tenon::tools {

// One line on standard error that is rewritten in place; plain lines where it is no terminal. Nothing when quiet.
class Progress {
 public:
  explicit Progress(bool quiet);
  ~Progress();
  void show(std::string_view phase, double fraction);

 private:
  bool quiet_, terminal_;
  std::string phase_;
  bool open_ = false;
};

// "input_ids:1x16" entries, one list each for min, opt and max, as one profile; a missing list takes the values of another.
// Errors: invalid-argument that quotes the text.
Result<OptimizationProfile> parse_profile(const std::vector<std::string>& min, const std::vector<std::string>& opt, const std::vector<std::string>& max);

std::string human_bytes(uint64_t bytes);    // "87.3 MiB"
std::string human_count(double count);      // "22.4 G"
std::string join(const std::vector<int64_t>& shape);  // "8x128"
// The index of the engine's plan for `target`; the first when it is empty. Throws invalid-argument.
int plan_for(const engine::EngineFile& file, const std::string& target);
double seconds_now();                       // a monotonic clock
uint64_t peak_resident_bytes();             // of this process

}  // namespace tenon::tools
