// Layer normalisation as an operator of one's own: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta over the
// last axis; x [..., N], gamma [N], beta [N] -> [..., N], f32.
#include <tenon/plugin.h>

#include <cmath>

namespace {

using namespace tenon::plugin;

class LayerNorm : public Operator {
 public:
  // When an engine is built: from the node's attributes.
  explicit LayerNorm(const Attributes& attributes) : epsilon_(static_cast<float>(attributes.number("epsilon", 1e-5))) {
    check();
  }

  // When it is loaded: from what serialize() gave.
  explicit LayerNorm(State state) : epsilon_(read<float>(state)) { check(); }
  std::string serialize() const override { return write(epsilon_); }

  std::vector<OutputType> outputs(std::span<const TensorDesc> in) const override {
    if (in.size() != 3) throw std::invalid_argument("x, gamma and beta are expected");
    if (in[0].shape.empty()) throw std::invalid_argument("x has no axis to normalise over");
    for (const int i : {1, 2}) {
      if (in[i].shape != std::vector<Dim>{in[0].shape.back()})
        throw std::invalid_argument("gamma and beta must be as long as the last axis of x");
    }
    return {{in[0].dtype, in[0].shape}};
  }

  std::string refuses(Place place, std::span<const TensorDesc> in, std::span<const TensorDesc>) const override {
    if (place == Place::kDevice) return "it has no CUDA code";
    for (const TensorDesc& t : in)
      if (t.dtype != tenon::DType::kF32) return "it takes f32 only";
    return "";
  }

  void run(const Run& run) const override {
    const int64_t n = run.input(0).dim(-1);
    const float *x = run.input(0).data<float>(), *gamma = run.input(1).data<float>(),
                *beta = run.input(2).data<float>();
    float* y = run.output().data<float>();
    run.parallel_for(n == 0 ? 0 : run.input(0).count() / n, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) normalise(x + row * n, gamma, beta, n, y + row * n);
    });
  }

 private:
  void check() const {
    if (!(epsilon_ >= 0 && std::isfinite(epsilon_)))
      throw std::invalid_argument("epsilon is " + std::to_string(epsilon_));
  }

  void normalise(const float* x, const float* gamma, const float* beta, int64_t n, float* y) const {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) sum += x[i];
    const double mean = sum / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon_);
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>((x[i] - mean) * scale) * gamma[i] + beta[i];
  }

  float epsilon_;
};

}  // namespace

// An ONNX node "LayerNorm" without a domain becomes this operator.
TENON_PLUGIN_LIBRARY("layer-norm", define<LayerNorm>("", "LayerNorm", "1"))
