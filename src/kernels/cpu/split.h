// How a packed product is split: into ranges of tiles of rows and of groups of column panels, one of each for a thread.
#pragma once

#include "kernels/cpu/blocking.h"
#include "kernels/cpu/cpu_kernel.h"
#include "kernels/cpu/prefetch.h"

namespace tenon::kernels::cpu {

struct Range {
  int64_t begin = 0, end = 0;
};

inline Range share(int64_t count, int64_t index, int64_t parts) {
  return {count * index / parts, count * (index + 1) / parts};
}

// The shape of gathering tiles that leaves the fewest panels of the last tile idle.
inline TileShape gather_shape(const VectorCode& code, int64_t panels) {
  const auto idle = [&](const TileShape& s) { return ceil_div(panels, s.panels) * s.panels - panels; };
  const auto& [usual, wide] = code.gather_shapes;
  return idle(wide) < idle(usual) ? wide : usual;
}

// What the slowest thread does when `parts` of the threads share the rows and the others the columns, in panels of
// which a tile has `group`. Costs are in units of one tile's multiply-adds; `packing` is that of packing a tile of X,
// which each part of the columns does again.
inline double split_cost(int64_t tiles, int64_t panels, int64_t group, int64_t tiles_of_block, int parts, int threads,
                         double packing) {
  constexpr double kFetching = 2;  // of a tile's panels, for each block of rows, as far as it is not hidden
  const auto own_tiles = static_cast<double>(ceil_div(tiles, parts));
  const double own_groups = static_cast<double>(ceil_div(panels, threads / parts)) / static_cast<double>(group);
  const auto blocks = static_cast<double>(ceil_div(ceil_div(tiles, parts), tiles_of_block));
  return own_tiles * own_groups + packing * own_tiles + kFetching * own_groups * blocks;
}

// How many threads share the rows.
inline int row_parts(int64_t tiles, int64_t panels, int64_t group, int64_t tiles_of_block, int threads, double packing,
                     const Blocking& blocking = {}) {
  if (blocking.split == Blocking::Split::kRows) return threads;
  if (blocking.split == Blocking::Split::kColumns) return 1;
  int best = 1;
  double least = 0;
  for (int parts = 1; parts <= threads; ++parts) {
    if (threads % parts != 0) continue;
    const double cost = split_cost(tiles, panels, group, tiles_of_block, parts, threads, packing);
    if (parts == 1 || cost < least) {
      least = cost;
      best = parts;
    }
  }
  return best;
}

// A packed product as tasks for whoever has time (ThreadPool::share): blocks of tiles of rows x groups of panels, in
// the order in which one thread takes them.
class TaskGrid {
 public:
  // At most `most` tiles a block; fewer where all threads find work so.
  TaskGrid(int64_t tiles, int64_t groups, int64_t most, int threads, const Blocking& blocking)
      : tiles_(tiles), groups_(groups), threads_(threads), blocks_(ceil_div(tiles, most)) {
    if (blocking.split == Blocking::Split::kRows) blocks_ = std::max(blocks_, std::min<int64_t>(tiles, threads));
    by_columns_ = blocking.split == Blocking::Split::kColumns;
    if (blocking.split != Blocking::Split::kAuto) return;
    int64_t best = blocks_;
    double least = cost();
    for (++blocks_; blocks_ <= std::min<int64_t>(tiles, threads); ++blocks_) {
      if (cost() >= least) continue;
      least = cost();
      best = blocks_;
    }
    blocks_ = best;
  }

  struct Task {
    int64_t block = 0, group = 0;
  };
  int64_t count() const { return blocks_ * groups_; }
  Task at(int64_t task) const {
    if (by_columns_) return {task % blocks_, task / blocks_};
    return {task / groups_, task % groups_};
  }
  int64_t blocks() const { return blocks_; }
  Range tiles_of(int64_t block) const { return share(tiles_, block, blocks_); }

  // What the busiest of threads of one speed does, in units of a tile's multiply-adds.
  double cost() const {
    constexpr double kFetching = 2;  // of a group's panels, as far as it is not hidden
    const auto own = static_cast<double>(ceil_div(count(), threads_));
    return own * (static_cast<double>(ceil_div(tiles_, blocks_)) + kFetching);
  }

 private:
  int64_t tiles_, groups_;
  int threads_;
  int64_t blocks_;
  bool by_columns_ = false;
};


// Shares the fetching of the panels that come next out to tiles in order.
class PanelFetch {
 public:
  // `first`: the first of them, `stride` bytes before the second.
  PanelFetch(int64_t tiles, const void* first, int64_t panels, int64_t panel_bytes, int64_t stride)
      : from_(static_cast<const char*>(first)), left_(panels), stride_(stride), bytes_(panel_bytes) {
    if (tiles < panels) {
      each_ = ceil_div(panels, tiles);
    } else if (panels > 0) {
      sharers_ = tiles / panels;
      bytes_ = ceil_div(ceil_div(panel_bytes, kCacheLine), sharers_) * kCacheLine;
    }
  }

  // What the next tile fetches.
  Prefetch next() {
    if (left_ <= 0) return {};
    const Prefetch own{from_ + sharer_ * bytes_, bytes_, static_cast<int>(std::min(each_, left_)), stride_};
    if (++sharer_ == sharers_) {
      sharer_ = 0;
      left_ -= each_;
      from_ += each_ * stride_;
    }
    return own;
  }

 private:
  const char* from_;
  int64_t left_, stride_, bytes_;
  int64_t each_ = 1;                  // panels of a tile
  int64_t sharers_ = 1, sharer_ = 0;  // tiles of a panel
};


}  // namespace tenon::kernels::cpu
