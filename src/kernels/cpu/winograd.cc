#include "kernels/cpu/winograd.h"

#include <cmath>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/split.h"
#include "ops/window.h"

namespace tenon::kernels::cpu {
namespace {

constexpr int64_t kBlockTiles = 80;  // fewer would fetch the filters too often, more leave the caches themselves
constexpr int64_t kMostPoints = 36;
constexpr double kTransforming = 0.15;  // of a tile of x, in units of one tile's multiply-adds

// Tiles of m x m pixels over all images; a block of them at a time becomes points, products and pixels.
struct WinogradGeometry {
  int64_t outputs = 0, side = 0;  // m and m + 2
  ops::Window window;
  int64_t channels = 0, filters = 0, images = 0;
  int64_t down = 0, across = 0;  // tiles of an image
  TileShape tile;

  WinogradGeometry(const VectorCode& code, int m, const Attrs& attrs, const RunArgs& args)
      : outputs(m),
        side(m + 2),
        window(ops::Window::of(attrs, args, args.input(kX).shape, args.output().shape, args.input(kW).shape.subspan(2),
                               1)),
        channels(args.input(kX).dim(-1)),
        filters(args.output().dim(-1)),
        images(args.output().dim(0)),
        down(ceil_div(window.out[1], m)),
        across(ceil_div(window.out[2], m)),
        tile(gather_shape(code, ceil_div(filters, kPanel))) {}

  int64_t tiles() const { return images * down * across; }
  int64_t points() const { return side * side; }
  int64_t panels() const { return ceil_div(filters, kPanel); }
  int64_t columns() const { return tile.panels * kPanel; }  // of a group of panels
  int64_t row() const { return whole_lines(channels); }     // floats of a tile's point of x
  // Of a block, a multiple of a product's.
  int64_t most_tiles() const {
    return std::min(ceil_div(kBlockTiles, tile.rows), ceil_div(tiles(), tile.rows)) * tile.rows;
  }
  // From one point of a block to the next; an odd number of lines, so that the points of a tile differ in their sets of
  // the first-level cache.
  int64_t x_stride() const { return (most_tiles() * row() / 16 | 1) * 16; }
  int64_t y_stride() const { return (most_tiles() * columns() / 16 | 1) * 16; }
};

// A thread's memory.
struct WinogradScratch {
  float *x, *y;   // [point][tile][channel], [point][tile][column]
  float* pixels;  // of a tile of y
  float* zeros;   // a pixel

  static int64_t floats(const WinogradGeometry& g) {
    return g.points() * (g.x_stride() + g.y_stride()) + g.outputs * g.outputs * g.columns() + g.row();
  }
  WinogradScratch(const WinogradGeometry& g, void* memory, int thread) {
    x = static_cast<float*>(memory) + floats(g) * thread;
    y = x + g.points() * g.x_stride();
    pixels = y + g.points() * g.y_stride();
    zeros = pixels + g.outputs * g.outputs * g.columns();
    std::fill_n(zeros, g.row(), 0.0f);
  }
};

struct WinogradConv {
  const float *x, *w;  // w: [point][panel][channel][16]
  float* y;
  Epilogue epilogue;
};

class WinogradWorker {
 public:
  WinogradWorker(const VectorCode& code, const WinogradCode& transforms, const WinogradGeometry& g,
                 const WinogradConv& c, const WinogradScratch& scratch)
      : code_(code), transforms_(transforms), g_(g), c_(c), scratch_(scratch) {}

  void run(Range tiles, Range panels) const {
    const int64_t units = ceil_div(tiles.end - tiles.begin, g_.tile.rows);
    const int64_t blocks = ceil_div(units, g_.most_tiles() / g_.tile.rows);
    for (int64_t i = 0; i < blocks; ++i) {
      const Range part = share(units, i, blocks);
      run_block({tiles.begin + part.begin * g_.tile.rows, std::min(tiles.begin + part.end * g_.tile.rows, tiles.end)},
                panels);
    }
  }

 private:
  // The first pixel of a tile of y.
  struct Corner {
    int64_t image, row, column;
  };
  Corner corner(int64_t tile) const {
    const int64_t line = tile / g_.across;
    return {line / g_.down, line % g_.down * g_.outputs, tile % g_.across * g_.outputs};
  }

