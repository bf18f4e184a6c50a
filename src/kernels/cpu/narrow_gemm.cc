#include "kernels/cpu/narrow_gemm.h"

#include <cmath>

#include "kernels/cpu/split.h"

namespace tenon::kernels::cpu {
namespace {

constexpr int64_t kLine = 64;                // bytes of a cache line
constexpr int64_t kChunkRows = 512;          // of X are rounded at a time, for each thread
constexpr int64_t kBlockBytes = 384 * 1024;  // of rounded X stay in the second-level cache while panels pass

// How the rounded rows of X and the scratch of the threads lie in the workspace.
struct Layout {
  Layout(const VectorCode& vector_code, Factors of, int64_t all_rows, int64_t k, int threads)
      : code(of == Factors::kInt8 ? vector_code.int8 : vector_code.bf16) {
    element = code.wide ? 2 : bytes_of(of);
    depth = padded_depth(of, k);
    // An odd number of lines, so that the rows of a tile do not meet in few sets of the cache.
    stride = blocked() ? depth * element : ceil_div(depth * element, kLine) / 2 * 2 * kLine + kLine;
    rows = std::min(all_rows, kChunkRows * threads);
    const int64_t touched = ceil_div(rows, code.row_step) * code.row_step;
    row_bytes = touched * stride;
    scale_bytes =
        of == Factors::kInt8 ? ceil_div(rows * static_cast<int64_t>(sizeof(ops::RowScale)), kLine) * kLine : 0;
    tile_bytes = ceil_div(code.rows, code.row_step) * code.row_step * code.panels * kPanel * 4;
    thread_bytes = tile_bytes + (code.wide ? code.panels * kPanel * depth * element : 0);
  }
  bool blocked() const { return code.row_step > 1; }
  // Where row i of a chunk goes.
  Pieces row_at(std::byte* chunk, int64_t i) const {
    if (!blocked()) return {chunk + i * stride, 1, depth, 0};
    const int64_t step = code.row_step, block = i / step;
    return {chunk + block * step * stride + i % step * kLine, depth * element / kLine, kLine / element, step * kLine};
  }
  size_t bytes(int threads) const { return static_cast<size_t>(row_bytes + scale_bytes + threads * thread_bytes); }

  const DotCode& code;
  int64_t element = 0;  // bytes of a rounded element of X
  int64_t depth = 0;    // elements of a rounded row
  int64_t stride = 0;   // bytes from one rounded row to the next
  int64_t rows = 0;     // of a chunk
  int64_t row_bytes = 0, scale_bytes = 0, tile_bytes = 0, thread_bytes = 0;
};

// One thread's part of a chunk of rows.
class NarrowWorker {
 public:
  NarrowWorker(const VectorCode& vector_code, const NarrowGemm& g, const Layout& layout, std::byte* chunk,
               std::byte* scratch, int64_t first_row, int64_t rows)
      : vector_code_(vector_code),
        code_(layout.code),
        g_(g),
        layout_(layout),
        x_(chunk),
        scales_(reinterpret_cast<const ops::RowScale*>(chunk + layout.row_bytes)),
        tile_(scratch),
        widened_(scratch + layout.tile_bytes),
        first_row_(first_row),
        rows_(rows) {}

  // Tiles of rows [tiles.begin, tiles.end) x panels of columns.
  void run(Range tiles, Range panels) const {
    if (code_.begin != nullptr) code_.begin();
    const int64_t most = std::max<int64_t>(1, kBlockBytes / (layout_.stride * code_.rows));
    const int64_t blocks = ceil_div(tiles.end - tiles.begin, most);
    for (int64_t i = 0; i < blocks; ++i) {
      const Range part = share(tiles.end - tiles.begin, i, blocks);
      run_block({tiles.begin + part.begin, tiles.begin + part.end}, panels);
    }
    if (code_.end != nullptr) code_.end();
  }

 private:
  int64_t panel_stride() const { return layout_.depth * bytes_of(g_.factors) * kPanel; }
  const std::byte* panel_at(int64_t panel) const { return g_.w + panel * panel_stride(); }

  void run_block(Range tiles, Range panels) const {
    for (int64_t p = panels.begin; p < panels.end; p += code_.panels) {
      const int count = static_cast<int>(std::min<int64_t>(code_.panels, panels.end - p));
      const int64_t next_count = std::min<int64_t>(code_.panels, panels.end - p - count);
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
      for (int64_t t = tiles.begin; t < tiles.end; ++t) {
        tile.prefetch = prefetch_of(t - tiles.begin, tiles.end - tiles.begin, panel_at(p + count), next_count,
                                    panel_stride(), panel_stride(), tile.groups);
        run_tile(tile, t, p);
      }
    }
  }

