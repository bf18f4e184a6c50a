// disentangled_bias: for blocks of a head's rows the products with those rows of the table that the block's indices
// reach, from which each element is picked. Tasks are heads of sequences, whose square of y stays in the cache.
#include <atomic>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernels.h"

namespace tenon::kernels::cpu {
namespace {

struct In {
  enum { kQ, kK, kQTable, kQIndex, kKTable, kKIndex, kQOffsets, kKBegin, kKEnd, kQPositions, kKPositions };
};

constexpr int64_t kBlockRows = 32;  // of a block

// Rows of a sequence, counted through the batch in dense form too.
struct SequenceRows {
  int64_t begin = 0, count = 0;
  const int32_t* positions = nullptr;  // of the first and further; null: 0, 1, …

  int64_t position(int64_t i) const { return positions == nullptr ? i : positions[i]; }
  bool are_neighbours() const {
    for (int64_t i = 1; positions != nullptr && i < count; ++i)
      if (positions[i] != positions[0] + i) return false;
    return true;
  }
};

// Rows of a table, whole panels of them.
struct TableRange {
  int32_t begin = 0, end = 0;
};

class DisentangledBiasLauncher final : public Launcher {
 public:
  DisentangledBiasLauncher(const Problem& problem, const VectorCode& code)
      : attrs_(problem.attrs),
        code_(code),
        heads_(attrs_.integer("heads")),
        dim_(attrs_.integer("head_dim")),
        columns_(attrs_.integers("columns")),
        scale_(static_cast<float>(attrs_.number("scale"))) {
    for (const int table : {In::kQTable, In::kKTable})
      if (problem.has(table)) width_ = std::max(width_, problem.inputs[static_cast<size_t>(table)].shape[0].value());
    width_ = ceil_div(width_, kPanel) * kPanel;
  }

  size_t workspace(const RunArgs& args, int threads) const override {
    return ranges_bytes(args) + thread_floats(args) * sizeof(float) * static_cast<size_t>(threads);
  }

  Status launch(const RunArgs& args) const override {
    auto* ranges = static_cast<TableRange*>(args.workspace);
    if (!find_ranges(args, ranges)) return reference_error(Op::k_disentangled_bias, attrs_, args);
    auto* scratch = reinterpret_cast<float*>(static_cast<std::byte*>(args.workspace) + ranges_bytes(args));
    share_tasks(args.pool, args.output().dim(0) * heads_, [&](Tasks& tasks, int thread) {
      for (int64_t i = tasks.next(); i >= 0; i = tasks.next())
        run_head(args, i / heads_, i % heads_, ranges, scratch + thread_floats(args) * static_cast<size_t>(thread));
    });
    return {};
  }

 private:
  static SequenceRows rows_of(const RunArgs& args, bool keys, int64_t b) {
    const TensorArg x = args.input(keys ? In::kK : In::kQ), offsets = args.input(In::kQOffsets);
    if (!offsets) return {b * x.dim(1), x.dim(1)};
    const int64_t begin = keys ? args.input(In::kKBegin).as<const int32_t>()[b] : offsets.as<const int32_t>()[b];
    const int64_t end = keys ? args.input(In::kKEnd).as<const int32_t>()[b] : offsets.as<const int32_t>()[b + 1];
    return {begin, end - begin, args.input(keys ? In::kKPositions : In::kQPositions).as<const int32_t>() + begin};
  }

  static bool valid(const SequenceRows& rows, const TensorArg& x, int64_t length) {
    if (rows.begin < 0 || rows.count < 0 || rows.begin + rows.count > size_product(x.shape, 0, x.rank() - 1))
      return false;
    for (int64_t i = 0; i < rows.count; ++i)
      if (rows.position(i) < 0 || rows.position(i) >= length) return false;
    return true;
  }

  // ---- Ranges of the tables that blocks reach: [batch][blocks] for queries, then for keys ----------------

  static int64_t blocks(const RunArgs& args, bool keys) {
    const TensorArg x = args.input(keys ? In::kK : In::kQ);
    return ceil_div(size_product(x.shape, 0, x.rank() - 1), kBlockRows);
  }
  static int64_t first_range(const RunArgs& args, bool keys, int64_t b) {
    const int64_t of_queries = blocks(args, false);
    return keys ? args.output().dim(0) * of_queries + b * blocks(args, true) : b * of_queries;
  }
  static size_t ranges_bytes(const RunArgs& args) {
    const auto ranges = static_cast<size_t>(first_range(args, true, args.output().dim(0)));
    return (ranges * sizeof(TableRange) + 63) / 64 * 64;
  }

