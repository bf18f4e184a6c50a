#include "kernels/cpu/narrow_gemm.h"

#include <cmath>
#include <cstring>

#include "kernels/cpu/split.h"

namespace tenon::kernels::cpu {
namespace {

constexpr int64_t kChunkRows = 512;  // of X are rounded at a time, for each thread

// Bytes of rows that stay in the second-level cache while panels pass, and leave room for those.
int64_t block_bytes() { return second_level_cache() * 3 / 8; }

// Where the rows that are multiplied stand, and the scratch of the threads in the workspace.
struct Layout {
  Layout(const VectorCode& vector_code, Factors of, bool x_is_bf16, int64_t all_rows, int64_t k, int threads,
         bool has_source)
      : code(of == Factors::kInt8Quads ? vector_code.int8_quads
             : of == Factors::kInt8    ? vector_code.int8
                                       : vector_code.bf16) {
    element = code.wide ? 2 : bytes_of(of);
    depth = padded_depth(of, k);
    direct = x_is_bf16 && of == Factors::kBf16 && depth == k && !has_source;
    // An odd number of lines, so that the rows of a tile do not meet in few sets of the cache.
    stride = direct ? k * element : ceil_div(depth * element, kCacheLine) / 2 * 2 * kCacheLine + kCacheLine;
    rows = direct ? all_rows : std::min(all_rows, kChunkRows * threads);
    row_bytes = direct ? 0 : rows * stride;
    scale_bytes =
        is_integer(of) ? ceil_div(rows * static_cast<int64_t>(sizeof(ops::RowScale)), kCacheLine) * kCacheLine : 0;
    tile_bytes = code.rows * code.panels * kPanel * 4;
    widened_bytes = code.wide ? code.panels * kPanel * depth * element : 0;
    thread_bytes = tile_bytes + widened_bytes + (has_source ? ceil_div(4 * k, kCacheLine) * kCacheLine : 0);
  }
  int64_t tiles_of_block(const Blocking& blocking) const {
    const int64_t most = blocking.rows > 0 ? blocking.rows : block_bytes() / std::max<int64_t>(1, stride);
    return std::max<int64_t>(1, most / code.rows);
  }
  size_t bytes(int threads) const { return static_cast<size_t>(row_bytes + scale_bytes + threads * thread_bytes); }

  const DotCode& code;
  bool direct = false;  // X is read where it lies
  int64_t element = 0;  // bytes of an element that is multiplied
  int64_t depth = 0;    // elements of a row
  int64_t stride = 0;   // bytes from one row to the next
  int64_t rows = 0;     // of a chunk
  int64_t row_bytes = 0, scale_bytes = 0, tile_bytes = 0;
  int64_t widened_bytes = 0;  // of weights
  int64_t thread_bytes = 0;   // a tile, widened weights and a row of the source
};

// One thread's part of a chunk of rows.
class NarrowWorker {
 public:
  NarrowWorker(const VectorCode& vector_code, const NarrowGemm& g, const Layout& layout, const std::byte* chunk,
               std::byte* scratch, int64_t first_row, int64_t rows)
      : vector_code_(vector_code),
        code_(layout.code),
        g_(g),
        layout_(layout),
        x_(layout.direct ? static_cast<const std::byte*>(g.x) : chunk),
        tile_(scratch),
        widened_(scratch + layout.tile_bytes),
        y_(static_cast<std::byte*>(g.y) + first_row * g.columns * g.epilogue.element()),
        rows_(rows),
        asks_for_y_(code_.begin != nullptr || rows * g.columns * g.epilogue.element() > second_level_cache()),
        epilogue_(g.epilogue.at(first_row, 0)) {
    if (!is_integer(g.factors)) return;
    const auto* steps = reinterpret_cast<const float*>(g.w + panel_bytes(g.factors, g.k, g.columns));
    epilogue_.dequantize = {reinterpret_cast<const ops::RowScale*>(chunk + layout.row_bytes), steps,
                            reinterpret_cast<const int32_t*>(steps + padded_columns(g.columns))};
  }

  void run(Tasks& tasks, const TaskGrid& grid) const {
    if (code_.begin != nullptr) code_.begin();
    int64_t last_block = -1;  // whose rows are near
    for (int64_t i = tasks.next(); i >= 0; i = tasks.next()) {
      const auto [block, group] = grid.at(i);
      const int64_t next = tasks.peek();
      run_group(grid.tiles_of(block), group, next < 0 ? -1 : grid.at(next).group, block != last_block);
      last_block = block;
    }
    if (code_.end != nullptr) code_.end();
  }

