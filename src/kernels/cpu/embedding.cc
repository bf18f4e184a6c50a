// embedding: y = sum_i table_i[indices_i], then LayerNorm where asked for. Rows are shared among threads.
#include <cstring>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/strided.h"

namespace tenon::kernels::cpu {
namespace {

// Ids of one table, read at rows of the output that they broadcast to.
class Ids {
 public:
  Ids(const TensorArg& ids, std::span<const int64_t> rows) : ids_(ids), rank_(static_cast<int>(rows.size())) {
    int64_t stride = 1;
    for (int axis = rank_ - 1, own = ids.rank() - 1; axis >= 0; --axis, --own) {
      const int64_t size = own >= 0 ? ids.shape[static_cast<size_t>(own)] : 1;
      sizes_[axis] = rows[static_cast<size_t>(axis)];
      strides_[axis] = size == 1 ? 0 : stride;
      stride *= size;
    }
  }

  int64_t operator[](int64_t row) const {
    int64_t at = 0;
    for (int axis = rank_ - 1; axis >= 0; row /= sizes_[axis], --axis) at += row % sizes_[axis] * strides_[axis];
    return ids_.dtype == DType::kI64 ? ids_.as<const int64_t>()[at] : ids_.as<const int32_t>()[at];
  }

 private:
  const TensorArg& ids_;
  int rank_;
  int64_t sizes_[kMostAxes] = {}, strides_[kMostAxes] = {};
};

class EmbeddingLauncher final : public Launcher {
 public:
  EmbeddingLauncher(const Problem& problem, const VectorCode& code)
      : attrs_(problem.attrs),
        code_(code),
        norm_(attrs_.integer("norm") != 0),
        epsilon_(static_cast<float>(attrs_.number("epsilon"))),
        tables_((problem.inputs.size() - (norm_ ? 2 : 0)) / 2) {}

  Status launch(const RunArgs& args) const override {
    for (size_t i = 0; i < tables_; ++i) {
      const TensorArg& ids = args.inputs[2 * i];
      if (!code_.ids_within(ids.data, ids.dtype == DType::kI64, ids.numel(), args.inputs[2 * i + 1].dim(0)))
        return reference_error(Op::k_embedding, attrs_, args);
    }
    const TensorArg y = args.output();
    const int64_t width = y.dim(-1), rows = size_product(y.shape, 0, y.rank() - 1);
    for_range(args.pool, rows, y.numel() * static_cast<int64_t>(tables_), [&](int64_t begin, int64_t end, int) {
      for (size_t i = 0; i < tables_; ++i) add_table(args, i, begin, end);
      if (!norm_) return;
      for (int64_t row = begin; row < end; ++row) {
        float* to = y.as<float>() + row * width;
        code_.layer_norm({.x = to,
                          .residual = nullptr,
                          .gamma = args.inputs[2 * tables_].as<const float>(),
                          .beta = args.inputs[2 * tables_ + 1].as<const float>(),
                          .y = to,
                          .columns = width,
                          .epsilon = epsilon_});
      }
    });
    return {};
  }

 private:
  // Rows [begin, end) of y take, or add, the rows of table i.
  void add_table(const RunArgs& args, size_t i, int64_t begin, int64_t end) const {
    const TensorArg y = args.output();
    const int64_t width = y.dim(-1);
    const Ids ids(args.inputs[2 * i], y.shape.first(y.shape.size() - 1));
    const auto* table = args.inputs[2 * i + 1].as<const float>();
    for (int64_t row = begin; row < end; ++row) {
      float* to = y.as<float>() + row * width;
      const float* from = table + ids[row] * width;
      if (i == 0) {
        std::memcpy(to, from, static_cast<size_t>(width) * sizeof(float));
      } else {
        code_.apply(Function::kAdd, to, from, nullptr, to, width);
      }
    }
  }

  Attrs attrs_;
  const VectorCode& code_;
  bool norm_;
  float epsilon_;
  size_t tables_;
};

class EmbeddingKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.embedding.f32"; }
  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_embedding) return Support::no("computes embedding only");
    const size_t tables = (problem.inputs.size() - (problem.attrs.integer("norm") != 0 ? 2 : 0)) / 2;
    for (size_t i = 0; i < tables; ++i) {
      const DType ids = problem.inputs[2 * i].dtype;
      if (ids != DType::kI32 && ids != DType::kI64)
        return Support::no(fmt::format("ids of table {} are neither i32 nor i64", i));
    }
    if (problem.outputs[0].dtype != DType::kF32) return Support::no("tables are not f32");
    if (problem.outputs[0].rank() > kMostAxes) return Support::no(fmt::format("more than {} axes", kMostAxes));
    return Support::yes();
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    return std::make_unique<EmbeddingLauncher>(problem, code);
  }
};

}  // namespace

const CpuKernel& embedding_kernel() {
  static const EmbeddingKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
