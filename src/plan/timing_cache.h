// How fast configs were when they were timed: what the autotuner writes and the planner chooses by.
//
// As text one JSON object a line, sorted by key, so that files can be read, compared and merged by hand:
//
//   {"kernel":"cuda.linear.sm90","version":1,"device":"NVIDIA H200","problem":"linear f16[rows,768] …","rows":128,
//    "config":"tile=64x32,split=2","code":"3f…","driver":13,"timings":[["tile=64x32,split=2",3.91,0.012],…]}
//
// "config" is what builds take: the fastest, unless somebody wrote another there.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tenon::plan {

struct TimingKey {
  std::string kernel;  // Kernel::id
  int version = 1;
  std::string device;   // "NVIDIA H200"
  std::string problem;  // problem_text
  int64_t rows = 0;     // timed for this many

  auto operator<=>(const TimingKey&) const = default;
};

struct Timing {
  std::string config;  // Config::text
  double us = 0;       // median microseconds of one launch, in whole nanoseconds; 0: not timed
  double spread = 0;   // (longest - shortest) / median, in thousandths
};

// The numbers as a file holds them, so that what was timed now and what was read are the same.
Timing make_timing(std::string config, double us, double spread);

struct TimingEntry {
  std::string config;           // the choice
  std::vector<Timing> timings;  // the choice first, then by rising time
  // What was timed: the name of all that decides the machine code of the configs (timed_code_name), and the driver's
  // major version. Empty and 0 in the table that Tenon ships, which is advice for every later version of the kernels.
  std::string code;
  int driver = 0;

  const Timing* find(std::string_view config_text) const;
};

class TimingCache {
 public:
  // Lines that are not such objects are skipped; `skipped` counts them. Of two lines with one key the later one stays.
  static TimingCache parse(std::string_view text, int* skipped = nullptr);
  // A file that does not exist is an empty cache; damaged lines give a warning. Errors: io.
  static Result<TimingCache> load(const std::string& path);
  // Replaces the file at once. Errors: io.
  Status save(const std::string& path) const;
  std::string text() const;

  // Takes over what `other` knows; it wins where both know.
  void merge(const TimingCache& other);
  void put(const TimingKey& key, TimingEntry entry) { entries_[key] = std::move(entry); }
  const TimingEntry* find(const TimingKey& key) const;
  const std::map<TimingKey, TimingEntry>& entries() const { return entries_; }

 private:
  std::map<TimingKey, TimingEntry> entries_;
};

// What is known without timing anything: measured on the GPUs that TimingKey::device names (src/plan/tuned).
const TimingCache& shipped_timings();

}  // namespace tenon::plan