 private:
  int64_t panel_stride() const { return layout_.depth * bytes_of(g_.factors) * kPanel; }
  const std::byte* panel_at(int64_t panel) const { return g_.w + panel * panel_stride(); }

  int panels_of(int64_t group) const {
    return static_cast<int>(std::min<int64_t>(code_.panels, ceil_div(g_.columns, kPanel) - group * code_.panels));
  }

  // Tiles of rows x the panels of one tile; those of the next group (-1: none) are fetched meanwhile.
  void run_group(Range tiles, int64_t group, int64_t next, bool rows_are_new) const {
    const int64_t p = group * code_.panels;
    const int count = panels_of(group);
    const int64_t next_count = next < 0 || next == group ? 0 : panels_of(next);
    DotTile tile{.b = panel_at(p),
                 .b_panel_stride = panel_stride(),
                 .c = tile_,
                 .c_stride = count * kPanel,
                 .groups = layout_.depth * layout_.element / 4,
                 .panels = count};
    if (code_.wide) {
      tile.b = widened_;
      tile.b_panel_stride *= 2;
      for (int i = 0; i < count; ++i)
        vector_code_.widen_int8(panel_at(p + i), layout_.depth / 4, widened_ + i * tile.b_panel_stride);
    }
    PanelFetch fetch(tiles.end - tiles.begin, panel_at(std::max<int64_t>(next, 0) * code_.panels), next_count,
                     panel_stride(), panel_stride());
    for (int64_t t = tiles.begin; t < tiles.end; ++t) {
      tile.prefetch = fetch.next();
      tile.next_rows = rows_are_new && t + 1 < tiles.end ? rows_ahead(t + 1) : Prefetch{};
      run_tile(tile, t, p);
    }
  }

  // All rows of a tile, which other threads have written.
  Prefetch rows_ahead(int64_t tile) const {
    const int64_t row = tile * code_.rows, rows = std::min<int64_t>(code_.rows, rows_ - row);
    return {reinterpret_cast<const char*>(x_ + row * layout_.stride), rows * layout_.stride, 1, 0};
  }

  void run_tile(DotTile& tile, int64_t index, int64_t panel) const {
    const int64_t row = index * code_.rows, column = panel * kPanel;
    const int64_t columns = std::min<int64_t>(tile.panels * kPanel, g_.columns - column);
    tile.a = x_ + row * layout_.stride;
    tile.a_stride = layout_.stride;
    tile.rows = static_cast<int>(std::min<int64_t>(code_.rows, rows_ - row));
    const Epilogue epilogue = epilogue_.at(row, column);
    std::byte* y = y_ + (row * g_.columns + column) * epilogue.element();
    const int64_t element = epilogue.element();
    if (asks_for_y_) tile.y = {y, g_.columns * element, columns * element};
    if (epilogue.residual != nullptr)
      tile.residual = {static_cast<const std::byte*>(epilogue.residual), epilogue.residual_stride * element,
                       columns * element};
    code_.tile(tile);
    vector_code_.epilogue(tile_, tile.c_stride, y, g_.columns, tile.rows, columns, epilogue);
  }