  void run_block(Range tiles, Range panels) const {
    for (int64_t t = tiles.begin; t < tiles.end; ++t) take_points(corner(t), t - tiles.begin);
    for (int64_t p = panels.begin; p < panels.end; p += g_.tile.panels) {
      const int count = static_cast<int>(std::min<int64_t>(g_.tile.panels, panels.end - p));
      for (int64_t point = 0; point < g_.points(); ++point) {
        // The next panels are fetched while the tiles of these are computed.
        const bool wraps = point + 1 == g_.points();
        const int64_t next = wraps ? p + count : p;
        const int64_t next_count = std::min<int64_t>(g_.tile.panels, panels.end - next);
        multiply(tiles.end - tiles.begin, point, p, count, panels_at(wraps ? 0 : point + 1, next), next_count);
      }
      for (int64_t t = tiles.begin; t < tiles.end; ++t) put_pixels(corner(t), t - tiles.begin, p, count);
    }
  }

  const float* panels_at(int64_t point, int64_t panel) const {
    return c_.w + (point * g_.panels() + panel) * g_.channels * kPanel;
  }

  void take_points(const Corner& at, int64_t index) const {
    const float* rows[kMostPoints];
    const int64_t top = at.row - g_.window.before[1], left = at.column - g_.window.before[2];
    const int64_t height = g_.window.in[1], width = g_.window.in[2];
    int64_t first = ((at.image * height + top) * width + left) * g_.channels;
    const bool whole = top >= 0 && top + g_.side <= height && left >= 0 && left + g_.side <= width;
    for (int64_t i = 0; i < g_.side; ++i, first += width * g_.channels) {
      const bool has_line = top + i >= 0 && top + i < height;
      for (int64_t j = 0; j < g_.side; ++j) {
        const bool inside = whole || (has_line && left + j >= 0 && left + j < width);
        rows[i * g_.side + j] = inside ? c_.x + first + j * g_.channels : scratch_.zeros;
      }
    }
    transforms_.input(rows, g_.channels, scratch_.x + index * g_.row(), g_.x_stride());
  }

  void multiply(int64_t tiles, int64_t point, int64_t panel, int panels, const float* next_panels,
                int64_t next_count) const {
    const int64_t panel_bytes = g_.channels * kPanel * 4;
    PanelFetch fetch(ceil_div(tiles, g_.tile.rows), next_panels, next_count, panel_bytes, panel_bytes);
    const float* x = scratch_.x + point * g_.x_stride();
    const float* rows[kGatherRows];
    GatherTile t{.rows = rows,
                 .pieces = 1,
                 .length = g_.channels,
                 .b = panels_at(point, panel),
                 .b_panel_stride = g_.channels * kPanel,
                 .c = scratch_.y + point * g_.y_stride(),
                 .c_stride = g_.columns(),
                 .panels = panels};
    for (int64_t left = tiles; left > 0; left -= t.rows_used) {
      t.rows_used = static_cast<int>(std::min<int64_t>(g_.tile.rows, left));
      for (int r = 0; r < t.rows_used; ++r, x += g_.row()) rows[r] = x;
      t.prefetch = fetch.next();
      code_.gather(t);
      t.c += t.rows_used * t.c_stride;
    }
  }

  void put_pixels(const Corner& at, int64_t index, int64_t panel, int panels) const {
    const int64_t column = panel * kPanel, columns = std::min(panels * int64_t{kPanel}, g_.filters - column);
    const int64_t height = g_.window.out[1], width = g_.window.out[2];
    transforms_.output(scratch_.y + index * g_.columns(), g_.y_stride(), panels * kPanel, scratch_.pixels,
                       g_.columns());
    const int used = static_cast<int>(std::min(g_.outputs, width - at.column));
    for (int64_t i = 0; i < std::min(g_.outputs, height - at.row); ++i) {
      const int64_t pixel = (at.image * height + at.row + i) * width + at.column;
      code_.epilogue(scratch_.pixels + i * g_.outputs * g_.columns(), g_.columns(), c_.y + pixel * g_.filters + column,
                     g_.filters, used, columns, c_.epilogue.at(pixel, column));
    }
  }

