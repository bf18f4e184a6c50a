#include "kernels/cpu/gemm.h"

#include <algorithm>

#include "kernels/cpu/cpu_kernel.h"

namespace tenon::kernels::cpu {
namespace {

constexpr int kPackWidth = 8;        // rows side by side in a packed block of X, whatever the tile uses of them
constexpr int64_t kBlockRows = 128;  // a block of X, 128 x 1024 floats at most, stays in the second-level cache
constexpr int64_t kBlockK = 1024;
constexpr int64_t kLine = 64;                 // bytes of a cache line
constexpr int64_t kScratch = 8 * 3 * kPanel;  // one tile of Y, for columns that do not fill a panel

// Blocks over K are chosen by K alone.
int64_t block_k(int64_t k) { return std::max<int64_t>(1, ceil_div(k, ceil_div(k, kBlockK))); }

int64_t tiles_per_block(const VectorCode& code) { return std::max<int64_t>(1, kBlockRows / code.tile_rows); }

int64_t thread_floats(const VectorCode& code, int64_t rows, int64_t k) {
  const int64_t tiles = std::min(ceil_div(rows, code.tile_rows), tiles_per_block(code));
  return tiles * kPackWidth * block_k(k) + kScratch;
}

// How many threads share the rows; the others share the columns. Costs are in units of one tile's multiply-adds.
int row_parts(int64_t tiles, int64_t groups, int64_t tiles_of_block, int threads) {
  constexpr double kPacking = 0.3;  // of a tile of X; each part of the columns packs X again
  constexpr double kFetching = 2;   // of a group of panels, for each block of rows, as far as it is not hidden
  int best = 1;
  double least = 0;
  for (int parts = 1; parts <= threads; ++parts) {
    if (threads % parts != 0) continue;
    const auto own_tiles = static_cast<double>(ceil_div(tiles, parts));
    const auto own_groups = static_cast<double>(ceil_div(groups, threads / parts));
    const auto blocks = static_cast<double>(ceil_div(ceil_div(tiles, parts), tiles_of_block));
    const double cost = own_tiles * own_groups + kPacking * own_tiles + kFetching * own_groups * blocks;
    if (parts == 1 || cost < least) {
      least = cost;
      best = parts;
    }
  }
  return best;
}

struct Range {
  int64_t begin = 0, end = 0;
};

Range share(int64_t count, int64_t index, int64_t parts) {
  return {count * index / parts, count * (index + 1) / parts};
}

struct Prefetch {
  const char* from = nullptr;
  int64_t step = 0;
};

class Worker {
 public:
  Worker(const VectorCode& code, const Gemm& g, float* workspace)
      : code_(code), g_(g), block_k_(block_k(g.k)), packed_(workspace + kScratch), scratch_(workspace) {}

  // Tiles of rows [rows.begin, rows.end) x panels of columns.
  void run(Range tiles, Range panels) const {
    const int64_t blocks = ceil_div(tiles.end - tiles.begin, tiles_per_block(code_));
    for (int64_t i = 0; i < blocks; ++i) {
      const Range part = share(tiles.end - tiles.begin, i, blocks);
      run_block({tiles.begin + part.begin, tiles.begin + part.end}, panels);
    }
  }

 private:
  int64_t rows_of(int64_t tile) const { return std::min<int64_t>(code_.tile_rows, g_.rows - tile * code_.tile_rows); }

  void run_block(Range tiles, Range panels) const {
    for (int64_t k = 0; k < std::max<int64_t>(g_.k, 1); k += block_k_) {
      const int64_t depth = std::min(block_k_, g_.k - k);
      for (int64_t t = tiles.begin; t < tiles.end; ++t) {
        const float* x = g_.x + t * code_.tile_rows * g_.x_stride + k;
        code_.transpose_rows(x, g_.x_stride, static_cast<int>(rows_of(t)), depth, kPackWidth,
                             packed_ + (t - tiles.begin) * depth * kPackWidth);
      }
      for (int64_t p = panels.begin; p < panels.end; p += code_.tile_panels) {
        const int count = static_cast<int>(std::min<int64_t>(code_.tile_panels, panels.end - p));
        const int next_count = static_cast<int>(std::min<int64_t>(code_.tile_panels, panels.end - p - count));
        // The next panels are fetched while the tiles of these are computed: so many tiles share one panel.
        const int64_t sharers = next_count == 0 ? 0 : std::max<int64_t>(1, (tiles.end - tiles.begin) / next_count);
        for (int64_t t = tiles.begin; t < tiles.end; ++t) {
          const int64_t i = t - tiles.begin;
          Prefetch next;
          if (i < sharers * next_count) {
            next.step = (kLine + sharers - 1) / sharers;
            next.from =
                reinterpret_cast<const char*>(panel_at(p + count + i / sharers, k)) + i % sharers * depth * next.step;
          }
          run_tile(t, packed_ + i * depth * kPackWidth, p, count, k, depth, next);
        }
      }
    }
  }

