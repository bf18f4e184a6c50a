#include "kernels/cpu/gemm.h"

#include <algorithm>

#include "kernels/cpu/split.h"

namespace tenon::kernels::cpu {
namespace {

constexpr int64_t kBlockK = 1024;
constexpr int64_t kScratch = 8 * 3 * kPanel;  // one tile of Y, for columns that do not fill a panel

// Blocks over K begin between pairs; sums go on where the block before left them, so they change no bit.
int64_t block_k(int64_t k, const Blocking& blocking) {
  const int64_t most = blocking.depth > 0 ? blocking.depth : kBlockK;
  const int64_t depth = ceil_div(k, std::max<int64_t>(1, ceil_div(k, most)));
  return std::max<int64_t>(2, depth + depth % 2);
}

// How X is cut: into chunks of rows that all threads pack and multiply together, so that a weight comes from memory
// once for all of them, and those into blocks that stay in the second-level cache of a thread, with room for panels.
struct GemmLayout {
  GemmLayout(const VectorCode& code, int64_t rows, int64_t k, bool w_is_bf16, int threads, const Blocking& blocking)
      : depth(block_k(k, blocking)), tiles(ceil_div(rows, code.tile_rows)) {
    constexpr int64_t kThreadsOfBlock = 4;
    const int64_t fitting = second_level_cache() * 3 / 8 / (depth * static_cast<int64_t>(sizeof(float)));
    block_tiles = std::max<int64_t>(1, (blocking.rows > 0 ? blocking.rows : fitting) / code.tile_rows);
    chunks = ceil_div(tiles, block_tiles * ceil_div(threads, kThreadsOfBlock));
    packed_floats = ceil_div(tiles, std::max<int64_t>(1, chunks)) * kPackWidth * depth;
    widened_floats = w_is_bf16 ? code.tile_panels * kPanel * depth : 0;
  }
  int64_t floats(int threads) const { return packed_floats + threads * thread_floats(); }
  int64_t thread_floats() const { return kScratch + widened_floats; }

  int64_t depth = 0;  // of a block over K
  int64_t tiles = 0, block_tiles = 0, chunks = 0;
  int64_t packed_floats = 0;   // of a chunk
  int64_t widened_floats = 0;  // panels of bf16 as f32
};

int tile_rows_of(const VectorCode& code, const Gemm& g, int64_t tile) {
  return static_cast<int>(std::min<int64_t>(code.tile_rows, g.rows - tile * code.tile_rows));
}

// A chunk of X and a block over K.
struct GemmPass {
  Range tiles;
  int64_t k = 0, depth = 0;
  int64_t next_k = 0;  // where the panels of the next pass begin; g.k: there is none
};

// One thread's part of a pass.
class GemmWorker {
 public:
  GemmWorker(const VectorCode& code, const Gemm& g, const GemmLayout& layout, const GemmPass& pass,
             const TaskGrid& grid, const float* packed, float* scratch)
      : code_(code),
        g_(g),
        layout_(layout),
        pass_(pass),
        grid_(grid),
        packed_(packed),
        scratch_(scratch),
        widened_(scratch + kScratch) {}

  // `first`: this thread's first task of the next pass.
  void run(Tasks& tasks, int64_t first) const {
    for (int64_t i = tasks.next(); i >= 0; i = tasks.next()) {
      const auto [block, group] = grid_.at(i);
      // The next panels are fetched while the tiles of these are computed.
      const int64_t next = tasks.peek();
      run_group(grid_.tiles_of(block), group, grid_.at(next >= 0 ? next : first).group,
                next >= 0 ? pass_.k : pass_.next_k);
    }
  }

 private:
  int panels_of(int64_t group) const {
    return static_cast<int>(
        std::min<int64_t>(code_.tile_panels, ceil_div(g_.columns, kPanel) - group * code_.tile_panels));
  }

  // Tiles of rows, counted within the chunk, x the panels of one tile.
  void run_group(Range tiles, int64_t group, int64_t next_group, int64_t next_k) const {
    const int64_t panel = group * code_.tile_panels;
    const int count = panels_of(group);
    const Panels own = panels_at(panel, count);
    const bool stays = next_group == group && next_k == pass_.k;
    const int64_t next_count = stays || next_k >= g_.k ? 0 : panels_of(next_group);
    PanelFetch fetch(tiles.end - tiles.begin, panel_at(next_group * code_.tile_panels, std::min(next_k, g_.k)),
                     next_count, std::min(layout_.depth, g_.k - next_k) * kPanel * element(), panel_stride());
    for (int64_t t = tiles.begin; t < tiles.end; ++t) run_tile(t, panel, count, own, fetch.next());
  }