  const VectorCode& code_;
  const WinogradCode& transforms_;
  const WinogradGeometry& g_;
  const WinogradConv& c_;
  const WinogradScratch& scratch_;
};

const WinogradCode& transforms_of(const VectorCode& code, int outputs) {
  return code.winograd[code.winograd[0].outputs == outputs ? 0 : 1];
}

class WinogradLauncher final : public Launcher {
 public:
  WinogradLauncher(const Problem& problem, const VectorCode& code, int outputs)
      : code_(code), outputs_(outputs), attrs_(problem.attrs), activation_(activation_of(problem.attrs)) {
    activate_sum_ = attrs_.integer("activate_sum") != 0;
  }

  size_t workspace(const RunArgs& args, int threads) const override {
    const WinogradGeometry g(code_, outputs_, attrs_, args);
    return static_cast<size_t>(WinogradScratch::floats(g) * threads) * sizeof(float);
  }

  Status launch(const RunArgs& args) const override {
    const TensorArg w = args.input(kW), y = args.output();
    const WinogradGeometry g(code_, outputs_, attrs_, args);
    if (g.channels != w.dim(1)) {
      return error(ErrorCode::kBadInput, "weights {} do not fit {}", ops::shape_text(w.shape),
                   ops::shape_text(args.input(kX).shape));
    }
    if (y.numel() == 0) return {};
    const WinogradConv conv{.x = args.input(kX).as<const float>(),
                            .w = w.as<const float>(),
                            .y = y.as<float>(),
                            .epilogue = {.bias = args.input(kBias).as<const float>(),
                                         .residual = args.input(kResidual).as<const float>(),
                                         .residual_stride = g.filters,
                                         .activation = activation_,
                                         .activate_sum = activate_sum_}};
    convolve(g, conv, args.workspace, args.pool);
    return {};
  }

 private:
  void convolve(const WinogradGeometry& g, const WinogradConv& conv, void* workspace, ThreadPool* pool) const {
    const int threads = pool == nullptr ? 1 : pool->threads();
    const int64_t units = ceil_div(g.tiles(), g.tile.rows), groups = ceil_div(g.panels(), g.tile.panels);
    const int row_count = row_parts(units, groups, 1, g.most_tiles() / g.tile.rows, threads, kTransforming);
    const int column_count = threads / row_count;
    const auto body = [&](int64_t begin, int64_t end, int thread) {
      const WinogradScratch scratch(g, workspace, thread);
      const WinogradWorker worker(code_, transforms_of(code_, outputs_), g, conv, scratch);
      for (int64_t i = begin; i < end; ++i) {
        const Range rows = share(units, i / column_count, row_count);
        const Range columns = share(groups, i % column_count, column_count);
        worker.run({rows.begin * g.tile.rows, std::min(rows.end * g.tile.rows, g.tiles())},
                   {columns.begin * g.tile.panels, std::min(columns.end * g.tile.panels, g.panels())});
      }
    };
    if (pool == nullptr) return body(0, 1, 0);
    pool->parallel_for(threads, body);
  }

