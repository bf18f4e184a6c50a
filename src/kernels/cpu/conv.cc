// conv on images whose channels are last: y = activation(x * w + bias) + residual, or the activation of the sum.
//
// An implicit product: a pixel of y is a row, a filter a column, and k runs over taps and channels. The tiles of the
// product (VectorCode::gather) read x where it stands, through a table of pointers to the rows of channels that each
// tap of each pixel covers; taps outside of the image are rows of zeros. Filters are packed as panels [tap,
// channel][16], for each group by itself. A pixel's sums depend neither on the other pixels nor on the thread count.
//
// Where a tap has few channels (the first layer's three), the taps of the window's last axis are read as one piece,
// which stands in a row in memory but for pixels at the edge, whose pieces are copied with zeros.
#include <limits>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/split.h"
#include "kernels/cpu/window_rows.h"

namespace tenon::kernels::cpu {
namespace {

constexpr int64_t kMostPixels = 256;  // of x: their channels and a group of panels stay in the second-level cache
constexpr int64_t kMostDepth = 1024;
constexpr int64_t kMostPieces = 4096;  // pointers of a block, over eight
constexpr int64_t kFewChannels = 16;
constexpr int64_t kTileFloats = 24 * kPanel;  // one tile of y, for columns that do not fill a panel

struct ConvGeometry {
  ops::Window window;
  int64_t groups = 1, channels = 0, filters = 0;  // of x and y, all groups
  bool joined = false;                            // the taps of the last axis are one piece
  bool pointwise = false;                         // a pixel of y is made of the same pixel of x
  int64_t pieces = 0, piece = 0;                  // of a row, and elements of each
  TileShape tile;

  ConvGeometry(const VectorCode& code, const Attrs& attrs, const RunArgs& args)
      : window(ops::Window::of(attrs, args, args.input(kX).shape, args.output().shape, args.input(kW).shape.subspan(2),
                               1)),
        groups(attrs.integer("group")),
        channels(args.input(kX).dim(-1)),
        filters(args.output().dim(-1)) {
    const int64_t own = channels / groups;
    joined = groups == 1 && window.dilation[2] == 1 && own < kFewChannels && window.kernel[2] > 1;
    piece = joined ? own * window.kernel[2] : own;
    pointwise = window.kernel_size() == 1 && window.in == window.out && window.before == std::array<int64_t, 3>{};
    tile = gather_shape(code, own_panels());
    pieces = joined ? window.kernel[0] * window.kernel[1] : window.kernel_size();
  }

  int64_t k() const { return pieces * piece; }
  int64_t own_filters() const { return filters / groups; }
  int64_t own_panels() const { return ceil_div(own_filters(), kPanel); }
  int64_t tiles_per_block() const {
    const int64_t most = std::min(kMostPixels / tile.rows, kMostPieces / std::max<int64_t>(pieces, 1));
    return std::max<int64_t>(1, most);
  }
};

// A thread's memory.
struct ConvScratch {
  float *zeros, *tile, *pad;
  int64_t* offsets;
  const float** rows;  // [tile of the block][piece][kGatherRows]

  static int64_t pad_floats(const ConvGeometry& g) { return g.joined ? g.tiles_per_block() * kGatherRows * g.k() : 0; }
  static size_t bytes(const ConvGeometry& g) {
    const int64_t floats = whole_lines(g.piece) + kTileFloats + whole_lines(pad_floats(g));
    const int64_t words = g.window.kernel_size() + g.tiles_per_block() * g.pieces * kGatherRows;
    return static_cast<size_t>(floats * 4 + whole_lines(2 * words) * 4);
  }
  ConvScratch(const ConvGeometry& g, void* memory, int thread) {
    auto* at = reinterpret_cast<float*>(static_cast<std::byte*>(memory) + bytes(g) * static_cast<size_t>(thread));
    zeros = at;
    tile = zeros + whole_lines(g.piece);
    pad = tile + kTileFloats;
    offsets = reinterpret_cast<int64_t*>(pad + whole_lines(pad_floats(g)));
    rows = reinterpret_cast<const float**>(offsets + g.window.kernel_size());
    std::fill_n(zeros, g.piece, 0.0f);
  }
};

struct Conv {
  const float *x, *w;
  float* y;
  int64_t pixels;  // of y, all images
  Epilogue epilogue;
  Finish finish;  // the same, where tiles can do it
};

// A thread's share of one group.
class ConvWorker {
 public:
  ConvWorker(const VectorCode& code, const ConvGeometry& g, const Conv& c, int64_t group, const ConvScratch& scratch)
      : code_(code),
        g_(g),
        c_(c),
        scratch_(scratch),
        rows_(g.window, c.x + group * (g.channels / g.groups), g.channels, scratch.offsets),
        w_(c.w + group * g.own_panels() * g.k() * kPanel),
        first_filter_(group * g.own_filters()) {}