  // False where rows, positions or indices are not there.
  static bool find_ranges(const RunArgs& args, TableRange* ranges) {
    const TensorArg y = args.output();
    for (int64_t b = 0; b < y.dim(0); ++b)
      if (!valid(rows_of(args, false, b), args.input(In::kQ), y.dim(2)) ||
          !valid(rows_of(args, true, b), args.input(In::kK), y.dim(3)))
        return false;
    std::atomic<bool> good = true;
    for_range(args.pool, y.dim(0), y.dim(0) * y.dim(2) * y.dim(3), [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b)
        for (const bool keys : {false, true})
          if (!find_ranges(args, b, keys, ranges + first_range(args, keys, b))) good = false;
    });
    return good;
  }

  static bool find_ranges(const RunArgs& args, int64_t b, bool keys, TableRange* ranges) {
    const TensorArg index = args.input(keys ? In::kKIndex : In::kQIndex);
    if (!index) return true;
    const auto rows = static_cast<int32_t>(args.input(keys ? In::kKTable : In::kQTable).dim(0));
    const SequenceRows own = rows_of(args, keys, b), others = rows_of(args, !keys, b);
    for (int64_t first = 0; first < own.count; first += kBlockRows) {
      const int64_t count = std::min(kBlockRows, own.count - first);
      int32_t least = rows, most = -1;
      for (int64_t i = 0; i < (keys ? others.count : count); ++i) {
        const int64_t query = keys ? others.position(i) : own.position(first + i);
        const int32_t* row = index.as<const int32_t>() + query * index.dim(1);
        for (int64_t j = 0; j < (keys ? count : others.count); ++j) {
          const int32_t picked = row[keys ? own.position(first + j) : others.position(j)];
          least = std::min(least, picked);
          most = std::max(most, picked);
        }
      }
      if (most < 0) least = 0;  // no other rows
      if (least < 0 || most >= rows) return false;
      *ranges++ = {least / kPanel * kPanel, static_cast<int32_t>(ceil_div(most + 1, kPanel) * kPanel)};
    }
    return true;
  }

  // ---- One head of one sequence --------------------------------------------------------------------------

  // The scratch of a thread: a block's rows, packed; its products; a row of y and its indices where positions have
  // gaps.
  struct Scratch {
    float *rows, *products, *row;
    int32_t* index;
  };
  int64_t packed_rows() const { return ceil_div(kBlockRows, code_.tile_rows) * kPackWidth * dim_; }
  size_t thread_floats(const RunArgs& args) const {
    return static_cast<size_t>(packed_rows() + kBlockRows * width_ + 2 * whole_lines(args.output().dim(3)));
  }

  void run_head(const RunArgs& args, int64_t b, int64_t head, const TableRange* ranges, float* scratch) const {
    const TensorArg y = args.output();
    const int64_t cells = y.dim(2) * y.dim(3);
    float* square = y.as<float>() + (b * heads_ + head) * cells;
    float* products = scratch + packed_rows();
    float* row = products + kBlockRows * width_;
    const Scratch s{scratch, products, row, reinterpret_cast<int32_t*>(row + whole_lines(y.dim(3)))};
    const SequenceRows queries = rows_of(args, false, b), keys = rows_of(args, true, b);
    for (const bool by_key : {false, true}) {
      if (!args.input(by_key ? In::kKTable : In::kQTable)) continue;
      const SequenceRows& own = by_key ? keys : queries;
      const TableRange* range = ranges + first_range(args, by_key, b);
      for (int64_t first = 0; first < own.count; first += kBlockRows, ++range) {
        const int64_t count = std::min(kBlockRows, own.count - first);
        multiply(args, by_key, head, own.begin + first, count, *range, s);
        if (by_key) {
          for (int64_t i = 0; i < queries.count; ++i)
            pick_row(args, by_key, queries.position(i), keys, first, count, s.products, *range, square, s);
        } else {
          for (int64_t i = 0; i < count; ++i)
            pick_row(args, by_key, queries.position(first + i), keys, 0, keys.count,
                     s.products + i * (range->end - range->begin), *range, square, s);
        }
      }
    }
  }

