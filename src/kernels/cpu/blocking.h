// How a CPU kernel cuts its work for caches and threads: what its configs say. No choice changes a bit of a result, so
// a tuned engine computes what an untuned one does.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernel.h"

namespace tenon::kernels::cpu {

struct Blocking {
  // Products: rows of X that stay in the second-level cache while panels of W pass. Attention: queries of a task.
  int64_t rows = 0;   // 0: the kernel's own choice
  int64_t depth = 0;  // most of K that is multiplied at a time; 0: the kernel's own choice
  enum class Split : uint8_t { kAuto, kRows, kColumns } split = Split::kAuto;  // what the threads share

  std::string text() const;  // "auto", "rows=64,depth=768,split=rows"
  // "" is "auto": engines without a choice say nothing.
  static std::optional<Blocking> parse(std::string_view text);
  bool operator==(const Blocking&) const = default;
};

// "auto", then the others by rising cost where `cost` can tell (it returns 0 where the sizes are not known yet).
template <class Cost>
std::vector<Config> blocking_configs(const std::vector<Blocking>& choices, std::string_view numerics,
                                     const Cost& cost) {
  std::vector<Config> configs;
  for (const Blocking& b : choices) configs.push_back({b.text(), std::string(numerics), cost(b)});
  std::stable_sort(configs.begin(), configs.end(), [](const Config& a, const Config& b) { return a.cost < b.cost; });
  configs.insert(configs.begin(), {Blocking{}.text(), std::string(numerics), cost(Blocking{})});
  return configs;
}

}  // namespace tenon::kernels::cpu