  const VectorCode& vector_code_;
  const DotCode& code_;
  const NarrowGemm& g_;
  const Layout& layout_;
  const std::byte* x_;  // rows of the chunk
  std::byte* tile_;     // sums of one tile
  std::byte* widened_;  // panels of 8-bit weights with 16 bits
  std::byte* y_;        // the chunk's first row
  int64_t rows_;        // of the chunk
  bool asks_for_y_;     // it is not near already, or AMX has time to ask
  Epilogue epilogue_;   // of the chunk
};

// Makes rows [begin, end) of a chunk that begins at row `first`. `room`: for a row of the source.
void round_rows(const VectorCode& code, const NarrowGemm& g, const Layout& layout, std::byte* chunk, std::byte* room,
                int64_t first, int64_t begin, int64_t end) {
  auto* scales = reinterpret_cast<ops::RowScale*>(chunk + layout.row_bytes);
  const bool bf16 = g.epilogue.bf16;
  for (int64_t i = begin; i < end; ++i) {
    const std::byte* x = room;
    std::byte* out = chunk + i * layout.stride;
    if (g.source_is_rounded) {
      scales[i] = g.x_scale;
      g.source->write(first + i, out);
      std::memset(out + g.k, 0, static_cast<size_t>(layout.depth - g.k));
      continue;
    }
    if (g.source != nullptr)
      g.source->write(first + i, room);
    else
      x = static_cast<const std::byte*>(g.x) + (first + i) * g.k * g.epilogue.element();
    if (is_integer(g.factors)) {
      scales[i] = g.x_scale;
      if (g.x_scale.step == 0) {
        float low = 0, high = 0;
        code.row_range(x, bf16, g.k, &low, &high);
        scales[i] = ops::row_scale(low, high);
      }
      code.quantize_row(x, bf16, g.k, scales[i], layout.depth, layout.code.wide, out);
      continue;
    }
    const auto bytes = static_cast<size_t>(g.k * 2);
    if (bf16)
      std::memcpy(out, x, bytes);
    else
      code.round(reinterpret_cast<const float*>(x), g.k, reinterpret_cast<uint16_t*>(out));
    std::memset(out + bytes, 0, static_cast<size_t>(layout.depth - g.k) * 2);
  }
}

}  // namespace

size_t narrow_gemm_workspace(const VectorCode& code, Factors factors, bool x_is_bf16, int64_t rows, int64_t k,
                             int threads, bool has_source) {
  return Layout(code, factors, x_is_bf16, rows, k, threads, has_source).bytes(threads);
}

void narrow_gemm(const VectorCode& code, const NarrowGemm& g, void* workspace, ThreadPool* pool) {
  if (g.rows == 0 || g.columns == 0) return;
  const int threads = pool == nullptr ? 1 : pool->threads();
  const Layout layout(code, g.factors, g.epilogue.bf16, g.rows, g.k, threads, g.source != nullptr);
  auto* chunk = static_cast<std::byte*>(workspace);
  std::byte* scratch = chunk + layout.row_bytes + layout.scale_bytes;
  const int64_t groups = ceil_div(ceil_div(g.columns, kPanel), layout.code.panels);
  for (int64_t first = 0; first < g.rows; first += layout.rows) {
    const int64_t rows = std::min(layout.rows, g.rows - first);
    if (!layout.direct)
      for_range(pool, rows, rows * g.k, [&](int64_t begin, int64_t end, int thread) {
        std::byte* room = scratch + thread * layout.thread_bytes + layout.tile_bytes + layout.widened_bytes;
        round_rows(code, g, layout, chunk, room, first, begin, end);
      });
    const TaskGrid grid(ceil_div(rows, layout.code.rows), groups, layout.tiles_of_block(g.blocking), threads,
                        g.blocking);
    share_tasks(pool, grid.count(), [&](Tasks& tasks, int thread) {
      NarrowWorker(code, g, layout, chunk, scratch + thread * layout.thread_bytes, first, rows).run(tasks, grid);
    });
  }
}

std::vector<Blocking> narrow_gemm_blockings() {
  std::vector<Blocking> out;
  for (const int64_t rows : {64, 128, 256, 512})
    for (const auto split : {Blocking::Split::kRows, Blocking::Split::kColumns})
      out.push_back({.rows = rows, .split = split});
  return out;
}

double narrow_gemm_cost(const VectorCode& code, Factors factors, int64_t rows, int64_t k, int64_t columns, int threads,
                        const Blocking& blocking) {
  constexpr double kThrashing = 0.15;    // of the multiply-adds, when the rows of a block do not stay in the cache
  constexpr double kPerSecond = 2.5e10;  // groups and columns of them that a core multiplies and adds
  const Layout layout(code, factors, false, rows, k, threads, false);
  const int64_t tiles = ceil_div(rows, layout.code.rows), panels = ceil_div(columns, kPanel);
  const TaskGrid grid(tiles, ceil_div(panels, layout.code.panels), layout.tiles_of_block(blocking), threads, blocking);
  const int64_t block = ceil_div(tiles, grid.blocks()) * layout.code.rows * layout.stride;
  const bool fits = block + 2 * layout.code.panels * kPanel * layout.depth * layout.element <= second_level_cache();
  const double tile = static_cast<double>(layout.code.rows * layout.code.panels * layout.depth * layout.element / 4);
  return grid.cost() * (fits ? 1 : 1 + kThrashing) * tile / kPerSecond;
}

}  // namespace tenon::kernels::cpu