  // Tiles of pixels x panels of the group's filters.
  void run(Range tiles, Range panels) const {
    const int64_t blocks = ceil_div(tiles.end - tiles.begin, g_.tiles_per_block());
    for (int64_t i = 0; i < blocks; ++i) {
      const Range part = share(tiles.end - tiles.begin, i, blocks);
      run_block({tiles.begin + part.begin, tiles.begin + part.end}, panels);
    }
  }

 private:
  // A part of k: some pieces, or of one piece some elements.
  struct Depth {
    int64_t piece, pieces, first, length;
    int64_t elements() const { return pieces * length; }
  };

  int rows_of(int64_t tile) const {
    return static_cast<int>(std::min<int64_t>(g_.tile.rows, c_.pixels - tile * g_.tile.rows));
  }

  void find_rows(Range tiles) const {
    if (g_.pointwise) {
      const float* x = rows_.first() + tiles.begin * g_.tile.rows * g_.channels;
      for (int64_t t = 0; t < tiles.end - tiles.begin; ++t)
        for (int r = 0; r < g_.tile.rows; ++r, x += g_.channels) scratch_.rows[t * kGatherRows + r] = x;
      return;
    }
    WindowRows::Pixel pixel = rows_.pixel(tiles.begin * g_.tile.rows);
    for (int64_t t = tiles.begin; t < tiles.end; ++t) {
      const float** rows = scratch_.rows + (t - tiles.begin) * g_.pieces * kGatherRows;
      float* pad = scratch_.pad + (t - tiles.begin) * kGatherRows * g_.k();
      for (int r = 0; r < rows_of(t); ++r, rows_.advance(pixel)) {
        if (g_.joined)
          rows_.find_pieces(pixel, scratch_.zeros, pad + r * g_.k(), rows + r, kGatherRows);
        else
          rows_.find(pixel, scratch_.zeros, rows + r, kGatherRows);
      }
    }
  }

  // Blocks of k are chosen by the geometry alone.
  template <class Body>
  void for_each_depth(Body&& body) const {
    if (g_.piece > kMostDepth) {
      const int64_t length = ceil_div(g_.piece, ceil_div(g_.piece, kMostDepth));
      for (int64_t p = 0; p < g_.pieces; ++p)
        for (int64_t first = 0; first < g_.piece; first += length)
          body(Depth{p, 1, first, std::min(length, g_.piece - first)});
    } else {
      const int64_t count = ceil_div(g_.pieces, std::max<int64_t>(1, ceil_div(g_.k(), kMostDepth)));
      for (int64_t p = 0; p < g_.pieces; p += count) body(Depth{p, std::min(count, g_.pieces - p), 0, g_.piece});
    }
  }

  // The rows of x that the last piece of a tile reads, as far as they stand side by side: what tiles before it did not.
  Prefetch rows_ahead(int64_t index, const Depth& depth) const {
    const float* from = scratch_.rows[((index + 1) * g_.pieces - 1) * kGatherRows] + depth.first;
    const int64_t bytes = g_.tile.rows * g_.window.stride[2] * g_.channels * 4;
    return {reinterpret_cast<const char*>(from), bytes, 1, 0};
  }

  void run_block(Range tiles, Range panels) const {
    find_rows(tiles);
    for_each_depth([&](const Depth& depth) {
      const int64_t k = depth.piece * g_.piece + depth.first;
      for (int64_t p = panels.begin; p < panels.end; p += g_.tile.panels) {
        const int count = static_cast<int>(std::min<int64_t>(g_.tile.panels, panels.end - p));
        // The next panels are fetched while the tiles of these are computed; after the last the first of the next
        // depth.
        const bool wraps = p + count == panels.end;
        const int64_t next_k = wraps ? k + depth.elements() : k, next = wraps ? panels.begin : p + count;
        const int64_t next_count = next_k < g_.k() ? std::min<int64_t>(g_.tile.panels, panels.end - next) : 0;
        const int64_t next_bytes = std::min(depth.elements(), g_.k() - next_k) * kPanel * 4;
        PanelFetch fetch(tiles.end - tiles.begin, w_ + (next * g_.k() + next_k) * kPanel, next_count, next_bytes,
                         g_.k() * kPanel * 4);
        for (int64_t t = tiles.begin; t < tiles.end; ++t) {
          run_tile(t, t - tiles.begin, p, count, k, depth, fetch.next(),
                   p == panels.begin && t + 1 < tiles.end ? rows_ahead(t + 1 - tiles.begin, depth) : Prefetch{});
        }
      }
    });
  }

