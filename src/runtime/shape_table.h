// All sizes of a plan in one flat array: constants are filled in once, symbolic ones per region and run. Equal sizes are
// evaluated once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "runtime/dim_program.h"

namespace tenon::runtime {

class ShapeTable {
 public:
  ShapeTable(std::function<int(std::string_view)> index_of, size_t regions) : index_of_(std::move(index_of)), regions_(regions) {}

  // Reserves a place for `shape`, evaluated when `region` starts. Returns where in the array it begins. Errors: bad-engine.
  Result<size_t> add(const ir::Shape& shape, int region);

  // The array before any run.
  const std::vector<int64_t>& initial() const { return initial_; }

  // Writes a region's sizes. Errors: bad-input, naming a size that is negative or overflows.
  Status evaluate(int region, std::span<const int64_t> symbols, std::span<int64_t> sizes) const;

 private:
  struct Entry {
    DimProgram program;
    std::string text;               // for messages
    std::vector<size_t> positions;  // where the value goes
  };
  struct Region {
    std::vector<Entry> entries;
    std::map<std::string, size_t> index;
  };
  std::function<int(std::string_view)> index_of_;
  std::vector<Region> regions_;
  std::vector<int64_t> initial_;
};

}  // namespace tenon::runtime