  const VectorCode& code_;
  int outputs_;
  Attrs attrs_;
  Activation activation_;
  bool activate_sum_;
};

// G of the points, [m + 2][3]: row i is (1, p, p^2) over the product of p's distances from the other points.
std::vector<std::array<double, 3>> filter_transform(int outputs) {
  const double a = std::sqrt(0.5), b = std::sqrt(2.0);
  const std::vector<double> points =
      outputs == 2 ? std::vector<double>{0, 1, -1} : std::vector<double>{0, a, -a, b, -b};
  std::vector<std::array<double, 3>> out;
  for (const double p : points) {
    double distances = 1;
    for (const double q : points)
      if (q != p) distances *= p - q;
    out.push_back({1 / distances, p / distances, p * p / distances});
  }
  out.push_back({0, 0, 1});
  return out;
}

// What a run on one image (or as many as the problem says) takes, in multiply-adds.
double estimated_work(const Problem& problem, int outputs) {
  constexpr double kPerFloat = 40;  // of weights, which stream from memory
  constexpr double kSlower = 1.15;  // short products than long ones
  const auto size = [](const ir::Dim& d) { return d.is_const() ? static_cast<double>(d.value()) : 1.0; };
  const ir::Shape &w = problem.inputs[kW].shape, &y = problem.outputs[0].shape;
  const double filters = size(w[0]), channels = size(w[1]), images = size(y[0]);
  if (outputs == 0) return filters * channels * 9 * (images * size(y[1]) * size(y[2]) + kPerFloat);
  const double m = outputs, points = (m + 2) * (m + 2);
  const double tiles = images * std::ceil(size(y[1]) / m) * std::ceil(size(y[2]) / m);
  const double per_channel = 9 * points;  // of the transforms
  return filters * channels * points * (kSlower * tiles + kPerFloat) + per_channel * tiles * (channels + filters);
}

}  // namespace

std::string_view WinogradKernel::id() const {
  return outputs_ == 2 ? "cpu.conv.winograd2.f32" : "cpu.conv.winograd4.f32";
}

Support WinogradKernel::supports(const Problem& problem) const {
  if (Support s = conv_kernel().supports(problem); !s) return s;
  const auto ones = [&](const char* name) {
    const std::vector<int64_t>& steps = problem.attrs.integers(name);
    return std::all_of(steps.begin(), steps.end(), [](int64_t s) { return s == 1; });
  };
  const ir::Shape &w = problem.inputs[kW].shape, &y = problem.outputs[0].shape;
  if (w.size() != 4 || w[2].value() != 3 || w[3].value() != 3) return Support::no("windows are not 3 x 3");
  if (!ones("strides") || !ones("dilations")) return Support::no("windows are strided or dilated");
  if (problem.attrs.integer("group") != 1) return Support::no("filters are in groups");
  if (always_) return Support::yes();
  if (!y[1].is_const() || !y[2].is_const()) return Support::no("the image's size is symbolic");
  const double own = estimated_work(problem, outputs_);
  if (own > estimated_work(problem, 0)) return Support::no("more work than products over taps, as estimated");
  if (own > estimated_work(problem, 6 - outputs_)) return Support::no("more work than other tiles, as estimated");
  return Support::yes();
}

bool WinogradKernel::in_place(const Problem&, int index) const { return index == kResidual; }

std::optional<TensorType> WinogradKernel::packed_type(const Problem& problem, int index) const {
  if (index != kW) return std::nullopt;
  const ir::Shape& w = problem.inputs[kW].shape;
  const int64_t points = (outputs_ + 2) * (outputs_ + 2);
  return TensorType{DType::kF32, {ir::Dim(points * packed_size(w[1].value(), w[0].value()))}};
}

Result<Tensor> WinogradKernel::prepack(const Problem&, int, const Tensor& w) const {
  const int64_t filters = w.shape()[0], channels = w.shape()[1], side = outputs_ + 2;
  const int64_t panels = packed_size(channels, filters), plane = filters * channels;
  std::byte *bytes = nullptr, *point_bytes = nullptr;
  TENON_ASSIGN(Tensor packed, Tensor::allocate(DType::kF32, {side * side * panels}, &bytes));
  TENON_ASSIGN(const Tensor points, Tensor::allocate(DType::kF32, {side * side * plane}, &point_bytes));
  auto* out = reinterpret_cast<float*>(point_bytes);  // [point][filter][channel]
  const auto g = filter_transform(outputs_);
  for (int64_t f = 0; f < plane; ++f) {
    const float* taps = w.as<float>() + f * 9;
    for (size_t i = 0; i < g.size(); ++i) {
      for (size_t j = 0; j < g.size(); ++j) {
        double sum = 0;
        for (size_t a = 0; a < 3; ++a)
          for (size_t b = 0; b < 3; ++b) sum += g[i][a] * g[j][b] * static_cast<double>(taps[a * 3 + b]);
        out[(static_cast<int64_t>(i) * side + static_cast<int64_t>(j)) * plane + f] = static_cast<float>(sum);
      }
    }
  }
  for (int64_t point = 0; point < side * side; ++point) {
    pack_panels(out + point * plane, 1, channels, channels, filters, reinterpret_cast<float*>(bytes) + point * panels,
                0, ceil_div(filters, kPanel));
  }
  return packed;
}

std::unique_ptr<Launcher> WinogradKernel::make_launcher(const Problem& problem, const Config&,
                                                        const VectorCode& code) const {
  return std::make_unique<WinogradLauncher>(problem, code, outputs_);
}

const CpuKernel& winograd_conv_kernel(int outputs) {
  static const WinogradKernel two(2), four(4);
  return outputs == 2 ? two : four;
}

}  // namespace tenon::kernels::cpu
