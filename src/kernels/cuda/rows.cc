#include "kernels/cuda/rows.h"

#include <bit>

namespace tenon::kernels::cuda {

std::vector<std::string> RowLayout::defines(DType element) const {
  return {fmt::format("ELEMENT={}", dtype_name(element)), fmt::format("WIDTH={}", width),
          fmt::format("VECTOR={}", vector), fmt::format("LANES={}", lanes)};
}

RowLayout row_layout(int64_t width, DType element) {
  constexpr int64_t kMostHeld = 32;  // elements in the registers of a lane
  const int whole = 16 / static_cast<int>(dtype_size(element));
  RowLayout layout{.width = width, .vector = width % whole == 0 ? whole : 1};
  const int64_t vectors = width / layout.vector;
  while (layout.lanes < 32 && layout.lanes < vectors) layout.lanes *= 2;
  while (blocks_for(vectors, layout.lanes) * layout.vector > kMostHeld) layout.lanes *= 2;
  return layout;
}

Result<int64_t> row_width(const ir::Shape& shape, int axis) {
  int64_t width = 1;
  for (size_t i = static_cast<size_t>(axis); i < shape.size(); ++i) {
    if (!shape[i].is_const())
      return error(ErrorCode::kUnsupported, "the width {} is not a constant", shape[i].to_string());
    width *= shape[i].value();
    if (width < 1 || width > kWidestRow)
      return error(ErrorCode::kUnsupported, "rows are not 1 to {} elements wide", kWidestRow);
  }
  return width;
}

Launch launch_rows(int64_t rows, int lanes, const Device& device) {
  // Small blocks start sooner, large ones are fewer to start.
  const int threads = rows * lanes > int64_t{128} * 4 * device.multiprocessors() ? 128 : 32;
  const int per_block = std::max(1, threads / lanes);
  Launch launch;
  launch.grid[0] = static_cast<unsigned>(blocks_for(rows, per_block));
  launch.block[0] = static_cast<unsigned>(lanes);
  launch.block[1] = static_cast<unsigned>(per_block);
  return launch;
}

Launch launch_flat(int64_t threads) {
  constexpr int64_t kBlock = 128;
  Launch launch;
  launch.grid[0] = static_cast<unsigned>(blocks_for(threads, kBlock));
  launch.block[0] = kBlock;
  return launch;
}

Divisor divisor(int64_t value) {
  const auto d = static_cast<uint64_t>(value);
  const auto shift = static_cast<unsigned>(std::bit_width(d - 1));  // the least with 2^shift >= d
  return {static_cast<unsigned>(d), static_cast<unsigned>(((((uint64_t{1} << shift) - d) << 32) / d) + 1), shift};
}

}  // namespace tenon::kernels::cuda
