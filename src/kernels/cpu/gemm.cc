#include "kernels/cpu/gemm.h"

#include <algorithm>

#include "kernels/cpu/split.h"

namespace tenon::kernels::cpu {
namespace {

constexpr int kPackWidth = 8;        // rows side by side in a packed block of X, whatever the tile uses of them
constexpr int64_t kBlockRows = 128;  // a block of X, 128 x 1024 floats at most, stays in the second-level cache
constexpr int64_t kBlockK = 1024;
constexpr int64_t kScratch = 8 * 3 * kPanel;  // one tile of Y, for columns that do not fill a panel
constexpr double kPacking = 0.3;              // of a tile of X, in units of the tile's multiply-adds

// Blocks over K begin between pairs; sums go on where the block before left them, so they change no bit.
int64_t block_k(int64_t k, const Blocking& blocking) {
  const int64_t most = blocking.depth > 0 ? blocking.depth : kBlockK;
  const int64_t depth = ceil_div(k, std::max<int64_t>(1, ceil_div(k, most)));
  return std::max<int64_t>(2, depth + depth % 2);
}

int64_t tiles_per_block(const VectorCode& code, const Blocking& blocking) {
  return std::max<int64_t>(1, (blocking.rows > 0 ? blocking.rows : kBlockRows) / code.tile_rows);
}

int64_t thread_floats(const VectorCode& code, int64_t rows, int64_t k, bool w_is_bf16, const Blocking& blocking) {
  const int64_t tiles = std::min(ceil_div(rows, code.tile_rows), tiles_per_block(code, blocking));
  const int64_t depth = block_k(k, blocking);
  return tiles * kPackWidth * depth + kScratch + (w_is_bf16 ? code.tile_panels * kPanel * depth : 0);
}

class Worker {
 public:
  Worker(const VectorCode& code, const Gemm& g, float* workspace)
      : code_(code),
        g_(g),
        block_k_(block_k(g.k, g.blocking)),
        widened_(workspace + kScratch),
        packed_(widened_ + (g.w_is_bf16 ? code.tile_panels * kPanel * block_k_ : 0)),
        scratch_(workspace) {}

  // Tiles of rows [rows.begin, rows.end) x panels of columns.
  void run(Range tiles, Range panels) const {
    const int64_t blocks = ceil_div(tiles.end - tiles.begin, tiles_per_block(code_, g_.blocking));
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
        const Panels own = panels_at(p, count, k, depth);
        // The next panels are fetched while the tiles of these are computed; after the last the first of the next
        // depth.
        const bool wraps = p + count == panels.end;
        const int64_t next_k = wraps ? k + depth : k, next = wraps ? panels.begin : p + count;
        const int64_t next_count = next_k < g_.k ? std::min<int64_t>(code_.tile_panels, panels.end - next) : 0;
        const int64_t next_bytes = std::min(block_k_, g_.k - next_k) * kPanel * element();
        PanelFetch fetch(tiles.end - tiles.begin, panel_at(next, next_k), next_count, next_bytes, panel_stride());
        for (int64_t t = tiles.begin; t < tiles.end; ++t)
          run_tile(t, packed_ + (t - tiles.begin) * depth * kPackWidth, p, count, own, k, depth, fetch.next());
      }
    }
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

  // `depth` rows of `count` panels as f32.
  Panels panels_at(int64_t panel, int count, int64_t k, int64_t depth) const {
    if (!g_.w_is_bf16) return {reinterpret_cast<const float*>(panel_at(panel, k)), g_.k * kPanel};
    const int64_t stride = block_k_ * kPanel;
    for (int i = 0; i < count; ++i) code_.widen_bf16(panel_at(panel + i, k), ceil_div(depth, 2), widened_ + i * stride);
    return {widened_, stride};
  }

  void run_tile(int64_t tile, const float* a, int64_t panel, int panels, const Panels& b, int64_t k, int64_t depth,
                const Prefetch& next) const {
    const int rows = static_cast<int>(rows_of(tile));
    const int64_t row = tile * code_.tile_rows, column = panel * kPanel;
    const int64_t columns = std::min<int64_t>(panels * kPanel, g_.columns - column);
    float* y = g_.y + row * g_.y_stride + column;
    GemmTile t{.a = a,
               .a_stride = kPackWidth,
               .b = b.from,
               .b_panel_stride = b.stride,
               .c = y,
               .c_stride = g_.y_stride,
               .k = depth,
               .rows = rows,
               .panels = panels,
               .accumulate = k > 0,
               .prefetch = next};
    const Epilogue epilogue = g_.epilogue.at(row, column);
    if (t.accumulate) prefetch_rows(y, g_.y_stride * 4, rows, columns * 4);
    prefetch_residual(epilogue, rows, columns);
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
    const bool plain =
        epilogue.bias == nullptr && epilogue.residual == nullptr && epilogue.activation == Activation::kNone;
    if (k + depth < g_.k || plain) return;
    code_.epilogue(y, g_.y_stride, y, g_.y_stride, rows, columns, epilogue);
  }

  const VectorCode& code_;
  const Gemm& g_;
  int64_t block_k_;
  float* widened_;  // panels of bf16 as f32
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

size_t gemm_workspace(const VectorCode& code, int64_t rows, int64_t k, int threads, bool w_is_bf16,
                      const Blocking& blocking) {
  return static_cast<size_t>(thread_floats(code, rows, k, w_is_bf16, blocking) * threads) * sizeof(float);
}

void gemm(const VectorCode& code, const Gemm& g, void* workspace, ThreadPool* pool) {
  if (g.rows == 0 || g.columns == 0) return;
  const int threads = pool == nullptr ? 1 : pool->threads();
  const int64_t tiles = ceil_div(g.rows, code.tile_rows), panels = ceil_div(g.columns, kPanel);
  const int64_t groups = ceil_div(panels, code.tile_panels);  // of columns
  const int row_count = row_parts(tiles, groups, 1, tiles_per_block(code, g.blocking), threads, kPacking, g.blocking);
  const int column_count = threads / row_count;
  const int64_t floats = thread_floats(code, g.rows, g.k, g.w_is_bf16, g.blocking);
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
  constexpr double kPerSecond = 5e9;                      // vectors that a core multiplies and adds
  const int64_t tiles = ceil_div(rows, code.tile_rows), groups = ceil_div(ceil_div(columns, kPanel), code.tile_panels);
  const int64_t of_block = tiles_per_block(code, blocking), depth = block_k(k, blocking);
  const int parts = row_parts(tiles, groups, 1, of_block, threads, kPacking, blocking);
  const int64_t block = std::min(ceil_div(tiles, parts), of_block);
  const bool fits = (block * kPackWidth + 2 * code.tile_panels * kPanel) * depth * 4 <= second_level_cache();
  const double extra = kReloading * static_cast<double>(ceil_div(k, depth) - 1) + (fits ? 0 : kThrashing);
  const double vectors = static_cast<double>(code.tile_rows * code.tile_panels * k);
  return split_cost(tiles, groups, 1, of_block, parts, threads, kPacking) * (1 + extra) * vectors / kPerSecond;
}

}  // namespace tenon::kernels::cpu