  void run_tile(DotTile tile, int64_t index, int64_t panel) const {
    const int64_t row = index * code_.rows, column = panel * kPanel, y_row = first_row_ + row;
    const int rows = static_cast<int>(std::min<int64_t>(code_.rows, rows_ - row));
    const int64_t columns = std::min<int64_t>(tile.panels * kPanel, g_.columns - column);
    tile.a = x_ + row * layout_.stride;
    tile.a_stride = layout_.blocked() ? code_.row_step * layout_.stride : layout_.stride;
    tile.rows = rows;
    code_.tile(tile);

    Epilogue e = g_.epilogue;
    if (e.bias != nullptr) e.bias += column;
    if (e.residual != nullptr) e.residual += y_row * e.residual_stride + column;
    if (g_.factors == Factors::kInt8) {
      const auto* steps = reinterpret_cast<const float*>(g_.w + panel_bytes(g_.factors, g_.k, g_.columns));
      e.dequantize.rows = scales_ + row;
      e.dequantize.column_steps = steps + column;
      e.dequantize.column_sums = reinterpret_cast<const int32_t*>(steps + padded_columns(g_.columns)) + column;
    }
    vector_code_.epilogue(tile_, tile.c_stride, g_.y + y_row * g_.columns + column, g_.columns, rows, columns, e);
  }

  const VectorCode& vector_code_;
  const DotCode& code_;
  const NarrowGemm& g_;
  const Layout& layout_;
  const std::byte* x_;           // rounded rows of the chunk
  const ops::RowScale* scales_;  // of them; int8
  std::byte* tile_;              // sums of one tile
  std::byte* widened_;           // panels of 8-bit weights with 16 bits
  int64_t first_row_, rows_;     // the chunk's, in x and y
};

// Rounds rows [begin, end) of a chunk that begins at row `first`.
void round_rows(const VectorCode& code, const NarrowGemm& g, const Layout& layout, std::byte* chunk, int64_t first,
                int64_t begin, int64_t end) {
  auto* scales = reinterpret_cast<ops::RowScale*>(chunk + layout.row_bytes);
  for (int64_t i = begin; i < end; ++i) {
    const float* x = g.x + (first + i) * g.k;
    const Pieces out = layout.row_at(chunk, i);
    if (g.factors == Factors::kBf16) {
      code.round_row(x, g.k, out);
      continue;
    }
    float low = 0, high = 0;
    code.row_range(x, g.k, &low, &high);
    scales[i] = ops::row_scale(low, high);
    code.quantize_row(x, g.k, scales[i], out);
  }
}

}  // namespace

size_t narrow_gemm_workspace(const VectorCode& code, Factors factors, int64_t rows, int64_t k, int threads) {
  return Layout(code, factors, rows, k, threads).bytes(threads);
}

void narrow_gemm(const VectorCode& code, const NarrowGemm& g, void* workspace, ThreadPool* pool) {
  if (g.rows == 0 || g.columns == 0) return;
  const int threads = pool == nullptr ? 1 : pool->threads();
  const Layout layout(code, g.factors, g.rows, g.k, threads);
  auto* chunk = static_cast<std::byte*>(workspace);
  std::byte* scratch = chunk + layout.row_bytes + layout.scale_bytes;
  const int64_t panels = ceil_div(g.columns, kPanel), groups = ceil_div(panels, layout.code.panels);
  for (int64_t first = 0; first < g.rows; first += layout.rows) {
    const int64_t rows = std::min(layout.rows, g.rows - first);
    for_range(pool, rows, rows * g.k,
              [&](int64_t begin, int64_t end, int) { round_rows(code, g, layout, chunk, first, begin, end); });
    const int64_t tiles = ceil_div(rows, layout.code.rows);
    const int row_count = row_parts(
        tiles, groups, std::max<int64_t>(1, kBlockBytes / (layout.stride * layout.code.rows)), threads, /*packing=*/0);
    const int column_count = threads / row_count;
    const auto body = [&](int64_t begin, int64_t end, int thread) {
      const NarrowWorker worker(code, g, layout, chunk, scratch + thread * layout.thread_bytes, first, rows);
      for (int64_t i = begin; i < end; ++i) {
        const Range columns = share(groups, i % column_count, column_count);
        const Range part{columns.begin * layout.code.panels, std::min(columns.end * layout.code.panels, panels)};
        worker.run(share(tiles, i / column_count, row_count), part);
      }
    };
    if (pool == nullptr) {
      body(0, 1, 0);
    } else {
      pool->parallel_for(threads, body);
    }
  }
}

}  // namespace tenon::kernels::cpu