  const float* panel_at(int64_t panel, int64_t k) const { return g_.w + (panel * g_.k + k) * kPanel; }

  void run_tile(int64_t tile, const float* a, int64_t panel, int panels, int64_t k, int64_t depth,
                Prefetch next) const {
    const int rows = static_cast<int>(rows_of(tile));
    const int64_t row = tile * code_.tile_rows, column = panel * kPanel;
    const int64_t columns = std::min<int64_t>(panels * kPanel, g_.columns - column);
    float* y = g_.y + row * g_.y_stride + column;
    GemmTile t{.a = a,
               .a_stride = kPackWidth,
               .b = panel_at(panel, k),
               .b_panel_stride = g_.k * kPanel,
               .c = y,
               .c_stride = g_.y_stride,
               .k = depth,
               .rows = rows,
               .panels = panels,
               .accumulate = k > 0,
               .prefetch = next.from,
               .prefetch_step = next.step};
    const bool partial = columns < panels * kPanel;
    if (partial) {
      t.c = scratch_;
      t.c_stride = panels * kPanel;
      if (k > 0)
        for (int r = 0; r < rows; ++r) std::copy_n(y + r * g_.y_stride, columns, scratch_ + r * t.c_stride);
    }
    code_.gemm(t);
    if (partial)
      for (int r = 0; r < rows; ++r) std::copy_n(scratch_ + r * t.c_stride, columns, y + r * g_.y_stride);
    const Epilogue& all = g_.epilogue;
    const bool plain = all.bias == nullptr && all.residual == nullptr && all.activation == Activation::kNone;
    if (k + depth < g_.k || plain) return;
    Epilogue e = all;
    if (e.bias != nullptr) e.bias += column;
    if (e.residual != nullptr) e.residual += row * e.residual_stride + column;
    code_.epilogue(y, g_.y_stride, rows, columns, e);
  }

  const VectorCode& code_;
  const Gemm& g_;
  int64_t block_k_;
  float* packed_;
  float* scratch_;
};

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

size_t gemm_workspace(const VectorCode& code, int64_t rows, int64_t k, int threads) {
  return static_cast<size_t>(thread_floats(code, rows, k) * threads) * sizeof(float);
}

void gemm(const VectorCode& code, const Gemm& g, void* workspace, ThreadPool* pool) {
  if (g.rows == 0 || g.columns == 0) return;
  const int threads = pool == nullptr ? 1 : pool->threads();
  const int64_t tiles = ceil_div(g.rows, code.tile_rows), panels = ceil_div(g.columns, kPanel);
  const int64_t groups = ceil_div(panels, code.tile_panels);  // of columns
  const int row_count = row_parts(tiles, groups, tiles_per_block(code), threads), column_count = threads / row_count;
  const int64_t floats = thread_floats(code, g.rows, g.k);
  const auto body = [&](int64_t begin, int64_t end, int thread) {
    const Worker worker(code, g, static_cast<float*>(workspace) + thread * floats);
    for (int64_t i = begin; i < end; ++i) {
      const Range columns = share(groups, i % column_count, column_count);
      const Range part{columns.begin * code.tile_panels, std::min(columns.end * code.tile_panels, panels)};
      worker.run(share(tiles, i / column_count, row_count), part);
    }
  };
  if (pool == nullptr) return body(0, 1, 0);
  pool->parallel_for(threads, body);
}

}  // namespace tenon::kernels::cpu
