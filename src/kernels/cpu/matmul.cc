// matmul of two computed operands: b is packed at every launch. Batches are shared among threads when there are enough
// of them, otherwise each product is.
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/strided.h"

namespace tenon::kernels::cpu {
namespace {

// A matmul in numpy's form as batches of [m, k] x [k, n].
struct Geometry {
  int64_t m = 1, n = 1, k = 1, batches = 1;
  bool one_b = false;  // all batches share b and a is dense: one product of batches * m rows
  std::span<const int64_t> a_batch, b_batch, y_batch;

  explicit Geometry(const RunArgs& args) {
    const TensorArg &a = args.inputs[0], &b = args.inputs[1], &y = args.outputs[0];
    const bool row = a.rank() == 1, column = b.rank() == 1;
    m = row ? 1 : a.dim(-2);
    k = a.dim(-1);
    n = column ? 1 : b.dim(-1);
    a_batch = row ? a.shape.first(0) : a.shape.first(a.shape.size() - 2);
    b_batch = column ? b.shape.first(0) : b.shape.first(b.shape.size() - 2);
    y_batch = y.shape.first(y.shape.size() - (row ? 0 : 1) - (column ? 0 : 1));
    batches = size_product(y_batch, 0, static_cast<int>(y_batch.size()));
    one_b = size_product(b_batch, 0, static_cast<int>(b_batch.size())) == 1 &&
            size_product(a_batch, 0, static_cast<int>(a_batch.size())) == batches;
  }

  bool by_batch(int threads) const { return !one_b && batches >= threads; }
  int64_t rows() const { return one_b ? batches * m : m; }
  size_t thread_bytes(const VectorCode& code) const {
    return static_cast<size_t>(packed_size(k, n)) * sizeof(float) + gemm_workspace(code, m, k, 1);
  }
};

class MatmulLauncher final : public Launcher {
 public:
  explicit MatmulLauncher(const VectorCode& code) : code_(code) {}

  size_t workspace(const RunArgs& args, int threads) const override {
    const Geometry g(args);
    if (g.by_batch(threads)) return g.thread_bytes(code_) * static_cast<size_t>(threads);
    return static_cast<size_t>(packed_size(g.k, g.n)) * sizeof(float) + gemm_workspace(code_, g.rows(), g.k, threads);
  }

  Status launch(const RunArgs& args) const override {
    const Geometry g(args);
    const TensorArg b = args.input(1);
    if (b.dim(b.rank() == 1 ? 0 : -2) != g.k) return reference_error(Op::k_matmul, {}, args);
    Broadcast grid(g.y_batch);
    grid.add(g.a_batch);
    grid.add(g.b_batch);
    auto* scratch = static_cast<std::byte*>(args.workspace);
    if (!g.by_batch(args.pool == nullptr ? 1 : args.pool->threads())) {
      const int64_t batches = g.one_b ? 1 : g.batches;
      for (int64_t i = 0; i < batches; ++i) product(args, g, grid, i, scratch, args.pool);
      return {};
    }
    for_range(args.pool, g.batches, g.batches * g.m * g.n * g.k / 16, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t i = begin; i < end; ++i)
        product(args, g, grid, i, scratch + g.thread_bytes(code_) * static_cast<size_t>(thread), nullptr);
    });
    return {};
  }

 private:
  void product(const RunArgs& args, const Geometry& g, const Broadcast& grid, int64_t batch, std::byte* scratch,
               ThreadPool* pool) const {
    const int64_t row = batch / grid.columns(), column = batch % grid.columns();
    const float* a = args.input(0).as<const float>() + (grid.offset(0, row) + column * grid.step(0)) * g.m * g.k;
    const float* b = args.input(1).as<const float>() + (grid.offset(1, row) + column * grid.step(1)) * g.k * g.n;
    auto* panels = reinterpret_cast<float*>(scratch);
    for_range(pool, ceil_div(g.n, kPanel), g.k * g.n,
              [&](int64_t begin, int64_t end, int) { pack_panels(b, g.n, 1, g.k, g.n, panels, begin, end); });
    gemm(code_,
         {.x = a,
          .x_stride = g.k,
          .w = panels,
          .y = args.output().as<float>() + batch * g.m * g.n,
          .y_stride = g.n,
          .rows = g.rows(),
          .k = g.k,
          .columns = g.n,
          .epilogue = {}},
         panels + packed_size(g.k, g.n), pool);
  }

  const VectorCode& code_;
};

class MatmulKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.matmul.f32"; }
  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_matmul) return Support::no("computes matmul only");
    if (problem.outputs[0].rank() > kMostAxes) return Support::no(fmt::format("more than {} axes", kMostAxes));
    return all_f32(problem);
  }
  std::vector<Config> configs(const Problem&) const override {
    return {{.text = "", .numerics = "fma-over-k", .cost = 0}};
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem&, const Config&, const VectorCode& code) const override {
    return std::make_unique<MatmulLauncher>(code);
  }
};

}  // namespace

const CpuKernel& matmul_kernel() {
  static const MatmulKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
