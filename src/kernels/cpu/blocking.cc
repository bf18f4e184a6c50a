#include "kernels/cpu/blocking.h"

#include <fmt/core.h>

#include <charconv>
#include <utility>

namespace tenon::kernels::cpu {
namespace {

constexpr std::pair<Blocking::Split, std::string_view> kSplits[] = {{Blocking::Split::kRows, "rows"},
                                                                    {Blocking::Split::kColumns, "columns"}};
constexpr int64_t kMost = 1 << 20;

bool read_count(std::string_view text, int64_t& out) {
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out);
  return failed == std::errc() && end == text.data() + text.size() && out > 0 && out <= kMost;
}

}  // namespace

std::string Blocking::text() const {
  std::string out;
  const auto add = [&](std::string_view name, std::string_view value) {
    out += fmt::format("{}{}={}", out.empty() ? "" : ",", name, value);
  };
  if (rows > 0) add("rows", std::to_string(rows));
  if (depth > 0) add("depth", std::to_string(depth));
  for (const auto& [value, name] : kSplits)
    if (value == split) add("split", name);
  return out.empty() ? "auto" : out;
}

std::optional<Blocking> Blocking::parse(std::string_view text) {
  Blocking out;
  if (text.empty() || text == "auto") return out;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const size_t equals = item.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view name = item.substr(0, equals), value = item.substr(equals + 1);
    bool known = (name == "rows" && read_count(value, out.rows)) || (name == "depth" && read_count(value, out.depth));
    for (const auto& [split, word] : kSplits) {
      if (name != "split" || value != word) continue;
      out.split = split;
      known = true;
    }
    if (!known) return std::nullopt;
  }
  return out;
}

}  // namespace tenon::kernels::cpu