  struct Panels {
    const float* from = nullptr;
    int64_t stride = 0;
  };

  int64_t element() const { return g_.w_is_bf16 ? bytes_of(Factors::kBf16) : 4; }
  int64_t panel_stride() const {
    return (g_.w_is_bf16 ? padded_depth(Factors::kBf16, g_.k) : g_.k) * kPanel * element();
  }
  const std::byte* panel_at(int64_t panel, int64_t k) const {
    return static_cast<const std::byte*>(g_.w) + panel * panel_stride() + k * kPanel * element();
  }

  // The pass's rows of `count` panels as f32.
  Panels panels_at(int64_t panel, int count) const {
    if (!g_.w_is_bf16) return {reinterpret_cast<const float*>(panel_at(panel, pass_.k)), g_.k * kPanel};
    const int64_t stride = layout_.depth * kPanel;
    for (int i = 0; i < count; ++i)
      code_.widen_bf16(panel_at(panel + i, pass_.k), ceil_div(pass_.depth, 2), widened_ + i * stride);
    return {widened_, stride};
  }

  void run_tile(int64_t tile, int64_t panel, int panels, const Panels& b, const Prefetch& next) const {
    const int rows = tile_rows_of(code_, g_, pass_.tiles.begin + tile);
    const int64_t row = (pass_.tiles.begin + tile) * code_.tile_rows, column = panel * kPanel;
    const int64_t columns = std::min<int64_t>(panels * kPanel, g_.columns - column);
    float* y = g_.y + row * g_.y_stride + column;
    GemmTile t{.a = packed_ + tile * pass_.depth * kPackWidth,
               .a_stride = kPackWidth,
               .b = b.from,
               .b_panel_stride = b.stride,
               .c = y,
               .c_stride = g_.y_stride,
               .k = pass_.depth,
               .rows = rows,
               .panels = panels,
               .accumulate = pass_.k > 0,
               .prefetch = next};
    const Epilogue epilogue = g_.epilogue.at(row, column);
    prefetch_rows_to_write(y, g_.y_stride * 4, rows, columns * 4);
    if (epilogue.residual != nullptr)
      prefetch_rows(epilogue.residual, epilogue.residual_stride * epilogue.element(), rows,
                    columns * epilogue.element());
    const bool partial = columns < panels * kPanel;
    if (partial) {
      t.c = scratch_;
      t.c_stride = panels * kPanel;
      if (t.accumulate)
        for (int r = 0; r < rows; ++r) std::copy_n(y + r * g_.y_stride, columns, scratch_ + r * t.c_stride);
    }
    code_.gemm(t);
    if (partial)
      for (int r = 0; r < rows; ++r) std::copy_n(scratch_ + r * t.c_stride, columns, y + r * g_.y_stride);
    const bool plain =
        epilogue.bias == nullptr && epilogue.residual == nullptr && epilogue.activation == Activation::kNone;
    if (pass_.k + pass_.depth < g_.k || plain) return;
    code_.epilogue(y, g_.y_stride, y, g_.y_stride, rows, columns, epilogue);
  }