  void run_tile(int64_t tile, int64_t index, int64_t panel, int panels, int64_t k, const Depth& depth,
                const Prefetch& next, const Prefetch& next_rows) const {
    const int rows = rows_of(tile);
    const int64_t row = tile * g_.tile.rows, column = first_filter_ + panel * kPanel;
    const int64_t columns = std::min<int64_t>(panels * kPanel, g_.own_filters() - panel * kPanel);
    float* y = c_.y + row * g_.filters + column;
    const bool partial = columns < panels * kPanel, last = k + depth.elements() == g_.k();
    // Sums that the tile does not finish go through the scratch: y may be the residual.
    const bool through = partial || (last && !c_.finish);
    GatherTile t{.rows = scratch_.rows + (index * g_.pieces + depth.piece) * kGatherRows,
                 .pieces = depth.pieces,
                 .first = depth.first,
                 .length = depth.length,
                 .b = w_ + (panel * g_.k() + k) * kPanel,
                 .b_panel_stride = g_.k() * kPanel,
                 .c = through ? scratch_.tile : y,
                 .c_stride = through ? panels * kPanel : g_.filters,
                 .rows_used = rows,
                 .panels = panels,
                 .accumulate = k > 0,
                 .finish = last && !through ? c_.finish.at(row, column) : Finish{},
                 .prefetch = next,
                 .next_rows = next_rows};
    // What is read or written when the sums are there.
    const auto* residual = static_cast<const float*>(c_.epilogue.residual);
    if (t.accumulate || residual == nullptr) prefetch_rows_to_write(y, g_.filters * 4, rows, columns * 4);
    if (residual != nullptr) prefetch_rows(residual + row * g_.filters + column, g_.filters * 4, rows, columns * 4);
    if (through && k > 0)
      for (int r = 0; r < rows; ++r) std::copy_n(y + r * g_.filters, columns, t.c + r * t.c_stride);
    code_.gather(t);
    if (through && last)
      code_.epilogue(t.c, t.c_stride, y, g_.filters, rows, columns, c_.epilogue.at(row, column));
    else if (through)
      for (int r = 0; r < rows; ++r) std::copy_n(t.c + r * t.c_stride, columns, y + r * g_.filters);
  }

  const VectorCode& code_;
  const ConvGeometry& g_;
  const Conv& c_;
  const ConvScratch& scratch_;
  WindowRows rows_;
  const float* w_;
  int64_t first_filter_;
};

void convolve(const VectorCode& code, const ConvGeometry& g, const Conv& c, void* workspace, ThreadPool* pool) {
  const int threads = pool == nullptr ? 1 : pool->threads();
  const int64_t tiles = ceil_div(c.pixels, g.tile.rows), column_groups = ceil_div(g.own_panels(), g.tile.panels);
  const int row_count = row_parts(tiles, column_groups, 1, g.tiles_per_block(), threads, 0);
  const int column_count = threads / row_count;
  const auto body = [&](int64_t begin, int64_t end, int thread) {
    const ConvScratch scratch(g, workspace, thread);
    for (int64_t i = begin; i < end; ++i) {
      const Range columns = share(column_groups, i % column_count, column_count);
      const Range panels{columns.begin * g.tile.panels, std::min(columns.end * g.tile.panels, g.own_panels())};
      for (int64_t group = 0; group < g.groups; ++group)
        ConvWorker(code, g, c, group, scratch).run(share(tiles, i / column_count, row_count), panels);
    }
  };
  if (pool == nullptr) return body(0, 1, 0);
  pool->parallel_for(threads, body);
}

// What a tile can do with its sums before it writes them; nothing where the activation needs more than bounds.
Finish finish_of(const Epilogue& e) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const bool plain = e.activation == Activation::kNone, six = e.activation == Activation::kRelu6;
  return {.present = plain || six || e.activation == Activation::kRelu,
          .bias = static_cast<const float*>(e.bias),
          .residual = static_cast<const float*>(e.residual),
          .residual_stride = e.residual_stride,
          .clamp_sum = e.activate_sum,
          .low = plain ? -kInfinity : 0.0f,
          .high = six ? 6.0f : kInfinity};
}

class ConvLauncher final : public Launcher {
 public:
  ConvLauncher(const Problem& problem, const VectorCode& code) : code_(code), attrs_(problem.attrs) {
    activation_ = activation_of(attrs_);
    activate_sum_ = attrs_.integer("activate_sum") != 0;
  }

