#include "text/units.h"

#include <algorithm>

#include "text/unicode.h"

namespace tenon::text {

void UnitText::assign(std::string_view utf8, int32_t base) {
  units.clear();
  starts.clear();
  const char* const begin = utf8.data();
  const char* const end = begin + utf8.size();
  for (const char* p = begin; p != end;) {
    const auto source = static_cast<int32_t>(starts.size());
    starts.push_back(base + static_cast<int32_t>(p - begin));
    units.push_back({next_code_point(p), source});
  }
  starts.push_back(base + static_cast<int32_t>(utf8.size()));
}

void UnitText::apply(std::span<const Change> changes, int32_t dropped) {
  std::vector<Unit> out;
  out.reserve(changes.size());
  size_t next = static_cast<size_t>(dropped);  // the old unit that is replaced next
  for (const Change& change : changes) {
    const bool inserted = change.change > 0;
    const size_t from = inserted && next > 0 ? next - 1 : next;
    out.push_back({change.c, units[std::min(from, units.size() - 1)].source});
    if (!inserted) next += 1 + static_cast<size_t>(-change.change);
  }
  units = std::move(out);
}

void encode_utf8(std::span<const Unit> units, std::string& out) {
  out.resize(4 * units.size());
  char* p = out.data();
  for (const Unit& unit : units) p = write_utf8(unit.c, p);
  out.resize(static_cast<size_t>(p - out.data()));
}

}  // namespace tenon::text