  const VectorCode& code_;
  const Gemm& g_;
  const GemmLayout& layout_;
  const GemmPass& pass_;
  const TaskGrid& grid_;
  const float* packed_;
  float* scratch_;
  float* widened_;
};

void pack_rows(const VectorCode& code, const Gemm& g, const GemmPass& pass, float* packed, ThreadPool* pool) {
  constexpr int64_t kWorthwhile = 16384;  // elements
  const int64_t count = pass.tiles.end - pass.tiles.begin;
  const bool many = count * code.tile_rows * pass.depth >= kWorthwhile;
  share_tasks(many ? pool : nullptr, count, [&](Tasks& tasks, int) {
    for (int64_t i = tasks.next(); i >= 0; i = tasks.next()) {
      const int64_t tile = pass.tiles.begin + i;
      code.transpose_rows(g.x + tile * code.tile_rows * g.x_stride + pass.k, g.x_stride, tile_rows_of(code, g, tile),
                          pass.depth, kPackWidth, packed + i * pass.depth * kPackWidth);
    }
  });
}

}  // namespace

void pack_panels(const float* w, int64_t row_stride, int64_t column_stride, int64_t k, int64_t columns, float* packed,
                 int64_t begin_panel, int64_t end_panel) {
  for (int64_t p = begin_panel; p < end_panel; ++p) {
    float* out = packed + p * k * kPanel;
    const float* from = w + p * kPanel * column_stride;
    const int64_t filled = std::min<int64_t>(kPanel, columns - p * kPanel);
    for (int64_t i = 0; i < k; ++i, out += kPanel) {
      if (column_stride == 1) {
        std::copy_n(from + i * row_stride, filled, out);
      } else {
        for (int64_t j = 0; j < filled; ++j) out[j] = from[i * row_stride + j * column_stride];
      }
      std::fill(out + filled, out + kPanel, 0.0f);
    }
  }
}

size_t gemm_workspace(const VectorCode& code, int64_t rows, int64_t k, int threads, bool w_is_bf16,
                      const Blocking& blocking) {
  return static_cast<size_t>(GemmLayout(code, rows, k, w_is_bf16, threads, blocking).floats(threads)) * sizeof(float);
}

void gemm(const VectorCode& code, const Gemm& g, void* workspace, ThreadPool* pool) {
  if (g.rows == 0 || g.columns == 0) return;
  const int threads = pool == nullptr ? 1 : pool->threads();
  const GemmLayout layout(code, g.rows, g.k, g.w_is_bf16, threads, g.blocking);
  auto* packed = static_cast<float*>(workspace);
  const int64_t groups = ceil_div(ceil_div(g.columns, kPanel), code.tile_panels);  // of panels
  for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
    const Range tiles = share(layout.tiles, chunk, layout.chunks);
    const TaskGrid grid(tiles.end - tiles.begin, groups, layout.block_tiles, threads, g.blocking);
    for (int64_t k = 0; k < std::max<int64_t>(g.k, 1); k += layout.depth) {
      const int64_t depth = std::min(layout.depth, g.k - k);
      const bool last = k + depth >= g.k;
      const GemmPass pass{tiles, k, depth, !last ? k + depth : chunk + 1 < layout.chunks ? 0 : g.k};
      pack_rows(code, g, pass, packed, pool);
      share_tasks(pool, grid.count(), [&](Tasks& tasks, int thread) {
        float* scratch = packed + layout.packed_floats + thread * layout.thread_floats();
        GemmWorker(code, g, layout, pass, grid, packed, scratch).run(tasks, grid.count() * thread / threads);
      });
    }
  }
}

std::vector<Blocking> gemm_blockings(int64_t k) {
  std::vector<Blocking> out;
  for (const int64_t most : {384, 768, 1024, 1536}) {
    const bool seen = std::any_of(out.begin(), out.end(),
                                  [&](const Blocking& b) { return block_k(k, b) == block_k(k, {.depth = most}); });
    if (seen) continue;
    for (const int64_t rows : {32, 64, 128, 256})
      for (const auto split : {Blocking::Split::kRows, Blocking::Split::kColumns})
        out.push_back({.rows = rows, .depth = most, .split = split});
  }
  return out;
}

double gemm_cost(const VectorCode& code, int64_t rows, int64_t k, int64_t columns, int threads,
                 const Blocking& blocking) {
  constexpr double kReloading = 0.02, kThrashing = 0.15;  // of the multiply-adds: sums again for each depth, no cache
  constexpr double kPacking = 0.3;                        // of a tile of X, in units of the tile's multiply-adds
  constexpr double kPerSecond = 5e9;                      // vectors that a core multiplies and adds
  const GemmLayout layout(code, rows, k, false, threads, blocking);
  const int64_t tiles = ceil_div(layout.tiles, layout.chunks);
  const TaskGrid grid(tiles, ceil_div(ceil_div(columns, kPanel), code.tile_panels), layout.block_tiles, threads,
                      blocking);
  const int64_t block = ceil_div(tiles, grid.blocks());
  const bool fits = (block * kPackWidth + 2 * code.tile_panels * kPanel) * layout.depth * 4 <= second_level_cache();
  const double extra = kReloading * static_cast<double>(ceil_div(k, layout.depth) - 1) + (fits ? 0 : kThrashing);
  const double vectors = static_cast<double>(code.tile_rows * code.tile_panels * k);
  const double packing = kPacking * static_cast<double>(ceil_div(tiles, threads));
  return (grid.cost() + packing) * static_cast<double>(layout.chunks) * (1 + extra) * vectors / kPerSecond;
}

}  // namespace tenon::kernels::cpu
