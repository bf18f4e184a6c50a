#include "runtime/shape_table.h"

namespace tenon::runtime {

Result<size_t> ShapeTable::add(const ir::Shape& shape, int region) {
  const size_t begin = initial_.size();
  for (const ir::Dim& d : shape) {
    const size_t position = initial_.size();
    initial_.push_back(d.is_const() ? d.value() : 0);
    if (d.is_const()) continue;
    Region& r = regions_[static_cast<size_t>(region)];
    const std::string text = d.to_string();
    const auto [it, is_new] = r.index.emplace(text, r.entries.size());
    if (is_new) {
      TENON_ASSIGN(DimProgram program, DimProgram::compile(d, index_of_));
      r.entries.push_back({std::move(program), text, {}});
    }
    r.entries[it->second].positions.push_back(position);
  }
  return begin;
}

Status ShapeTable::evaluate(int region, std::span<const int64_t> symbols, std::span<int64_t> sizes) const {
  for (const Entry& e : regions_[static_cast<size_t>(region)].entries) {
    const auto v = e.program.evaluate(symbols);
    if (!v) return error(ErrorCode::kBadInput, "the size {} is too large for these inputs", e.text);
    for (size_t position : e.positions) sizes[position] = *v;
  }
  return {};
}

}  // namespace tenon::runtime