  size_t workspace(const RunArgs& args, int threads) const override {
    return ConvScratch::bytes(ConvGeometry(code_, attrs_, args)) * static_cast<size_t>(threads);
  }

  Status launch(const RunArgs& args) const override {
    const TensorArg w = args.input(kW), y = args.output();
    const ConvGeometry g(code_, attrs_, args);
    if (g.channels != w.dim(1) * g.groups) {
      return error(ErrorCode::kBadInput, "weights {} in {} groups do not fit {}", ops::shape_text(w.shape), g.groups,
                   ops::shape_text(args.input(kX).shape));
    }
    if (y.numel() == 0) return {};
    const Epilogue epilogue{.bias = args.input(kBias).as<const float>(),
                            .residual = args.input(kResidual).as<const float>(),
                            .residual_stride = g.filters,
                            .activation = activation_,
                            .activate_sum = activate_sum_};
    const Conv conv{.x = args.input(kX).as<const float>(),
                    .w = w.as<const float>(),
                    .y = y.as<float>(),
                    .pixels = y.numel() / g.filters,
                    .epilogue = epilogue,
                    .finish = finish_of(epilogue)};
    convolve(code_, g, conv, args.workspace, args.pool);
    return {};
  }

 private:
  const VectorCode& code_;
  Attrs attrs_;
  Activation activation_;
  bool activate_sum_;
};

class ConvKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.conv.f32"; }

  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_conv) return Support::no("computes conv only");
    if (Support s = all_f32(problem); !s) return s;
    if (!problem.attrs.text("factors").empty()) return Support::no("factors of 8 bits are asked for");
    if (!ops::channels_last(problem.attrs)) return Support::no("the channels are not last");
    if (!is_constant(problem, kW)) return Support::no("the weights are computed when run");
    const ir::Shape& w = problem.inputs[kW].shape;
    if (!ir::all_const(w)) return Support::no("the weights' shape is symbolic");
    for (const ir::Dim& size : w)
      if (size.value() < 1) return Support::no("the weights are empty");
    return Support::yes();
  }

  // Where k is one block: else y holds sums before the residual is read.
  bool in_place(const Problem& problem, int index) const override {
    return index == kResidual && row_size(ir::const_values(problem.inputs[kW].shape)) <= kMostDepth;
  }

  std::optional<TensorType> packed_type(const Problem& problem, int index) const override {
    if (index != kW) return std::nullopt;
    const std::vector<int64_t> w = ir::const_values(problem.inputs[kW].shape);
    const int64_t groups = problem.attrs.integer("group");
    return TensorType{DType::kF32, {ir::Dim(groups * packed_size(row_size(w), w[0] / groups))}};
  }

  Result<Tensor> prepack(const Problem& problem, int, const Tensor& w) const override {
    const int64_t groups = problem.attrs.integer("group"), own = w.shape()[0] / groups, k = row_size(w.shape());
    const int64_t channels = w.shape()[1], taps = k / channels;
    std::byte *bytes = nullptr, *ordered_bytes = nullptr;
    TENON_ASSIGN(Tensor packed, Tensor::allocate(DType::kF32, {groups * packed_size(k, own)}, &bytes));
    TENON_ASSIGN(const Tensor ordered, Tensor::allocate(DType::kF32, {own, k}, &ordered_bytes));
    auto* filters = reinterpret_cast<float*>(ordered_bytes);  // of a group: [filter][tap, channel]
    for (int64_t group = 0; group < groups; ++group) {
      const float* from = w.as<float>() + group * own * k;
      for (int64_t f = 0; f < own; ++f)
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t tap = 0; tap < taps; ++tap)
            filters[f * k + tap * channels + c] = from[(f * channels + c) * taps + tap];
      pack_panels(filters, 1, k, k, own, reinterpret_cast<float*>(bytes) + group * packed_size(k, own), 0,
                  ceil_div(own, kPanel));
    }
    return packed;
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    return std::make_unique<ConvLauncher>(problem, code);
  }

 private:
  // Elements of a filter.
  static int64_t row_size(const std::vector<int64_t>& w) { return size_product(w, 1, static_cast<int>(w.size())); }
};

}  // namespace

const CpuKernel& conv_kernel() {
  static const ConvKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