  // Products of rows [first, first + count) of one head with the table's rows in the range: [count][range].
  void multiply(const RunArgs& args, bool by_key, int64_t head, int64_t first, int64_t count, const TableRange& range,
                const Scratch& s) const {
    const TensorArg x = args.input(by_key ? In::kK : In::kQ), table = args.input(by_key ? In::kKTable : In::kQTable);
    const int64_t stride = x.dim(-1), size = range.end - range.begin;
    const float* rows = x.as<const float>() + first * stride + columns_[by_key ? 1 : 0] + head * dim_;
    const float* panels = table.as<const float>() + head * packed_size(dim_, table.dim(0)) + range.begin * dim_;
    for (int64_t i = 0; i < count; i += code_.tile_rows) {
      const int tile = static_cast<int>(std::min<int64_t>(code_.tile_rows, count - i));
      code_.transpose_rows(rows + i * stride, stride, tile, dim_, kPackWidth,
                           s.rows + i / code_.tile_rows * dim_ * kPackWidth);
    }
    for (int64_t p = 0; p < size / kPanel; p += code_.tile_panels) {
      for (int64_t i = 0; i < count; i += code_.tile_rows) {
        code_.gemm({.a = s.rows + i / code_.tile_rows * dim_ * kPackWidth,
                    .a_stride = kPackWidth,
                    .b = panels + p * dim_ * kPanel,
                    .b_panel_stride = dim_ * kPanel,
                    .c = s.products + i * size + p * kPanel,
                    .c_stride = size,
                    .k = dim_,
                    .rows = static_cast<int>(std::min<int64_t>(code_.tile_rows, count - i)),
                    .panels = static_cast<int>(std::min<int64_t>(code_.tile_panels, size / kPanel - p))});
      }
    }
  }

  // Elements of the query at `position` and keys [first, first + count) of the sequence. Products are the query's own,
  // or (by_key) a row for each key.
  void pick_row(const RunArgs& args, bool by_key, int64_t position, const SequenceRows& keys, int64_t first,
                int64_t count, const float* products, const TableRange& range, float* square, const Scratch& s) const {
    if (count == 0) return;
    const TensorArg index = args.input(by_key ? In::kKIndex : In::kQIndex);
    const int32_t* indices = index.as<const int32_t>() + position * index.dim(1);
    float* y = square + position * index.dim(1);
    PickedRow row{.x = products,
                  .step = by_key ? range.end - range.begin : 0,
                  .first = range.begin,
                  .count = count,
                  .factor = scale_,
                  .accumulate = by_key && args.input(In::kQTable)};
    const SequenceRows part{keys.begin + first, count, keys.positions == nullptr ? nullptr : keys.positions + first};
    if (part.are_neighbours()) {
      const int64_t at = keys.position(first);
      row.index = indices + at;
      row.y = y + at;
      return code_.pick(row);
    }
    for (int64_t j = 0; j < count; ++j) {
      s.index[j] = indices[part.position(j)];
      s.row[j] = y[part.position(j)];
    }
    row.index = s.index;
    row.y = s.row;
    code_.pick(row);
    for (int64_t j = 0; j < count; ++j) y[part.position(j)] = s.row[j];
  }

  Attrs attrs_;
  const VectorCode& code_;
  int64_t heads_, dim_;
  std::vector<int64_t> columns_;
  float scale_;
  int64_t width_ = 0;  // of the wider table, in whole panels
};

class DisentangledBiasKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.disentangled_bias.f32"; }
  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_disentangled_bias) return Support::no("computes disentangled_bias only");
    if (problem.outputs[0].dtype != DType::kF32) return Support::no("computes f32 only");
    for (const int table : {In::kQTable, In::kKTable}) {
      if (!problem.has(table)) continue;
      if (!is_constant(problem, table)) return Support::no(fmt::format("input {} is not constant", table));
      if (!ir::all_const(problem.inputs[static_cast<size_t>(table)].shape))
        return Support::no(fmt::format("the shape of input {} is symbolic", table));
    }
    return Support::yes();
  }
  std::optional<TensorType> packed_type(const Problem& problem, int index) const override {
    if (index != In::kQTable && index != In::kKTable) return std::nullopt;
    const int64_t heads = problem.attrs.integer("heads"), dim = problem.attrs.integer("head_dim");
    const int64_t rows = problem.inputs[static_cast<size_t>(index)].shape[0].value();
    return TensorType{DType::kF32, {ir::Dim(heads), ir::Dim(packed_size(dim, rows))}};
  }
  // Panels of each head's columns, 16 rows of the table side by side.
  Result<Tensor> prepack(const Problem& problem, int, const Tensor& table) const override {
    const int64_t heads = problem.attrs.integer("heads"), dim = problem.attrs.integer("head_dim");
    const int64_t rows = table.shape()[0], size = packed_size(dim, rows);
    std::byte* memory = nullptr;
    TENON_ASSIGN(Tensor packed, Tensor::allocate(DType::kF32, {heads, size}, &memory));
    for (int64_t head = 0; head < heads; ++head) {
      pack_panels(table.as<float>() + head * dim, 1, heads * dim, dim, rows,
                  reinterpret_cast<float*>(memory) + head * size, 0, ceil_div(rows, kPanel));
    }
    return packed;
  }
  std::vector<Config> configs(const Problem&) const override {
    return {{.text = "", .numerics = "fma-over-k", .cost = 0}};
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    return std::make_unique<DisentangledBiasLauncher>(problem, code);
  }
};

}  // namespace

const CpuKernel& disentangled_bias_kernel() {
  static const DisentangledBiasKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
